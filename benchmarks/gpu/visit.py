"""The time, the device and the folders of a visit, and what is written down of it."""

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
    """One visit, or the rest of one that was cut off.

    Attributes:
        device: what is visited.
        seconds: how long it may take.
        tiny: everything at a size for rehearsals on a CPU.
        archive: CIFAR-10; None leaves out what needs it.
        out: what is kept, below the device's name.
        work: models and other files that are not.
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
        """What an earlier start wrote into ``name``.json."""
        path = self.out / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def note(self, name: str, key: str, found: Any) -> None:
        """Write one finding into ``name``.json, beside those that are there, and print it."""
        files.write_json(self.out / f"{name}.json", {**self.known(name), key: found})
        self.say(f"{name}: {key}: {found if isinstance(found, str) else json.dumps(found)}")

    def say(self, line: str) -> None:
        """Print a line with the seconds that have gone by."""
        print(f"{time.monotonic() - self.begun:5.0f} s  {line}", flush=True)

    def attempt(self, name: str, key: str, needs: float, work: Callable[[], Any]) -> None:
        """Do and note one thing, unless it is known already, or takes longer than is left.

        What fails is noted with its reason, and the visit goes on.

        Args:
            needs: seconds that it is expected to take.
        """
        known = self.known(name).get(key)
        if known is not None and not _is_open(known):
            self.say(f"{name}: {key}: known already")
        elif self.left < needs:
            self.note(name, key, f"skipped: needs about {needs:.0f} s, {max(self.left, 0):.0f} s are left")
        else:
            try:
                self.note(name, key, work())
            except Exception as error:  # whatever it is, the rest of a short visit is worth more
                traceback.print_exc(file=sys.stderr)
                self.note(name, key, f"failed: {type(error).__name__}: {one_line(str(error))[:300]}")


def _is_open(found: Any) -> bool:
    """Whether something is worth another attempt."""
    return isinstance(found, str) and found.startswith(("skipped", "failed"))


def folder_name(device: torch.device) -> str:
    """The device's name as a folder: "nvidia-h100-80gb-hbm3", or "cpu"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
