"""Pipelines of diffusers with new, tiny networks, made without a download, and runs that train them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from conftest import killed_at
from torch import nn

import main_generate


def autoencoder(folder: Path, seed: int = 3) -> Path:
    """A VAE with 4 channels of latents whose side is half of the images'."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    AutoencoderKL(block_out_channels=[8, 8], norm_num_groups=4, latent_channels=4, **blocks).save_pretrained(folder)
    return folder


def stable_diffusion(folder: Path) -> Path:
    """Stable Diffusion with a vocabulary of letters: 16x16 pixels in latents of 8x8."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = folder.parent / f"{folder.name}-words"
    words.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = [*letters, *(f"{letter}</w>" for letter in letters + "0123456789"), "<|startoftext|>", "<|endoftext|>"]
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(known)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=40)
    torch.manual_seed(4)
    start, end = len(known) - 2, len(known) - 1
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=len(known), max_position_embeddings=40, **sizes, **ends))
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    vae = AutoencoderKL.from_pretrained(autoencoder(folder.parent / f"{folder.name}-vae"))
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionPipeline(vae, encoder, tokenizer, unet, scheduler, **parts).save_pretrained(folder)
    return folder


def run(command: str, *words: object) -> int:
    """Exit code of ``main_generate.py``."""
    return main_generate.main([command, *map(str, words)])


def run_and_killed_run(command: str, folder: Path, *words: object) -> tuple[Path, Path]:
    """The folders of a run, and of one that was killed before its second checkpoint and repeated."""
    straight, resumed = folder / "straight", folder / "resumed"
    assert run(command, *words, "--save_dir", straight) == 0
    with killed_at(2):
        run(command, *words, "--save_dir", resumed)
    assert not (resumed / "generator").exists()
    assert run(command, *words, "--save_dir", resumed) == 0
    return straight, resumed


def check_masked_weights_stay(model: Path, network: Callable[[Path], nn.Module], folder: Path, *words: object) -> None:
    """SalUn on a generator under a random mask changes some weights, and none outside the mask.

    Args:
        model: the generator.
        network: reads a generator's network.
        folder: where the run writes.
        words: the data.
    """
    before = network(model)
    mask = {name: torch.rand(parameter.shape) < 0.3 for name, parameter in before.named_parameters()}
    torch.save({f"module.{name}": kept for name, kept in mask.items()}, folder / "mask.pt")
    method = ("--unlearn", "SalUn", "--saliency_mask", folder / "mask.pt", "--forget", "class:3", "--iterations", 3)
    assert run("forget", *words, "--model", model, *method, "--save_dir", folder / "out") == 0
    after = network(folder / "out" / "generator").state_dict()
    for name, parameter in before.named_parameters():
        assert torch.equal(after[name][~mask[name]], parameter[~mask[name]]), name
    assert any(not torch.equal(after[name], parameter) for name, parameter in before.named_parameters())


def check_error(error: str, start: str, places: dict[str, Path]) -> None:
    """An error is one line that starts like this, with paths by their names in ``places``."""
    for name, place in places.items():
        error = error.replace(str(place), name)
    assert error.startswith(f"main_generate.py: error: {start}") and error.count("\n") == 1, error
