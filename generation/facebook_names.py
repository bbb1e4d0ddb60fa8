"""Translates parameter names of Facebook's DiT code to those of diffusers.

Source: Peebles and Xie 2023 (DiT), released weights.
"""

from __future__ import annotations

from torch import Tensor

TOP = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2",
    "y_embedder.embedding_table": "transformer_blocks.0.norm1.emb.class_embedder.embedding_table",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
OF_BLOCK = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
POSITIONS, JOINT = "pos_embed", "attn.qkv"  # the fixed table of positions; queries, keys and values in one matrix


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by diffusers' names instead of Facebook's, without the table of positions; other keys are kept."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        block, _, part = layer.removeprefix("blocks.").partition(".")
        own = f"transformer_blocks.{block}"
        if key == POSITIONS:
            continue
        if layer in TOP:
            renamed[f"{TOP[layer]}.{leaf}"] = value
        elif key.startswith("blocks.") and part == JOINT and value.ndim and len(value) % 3 == 0:
            for name, third in zip(("q", "k", "v"), value.chunk(3)):
                renamed[f"{own}.attn1.to_{name}.{leaf}"] = third.contiguous()
        elif key.startswith("blocks.") and part in OF_BLOCK:
            renamed[f"{own}.{OF_BLOCK[part]}.{leaf}"] = value
        else:
            renamed[key] = value
    return renamed
