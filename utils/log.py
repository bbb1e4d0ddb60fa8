"""What a run says: lines for people on stdout, the same numbers as JSON lines in ``log.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import files, parallel

if TYPE_CHECKING:
    from trainer.meter import EpochLog


class Log:
    """Prints flushed lines and appends records to ``log.jsonl`` in one folder.

    Args:
        folder: where ``log.jsonl`` is; None only prints.
        quiet: print nothing.
    """

    def __init__(self, folder: Path | None, quiet: bool = False):
        self.quiet = quiet
        self._path = None if folder is None else folder / "log.jsonl"

    def line(self, text: str = "") -> None:
        """Print one line for a person.

        Raises:
            RunError: it cannot be written, say to a full disk.
        """
        if parallel.is_main() and not self.quiet:
            with files.named("standard output"):
                print(text, flush=True)

    def facts(self, title: str, facts: dict[str, str]) -> None:
        """Print the header block: a title and aligned name-value lines."""
        self.line(title)
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            self.line(f"  {name:<{width}}  {value}")

    def record(self, kind: str, **values: Any) -> None:
        """Append one JSON line."""
        if self._path is not None and parallel.is_main():
            files.append_line(self._path, json.dumps({"kind": kind, **values}))

    @contextmanager
    def epoch(self, phase: str, epochs: int, log: EpochLog, **more: float) -> Iterator[None]:
        """Record a finished epoch, and print it after the block, which stores the checkpoint.

        Args:
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
