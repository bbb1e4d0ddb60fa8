"""Reads and checks the parts of a diffusers pipeline's folder, and writes trained networks as such a folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from generation.schedule import Schedule
from utils import files
from utils.errors import UsageError

INDEX, FACTS, CONFIG = "model_index.json", "generator.json", "config.json"
INSTALL = "pip install diffusers transformers accelerate"
BETAS = {"linear": "linear", "scaled_linear": "quad"}  # diffusers' names for kinds of ``Schedule``


def library(flag: str) -> Any:
    """The module ``diffusers``.

    Args:
        flag: what error messages begin with.
    Raises:
        UsageError: it is not installed; the message says how to install it.
    """
    try:
        import diffusers
    except ImportError as error:
        raise UsageError(f"{flag}: needs diffusers, which is not installed; {INSTALL}") from error
    return diffusers


def part(kind: Any, folder: Path, name: str, flag: str, **more: Any) -> Any:
    """Read a network from a part of a pipeline's folder, as float32.

    Args:
        kind: its class, of diffusers or transformers.
        folder: of the pipeline.
        name: of the part, a subfolder.
        flag: what error messages begin with.
        more: further arguments of ``from_pretrained``.
    Raises:
        UsageError: the part is missing or cannot be read, or its weights do not fit the network or are not finite.
    """
    place = folder / name
    if not (place / CONFIG).is_file():
        raise UsageError(f"{flag}: lacks {name}/{CONFIG}; is no whole pipeline")
    try:
        with _quiet():
            model, info = kind.from_pretrained(place, local_files_only=True, output_loading_info=True, **more)
    except Exception as error:  # noqa: BLE001  (whatever the library raises for a damaged or other file)
        raise UsageError(f"{flag}: {name} cannot be read ({' '.join(str(error).split())[:200]})") from error
    wrong = [key for name in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info.get(name, ())]
    if wrong:
        first = wrong[0] if isinstance(wrong[0], str) else wrong[0][0]
        raise UsageError(f"{flag}: {name} has not the weights of its config ({len(wrong)} differ: {first}, ...)")
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise UsageError(f"{flag}: {name} holds numbers that are not finite")
    return model.float()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the libraries' progress bars and warnings inside."""
    from diffusers.utils import logging as one
    from transformers.utils import logging as other

    levels = [each.get_verbosity() for each in (one, other)]
    shown = [each.is_progress_bar_enabled() for each in (one, other)]
    for each in (one, other):
        each.set_verbosity(logging.ERROR)
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, level, bar in zip((one, other), levels, shown):
            each.set_verbosity(level)
            if bar:
                each.enable_progress_bar()


def schedule(folder: Path, flag: str) -> Schedule:
    """The noise schedule in the configuration of the folder's scheduler.

    Raises:
        UsageError: the configuration is missing, of an unknown kind, or for networks that do not predict noise.
    """
    config = files.read_json(folder / "scheduler" / "scheduler_config.json", f"{flag}: scheduler")
    kind, guessed = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
    if kind not in BETAS or config.get("trained_betas") is not None:
        raise UsageError(f"{flag}: the noise of its scheduler ({kind}) is not known; known: {', '.join(BETAS)}")
    if guessed != "epsilon":
        raise UsageError(f"{flag}: its network guesses {guessed}; only networks that guess noise (epsilon) are known")
    ends = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    return Schedule(BETAS[kind], *ends, config.get("num_train_timesteps", 1000))


def scheduler(folder: Path, flag: str) -> Any:
    """The folder's own diffusers scheduler.

    Raises:
        UsageError: its configuration is missing, or diffusers cannot build it.
    """
    diffusers, place = library(flag), folder / "scheduler"
    name = files.read_json(place / "scheduler_config.json", f"{flag}: scheduler").get("_class_name", "")
    try:
        return getattr(diffusers, name).from_pretrained(place, local_files_only=True)
    except Exception as error:  # noqa: BLE001  (whatever the library raises for a damaged or other file)
        raise UsageError(f"{flag}: its scheduler {name} cannot be made ({' '.join(str(error).split())})") from error


def facts(folder: Path) -> dict[str, Any]:
    """What a run stored in ``generator.json`` of its pipeline; empty for pipelines from elsewhere."""
    place = folder / FACTS
    return files.read_json(place, str(place)) if place.is_file() else {}


def write(
    target: Path,
    frozen: dict[str, Path],
    trained: dict[str, Callable[[], nn.Module]],
    index: dict[str, Any],
    stored: dict[str, Any],
) -> None:
    """Write a complete pipeline that diffusers can read.

    Args:
        target: the folder; replaced if it exists.
        frozen: by name, the folders of unchanged parts. Their files are hard-linked where possible, else copied.
        trained: by name of a part, a function that returns the library's own module with the new weights.
        index: the content of ``model_index.json``.
        stored: the content of ``generator.json``, which ``facts`` reads.
    """

    def fill(folder: Path) -> None:
        for name, place in frozen.items():
            shutil.copytree(place, folder / name, copy_function=_link)
        for name, make in trained.items():
            with _quiet():
                make().save_pretrained(folder / name)  # type: ignore[operator]
        for name, content in ((INDEX, index), (FACTS, stored)):
            (folder / name).write_text(json.dumps(content, indent=1) + "\n")

    files.write_folder(target, fill)


def _link(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # on another disk, or the file system has no hard links
        shutil.copy2(source, target)


def described(schedule: Schedule, stamp: dict[str, Any]) -> dict[str, Any]:
    """The content of ``generator.json``: the noise schedule, and ``stamp``, facts of the training."""
    return {"schedule": asdict(schedule), **stamp}
