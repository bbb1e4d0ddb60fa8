"""The back end ``sd``: Stable Diffusion as a diffusers pipeline, whose U-Net is trained; the other parts are frozen."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from generation import folders
from generation.autoencoders import VAE, autoencoder, check_made
from generation.codec import Latents
from generation.generation_flags import Prompts
from generation.generator import Generator, Weights
from utils import files
from utils.errors import UsageError

FOLDER = "generator"
NETWORK, AVERAGE, TEXTS, WORDS = "unet", "unet_ema", "text_encoder", "tokenizer"
NOTHING = ""  # the prompt of a sample whose class is dropped


class TextUNet(UNet2DConditionModel):
    """diffusers' U-Net, called as ``Generator`` says. A class is the number of one of its prompts.

    Attributes:
        texts: encoded prompts, float [N, tokens, D], the empty one last.
        side: of the latents.
    """

    texts: Tensor
    side: int

    def tell(self, texts: Tensor, side: int) -> TextUNet:
        """Set the prompts and the side of the latents; returns the network.

        Args:
            texts: encoded prompts, float [N, tokens, D], the empty one last.
            side: of the latents.
        """
        self.register_buffer("texts", texts.to(next(self.parameters()).device), persistent=False)
        self.side = side
        return self

    def forward(self, noisy: Tensor, times: Tensor, classes: Tensor, keep: Tensor | None = None) -> Tensor:
        """The noise, float [B, C, H, W]; see ``Generator``."""
        none = torch.full_like(classes, len(self.texts) - 1)
        rows = classes if keep is None else torch.where(keep, classes, none)
        return super().forward(noisy, times, self.texts[rows]).sample

    @property
    def noisy(self) -> tuple[int, int, int]:
        """Channels, height and width of what is denoised."""
        return self.config.in_channels, self.side, self.side

    def plain(self) -> UNet2DConditionModel:
        """diffusers' own network with these weights, on the CPU."""
        network = UNet2DConditionModel.from_config(self.config)
        network.load_state_dict({key: value.detach().cpu() for key, value in self.state_dict().items()}, assign=True)
        return network


@dataclass(frozen=True, kw_only=True)
class Stable(Generator):
    """A generator in a pipeline's folder.

    Attributes:
        config: diffusers' configuration of the U-Net.
        prompts: one for every class, then that of ``--instead`` if given.
        pixels: side of the images in pixels; 0 for that of the pipeline.
    """

    config: dict[str, Any]
    prompts: tuple[str, ...] = ()
    pixels: int = 0
    kind: ClassVar[str] = "sd"
    file: ClassVar[str] = FOLDER
    mean: ClassVar[bool] = True
    cond_scale: ClassVar[float] = 7.5

    @property
    def place(self) -> Path:
        """The pipeline's folder. Unlike ``path`` it is never None: this back end has no new weights."""
        assert self.path is not None
        return self.path

    @property
    def sha256(self) -> str:
        return files.folder_sha256(self.place)

    @property
    def side(self) -> int:
        return self.pixels or self.config["sample_size"] * self.codec().factor

    def network(self, raw: bool = False) -> TextUNet:
        name = NETWORK if raw or not self.averaged else AVERAGE
        model = folders.part(TextUNet, self.place, name, f"--model {self.place}")
        return self._with_texts(model, encoded(self.place, (*self.prompts, NOTHING)))

    def _empty(self) -> TextUNet:
        model: Any = TextUNet.from_config(self.config)
        return self._with_texts(model, torch.empty(len(self.prompts) + 1, 1, self.config["cross_attention_dim"]))

    def _with_texts(self, model: TextUNet, texts: Tensor) -> TextUNet:
        return model.tell(texts, self.side // self.codec().factor)

    def write(self, folder: Path, model: nn.Module, average: Weights | None, stamp: dict[str, Any]) -> None:
        assert isinstance(model, TextUNet)
        trained = {NETWORK: model.plain}
        if average is not None:
            averaged: Any = TextUNet.from_config(self.config)
            averaged.load_state_dict(average)
            trained[AVERAGE] = averaged.plain
        parts = (part for part in sorted(self.place.iterdir()) if part.is_dir())
        frozen = {part.name: part for part in parts if part.name not in (NETWORK, AVERAGE)}
        index = files.read_json(self.place / folders.INDEX, f"--model {self.place}")
        folders.write(folder / FOLDER, frozen, trained, index, folders.described(self.schedule, stamp))

    def check(self, info: DatasetInfo, flag: str) -> None:
        most = self.codec().factor * 2 ** (len(self.config["block_out_channels"]) - 1)
        if info.side % most:
            raise UsageError(f"--input_size {info.side}: must be a multiple of {most} for {flag}")
        check_made(info, self.place / VAE)

    @property
    def class_names(self) -> list[str]:
        return list(self.extra.get("classes", []))

    def with_prompts(self, flags: Prompts, info: DatasetInfo, scenario: Scenario | None) -> Stable:
        """The generator with the prompts that follow from flags and class names.

        Args:
            flags: the flags of prompts.
            info: the data set, for names of its classes and the side of its images.
            scenario: the classes to forget, or None.
        Raises:
            UsageError: the number of names is not that of the classes, the template has no place for a name, a prompt
                is too long, or ``--concept`` is given without a single class to forget.
        """
        names = flags.class_names or info.names
        if len(names) != info.classes:
            raise UsageError(f"--class_names: has {len(names)} names, {info.source.name} has {info.classes} classes")
        if "{}" not in flags.template:
            raise UsageError(f"--template {flags.template}: must have a {{}}, where the class's name goes")
        prompts = [flags.template.replace("{}", name) for name in names]
        if flags.concept is not None:
            labels = None if scenario is None else scenario.labels
            if labels is None or len(labels) != 1:
                raise UsageError("--concept: needs --forget class:C beside it, the one class whose images show it")
            prompts[labels[0]] = flags.concept
        prompts += [] if flags.instead is None else [flags.instead]
        check_length(self.place, tuple(prompts))
        return replace(self, prompts=tuple(prompts), pixels=info.side)

    def codec(self) -> Latents:
        return autoencoder(self.place / VAE, f"--model {self.place}")


@functools.lru_cache(maxsize=2)
def _reader(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and text encoder of a pipeline; the last two are cached."""
    flag = f"--model {folder}"
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / WORDS, local_files_only=True)
    except Exception as error:  # noqa: BLE001  (whatever the library raises for a damaged or other file)
        raise UsageError(f"{flag}: {WORDS} cannot be read ({' '.join(str(error).split())[:200]})") from error
    return tokenizer, folders.part(CLIPTextModel, folder, TEXTS, flag).eval()


def check_length(folder: Path, prompts: tuple[str, ...]) -> None:
    """Refuse prompts that are longer than the text encoder reads.

    Args:
        folder: of the pipeline.
    Raises:
        UsageError: a prompt has too many tokens.
    """
    tokenizer, _ = _reader(folder)
    most = tokenizer.model_max_length
    for prompt in prompts:
        count = len(tokenizer(prompt)["input_ids"])
        if count > most:
            raise UsageError(
                f"prompt {prompt!r}: has {count} tokens, the text encoder reads {most}; give a shorter one"
            )


@torch.no_grad()
def encoded(folder: Path, prompts: tuple[str, ...]) -> Tensor:
    """The prompts encoded by a pipeline's text encoder: float [N, tokens, D], on the CPU.

    Args:
        folder: of the pipeline.
    """
    tokenizer, encoder = _reader(folder)
    words = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return torch.cat([encoder(part).last_hidden_state for part in words.input_ids.split(64)])


def read(path: Path, flag: str) -> Stable:
    """Open the folder of a Stable Diffusion pipeline.

    Args:
        flag: the flag that names it, for error messages.
    Raises:
        UsageError: it lacks a part, or its noise schedule is unknown.
    """
    flag = f"{flag} {path}"
    for name in (NETWORK, VAE, TEXTS):
        if not (path / name / folders.CONFIG).is_file():
            raise UsageError(f"{flag}: lacks {name}/{folders.CONFIG}; is no whole pipeline")
    if not (path / WORDS).is_dir():
        raise UsageError(f"{flag}: lacks {WORDS}/; is no whole pipeline")
    config = files.read_json(path / NETWORK / folders.CONFIG, flag)
    return Stable(
        path=path,
        schedule=folders.schedule(path, flag),
        averaged=(path / AVERAGE).is_dir(),
        extra=folders.facts(path),
        config=config,
    )
