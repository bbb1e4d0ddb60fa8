"""The back end ``dit``: diffusion transformers (DiT) of diffusers, on the latents of a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DDPMScheduler, DiTTransformer2DModel
from torch import Tensor, nn

from dataset.prepare import DatasetInfo
from generation import folders
from generation.autoencoders import VAE, autoencoder, check_made, vae_folder
from generation.codec import Latents
from generation.facebook_names import renamed
from generation.generator import Generator, Weights
from generation.schedule import Schedule
from utils import files
from utils.errors import UsageError

FOLDER = "generator"
NETWORK, AVERAGE, SCHEDULER = "transformer", "transformer_ema", "scheduler"
EPS = 1e-6  # of Facebook's layer norms
LEARNED = {"variance_type": "learned_range", "clip_sample": False, "timestep_spacing": "linspace"}


class DiT(DiTTransformer2DModel):
    """diffusers' DiT, called as ``Generator`` says, with one embedder of time and class that all blocks share.

    diffusers builds an embedder for each block, with equal weights. Here all blocks share the first one, and only its
    keys are in the state dict, so that training cannot make the copies differ. Times are embedded with the wavelengths
    of the published weights. The network drops no class by itself.

    Source: Peebles and Xie 2023 (DiT).
    """

    def forward(self, noisy: Tensor, times: Tensor, classes: Tensor, keep: Tensor | None = None) -> Tensor:
        """The noise, then the variance of the step in as many channels, float [B, 2 * C, H, W]; see ``Generator``."""
        none = self.config.num_embeds_ada_norm
        rows = classes if keep is None else torch.where(keep, classes, torch.full_like(classes, none))
        return super().forward(noisy, times, rows).sample

    @property
    def noisy(self) -> tuple[int, int, int]:
        """Channels, height and width of what is denoised."""
        return self.config.in_channels, self.config.sample_size, self.config.sample_size

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a file (a mask for example) under this network's names, where they have Facebook's."""
        return renamed({key.removeprefix("module."): value for key, value in state.items()})

    def tie(self) -> DiT:
        """Make all blocks share the first block's embedder; returns the network."""
        first, *others = (block.norm1 for block in self.transformer_blocks)
        for norm in others:
            del norm.emb
            object.__setattr__(norm, "emb", first.emb)  # not registered as a submodule: its weights are listed once
        first.emb.time_proj.downscale_freq_shift = 0
        first.emb.class_embedder.dropout_prob = 0.0
        return self

    def untied(self) -> DiTTransformer2DModel:
        """diffusers' own network with a copy of the embedder in each block, as in its files; on the CPU."""
        network = DiTTransformer2DModel.from_config(self.config)
        own = {key: value.detach().cpu().clone() for key, value in self.state_dict().items()}
        state = {key: own[_of_first(key)].clone() for key in network.state_dict()}
        network.load_state_dict(state, assign=True)
        return network


def _of_first(key: str) -> str:
    """The key in the first block's embedder for the key of any block's; other keys unchanged."""
    words = key.split(".")
    return ".".join([words[0], "0", *words[2:]]) if words[2:4] == ["norm1", "emb"] else key


@dataclass(frozen=True, kw_only=True)
class Transformer(Generator):
    """A diffusion transformer in a pipeline's folder, or a new one.

    Attributes:
        config: diffusers' configuration of the network.
        vae: the folder of the autoencoder.
    """

    config: dict[str, Any]
    vae: Path
    kind: ClassVar[str] = "dit"
    file: ClassVar[str] = FOLDER
    mean: ClassVar[bool] = True

    @property
    def sha256(self) -> str:
        return files.folder_sha256(self.path or self.vae)

    def network(self, raw: bool = False) -> DiT:
        if self.path is None:
            return self._empty()
        name = NETWORK if raw or not self.averaged else AVERAGE
        flag = f"--model {self.path}"
        stored = folders.part(DiTTransformer2DModel, self.path, name, flag)
        state = stored.state_dict()
        untied = [key for key, value in state.items() if not torch.equal(value, state[_of_first(key)])]
        if untied:
            reason = "was trained with embedders that differ; only tied ones are known"
            raise UsageError(f"{flag}: {name} {reason} ({len(untied)} differ: {untied[0]}, ...)")
        model = self._empty()
        model.load_state_dict({key: state[key] for key in model.state_dict()})
        return model

    def _empty(self) -> DiT:
        return DiT.from_config(self.config).tie()

    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        assert isinstance(model, DiT)
        trained = {NETWORK: model.untied}
        if average is not None:
            averaged = self._empty()
            averaged.load_state_dict(average)
            trained[AVERAGE] = averaged.untied
        store(folder / FOLDER, trained, self.vae, self.origin, folders.described(self.schedule, stamp))

    @property
    def origin(self) -> Path | None:
        """The pipeline's folder whose scheduler is kept when it is written; None for a default one."""
        return self.path

    def check(self, info: DatasetInfo, flag: str) -> None:
        side, classes = self.side, self.config["num_embeds_ada_norm"]
        if info.side != side:
            reason = f"draws images of {side} pixels, the data have {info.side}"
            raise UsageError(f"{flag}: {reason}; give --input_size {side}")
        if info.classes != classes:
            reason = f"draws {classes} classes, {info.source.name} has {info.classes}"
            raise UsageError(f"{flag}: {reason}; give the data set that it was trained on")
        check_made(info, self.vae)

    @property
    def side(self) -> int:
        """Side of the drawn images in pixels."""
        return self.config["sample_size"] * self.codec().factor

    @property
    def class_names(self) -> list[str]:
        return self.extra.get("classes") or [str(number) for number in range(self.config["num_embeds_ada_norm"])]

    def codec(self) -> Latents:
        return autoencoder(self.vae, f"--model {self.path}" if self.path else f"--vae {self.vae}")

    def guided_channels(self, compat: str) -> int | None:
        return 3 if compat == "reference" else None


def store(
    target: Path, trained: dict[str, Any], vae: Path, source: Path | None, stored: dict[str, Any] | None = None
) -> None:
    """Write a diffusers DiT pipeline.

    Args:
        target: its folder.
        trained: by name of a part, a function that returns the network.
        vae: folder of the autoencoder.
        source: folder of the pipeline whose scheduler is copied; None for a DDPM scheduler as in the paper.
        stored: content of ``generator.json``.
    """
    frozen = {VAE: vae}
    if source is not None:
        frozen[SCHEDULER] = source / SCHEDULER
    else:
        trained = {**trained, SCHEDULER: lambda: DDPMScheduler(**LEARNED)}
    index = {"_class_name": "DiTPipeline", NETWORK: ["diffusers", "DiTTransformer2DModel"]}
    index |= {VAE: ["diffusers", "AutoencoderKL"]}
    scheduler = "DDPMScheduler" if source is None else _scheduler(source)
    folders.write(target, frozen, trained, index | {SCHEDULER: ["diffusers", scheduler]}, stored or {})


def _scheduler(source: Path) -> str:
    return files.read_json(source / SCHEDULER / "scheduler_config.json", "scheduler")["_class_name"]


def read(path: Path, flag: str) -> Transformer:
    """Open the folder of a DiT pipeline.

    Args:
        flag: the flag that names it, for error messages.
    Raises:
        UsageError: it lacks a part, its noise schedule is unknown, or its network takes no classes.
    """
    source = f"{flag} {path}"
    for name in (NETWORK, VAE):
        if not (path / name / folders.CONFIG).is_file():
            raise UsageError(f"{source}: lacks {name}/{folders.CONFIG}; is no whole pipeline")
    config = files.read_json(path / NETWORK / folders.CONFIG, source)
    if config.get("norm_type", "ada_norm_zero") != "ada_norm_zero" or not config.get("num_embeds_ada_norm"):
        raise UsageError(f"{source}: {NETWORK} is told no classes; only class-conditional transformers are known")
    averaged = (path / AVERAGE).is_dir()
    return Transformer(
        path=path,
        schedule=folders.schedule(path, source),
        averaged=averaged,
        extra=folders.facts(path),
        config=config,
        vae=path / VAE,
    )


def new(flags: Any, info: DatasetInfo) -> Transformer:
    """A transformer with new weights for a data set.

    Args:
        flags: ``generation_flags.Transformer``.
    Raises:
        UsageError: there is no autoencoder, it did not make the data set's latents, or the side of the images is no
            multiple of a patch's.
    """
    vae = vae_folder(flags.vae)
    codec = autoencoder(vae, f"--vae {vae}")
    side = codec.shape((1, 3, info.side, info.side))[-1]
    if info.side % codec.factor or side % flags.patch:
        least = codec.factor * flags.patch
        raise UsageError(f"--input_size {info.side}: must be a multiple of {least}, the pixels of a patch of latents")
    check_made(info, vae)
    config = configured(flags.layers, flags.heads, flags.head_width, flags.patch, side, codec.channels, info.classes)
    return Transformer(path=None, schedule=Schedule(), averaged=False, extra={}, config=config, vae=vae)


def configured(
    layers: int, heads: int, head_width: int, patch: int, side: int, channels: int, classes: int
) -> dict[str, Any]:
    """diffusers' configuration of a DiT with the published architecture.

    Args:
        layers: number of blocks.
        head_width: channels of each attention head.
        patch: side of a token, in latents.
        side: of the latents.
        channels: of the latents.
    """
    return {
        "num_layers": layers,
        "num_attention_heads": heads,
        "attention_head_dim": head_width,
        "patch_size": patch,
        "sample_size": side,
        "in_channels": channels,
        "out_channels": 2 * channels,
        "num_embeds_ada_norm": classes,
        "norm_eps": EPS,
        "activation_fn": "gelu-approximate",
        "norm_type": "ada_norm_zero",
        "norm_elementwise_affine": False,
    }
