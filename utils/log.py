"""The log of a run: lines for people on standard output, and the numbers as JSON lines in ``log.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils import files, parallel


@dataclass(frozen=True)
class EpochLog:
    """A finished epoch.

    Attributes:
        epoch: its number, from 1.
        lr: step size.
        loss: mean loss of the samples.
        figures: means of the task's figures by name, in [0, 1].
        seconds: how long it took.
    """

    epoch: int
    lr: float
    loss: float
    figures: dict[str, float]
    seconds: float


class Log:
    """Prints flushed lines and appends records to ``log.jsonl`` in one folder.

    Args:
        folder: where ``log.jsonl`` is written; None writes none.
        quiet: whether to print nothing.
    """

    def __init__(self, folder: Path | None, quiet: bool = False):
        self.quiet = quiet
        self._path = None if folder is None else folder / "log.jsonl"

    def line(self, text: str = "") -> None:
        """Print one line for a person.

        Raises:
            RunError: it cannot be written, because of a full disk for example.
        """
        if parallel.is_main() and not self.quiet:
            with files.named("standard output"):
                print(text, flush=True)

    def facts(self, title: str, facts: dict[str, str]) -> None:
        """Print a title, and below it aligned lines of names and values; ``facts`` must not be empty."""
        self.line(title)
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            self.line(f"  {name:<{width}}  {value}")

    def record(self, kind: str, **values: Any) -> None:
        """Append one JSON line with ``kind`` and the values.

        Raises:
            RunError: it cannot be written.
        """
        if self._path is not None and parallel.is_main():
            files.append_line(self._path, json.dumps({"kind": kind, **values}))

    @contextmanager
    def epoch(self, phase: str, epochs: int, log: EpochLog, **more: float) -> Iterator[None]:
        """Record a finished epoch before the block inside, and print its line after that.

        The block writes the checkpoint, so that a printed epoch is one from which the run can go on.

        Args:
            phase: of the run, "train" or "unlearn" for example.
            epochs: number of epochs of the phase.
            log: of the finished epoch.
            more: further accuracies in [0, 1].
        """
        fields = asdict(log)
        figures = fields.pop("figures")
        self.record("epoch", phase=phase, **fields, **figures, **more)
        yield
        named = {"train" if name == "accuracy" else name: value for name, value in figures.items()} | more
        shares = "".join(f"  {name} {100 * value:6.2f} %" for name, value in named.items())
        self.line(
            f"{phase}  epoch {log.epoch:>{len(str(epochs))}}/{epochs}  lr {log.lr:<10.4g}loss {log.loss:8.4f}"
            f"{shares}  {log.seconds:.1f} s"
        )
