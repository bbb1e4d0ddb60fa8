"""A visit to a GPU: its time limit, device and folders, and its findings as JSON files."""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from utils import files
from utils.errors import one_line


@dataclass
class Visit:
    """One visit, or the continuation of one that was cut off.

    Attributes:
        device: the device to measure.
        seconds: how long the visit may take.
        tiny: whether to use sizes for rehearsals on a CPU.
        archive: CIFAR-10, see ``jpegs.offer``; None skips the parts that need it.
        out: the folder for findings, which are kept.
        work: the folder for models and other files that need not be kept.
        begun: when it began, in seconds of ``time.monotonic``.
    """

    device: torch.device
    seconds: float
    tiny: bool
    archive: Path | None
    out: Path
    work: Path
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the visit must be over."""
        return self.seconds - (time.monotonic() - self.begun)

    def known(self, name: str) -> dict[str, Any]:
        """The findings in ``name``.json, of this visit or an earlier one; empty if there are none."""
        path = self.out / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def note(self, name: str, key: str, found: Any) -> None:
        """Add one finding to ``name``.json, and print it."""
        files.write_json(self.out / f"{name}.json", {**self.known(name), key: found})
        self.say(f"{name}: {key}: {found if isinstance(found, str) else json.dumps(found)}")

    def say(self, line: str) -> None:
        """Print a line behind the seconds since the visit began."""
        print(f"{time.monotonic() - self.begun:5.0f} s  {line}", flush=True)

    def attempt(self, name: str, key: str, needs: float, work: Callable[[], Any]) -> None:
        """Call ``work`` and note what it returns as a finding.

        Nothing is done if the finding is known already. If fewer seconds are left than needed, that is noted instead;
        if ``work`` fails, the reason is noted, and the visit goes on.

        Args:
            name: of the file of findings, without suffix.
            key: of the finding.
            needs: seconds that the work is expected to take.
        """
        known = self.known(name).get(key)
        if known is not None and not _is_open(known):
            self.say(f"{name}: {key}: known already")
        elif self.left < needs:
            self.note(name, key, f"skipped: needs about {needs:.0f} s, {max(self.left, 0):.0f} s are left")
        else:
            try:
                self.note(name, key, work())
            except Exception as error:  # no failure may end a short visit
                traceback.print_exc(file=sys.stderr)
                self.note(name, key, f"failed: {type(error).__name__}: {one_line(str(error))[:300]}")


def _is_open(found: Any) -> bool:
    """Whether a finding says that the work was skipped or failed, so that it is tried again."""
    return isinstance(found, str) and found.startswith(("skipped", "failed"))


def folder_name(device: torch.device) -> str:
    """The device's name as the name of a folder: "nvidia-h100-80gb-hbm3" for example, or "cpu"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
