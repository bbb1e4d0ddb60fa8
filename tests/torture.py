"""Killing runs at random moments, giving the same command again, and comparing with an undisturbed run byte for byte.

    python tests/torture.py --kills 50      # make torture

Runs are forked off this process, so that nothing is imported anew, and killed by SIGKILL. Moments are drawn from all
stages of a run in turns: its start, an epoch, the writing of a file, scoring.
"""

from __future__ import annotations

import argparse
import functools
import json
import mmap
import os
import random
import shutil
import signal
import stat
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apart
import damage
import numpy as np
from conftest import DIGITS  # which makes the project's modules known
from PIL import Image

import main_backdoor
import main_forget
import main_imp
import main_synflow
import trainer.loop
from evaluation import predict
from utils import files

KINDS = ("start", "epoch", "writing", "scoring")
# a file half written, whole, in its place; a line half written; a file to be deleted
STAGES = ("fsync", "replace", "replaced", "line", "unlink")
EPISODE = 5  # kills before a run is let through to its end
PATIENCE = 300  # seconds that any run may take
DATA = ["--dataset", "folder", "--data", "DATA", "--arch", "resnet20s", "--device", "cpu"]
SMALL = [*DATA, "--epochs", "2", "--batch_size", "27"]  # three steps
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "main_imp": (
        main_imp.main,
        [*SMALL, "--pruning_times", "2", "--rate", "0.8", "--rewind_epoch", "1", "--decreasing_lr", "1"],
    ),
    "main_synflow": (main_synflow.main, [*SMALL, "--rate", "0.8", "--steps", "10"]),
    "main_forget": (
        main_forget.main,
        [
            *DATA,
            "--batch_size",
            "27",
            "--forget",
            "random:0.2",
            "--unlearn",
            "FT",
            "--unlearn_epochs",
            "3",
            "--mask",
            "MASK",
        ],
    ),
    "main_backdoor": (
        main_backdoor.main,
        [
            *SMALL,
            "--rate",
            "0.8",
            "--rewind_epoch",
            "1",
            "--trigger_size",
            "2",
            "--unlearn",
            "FT",
            "--unlearn_epochs",
            "2",
        ],
    ),
}


class Counts:
    """How often a run has come to each kind of place: shared with the process that it runs in, and there after its
    death.
    """

    NAMES = ("epoch", "scoring", *STAGES)

    def __init__(self):
        self._memory = mmap.mmap(-1, 4 * len(self.NAMES))

    def __getitem__(self, name: str) -> int:
        return struct.unpack_from("i", self._memory, 4 * self.NAMES.index(name))[0]

    def add(self, name: str) -> int:
        """One more; how many there are then."""
        struct.pack_into("i", self._memory, 4 * self.NAMES.index(name), self[name] + 1)
        return self[name]


@dataclass(frozen=True)
class Moment:
    """When to kill: at the ``number``-th place of a kind, ``delay`` seconds later; while writing at a stage, without
    delay.
    """

    kind: str
    number: int
    delay: float
    stage: str = ""


def watched(action: Callable[[], int], counts: Counts, moment: Moment | None) -> int:
    """Run, counting places; while writing, end at ``moment`` as a process ends that is killed there."""

    def die(stage: str) -> bool:
        number = counts.add(stage)
        return moment is not None and moment.kind == "writing" and (stage, number) == (moment.stage, moment.number)

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    fsync, replace, append, unlink = os.fsync, os.replace, files.append_line, Path.unlink

    def half_written(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode) and die("fsync"):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            kill()
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        if die("replace"):
            kill()
        replace(source, target)
        if die("replaced"):
            kill()

    def half_a_line(path: Path, line: str) -> None:
        if die("line"):
            with path.open("ab", buffering=0) as file:
                file.write(line[: len(line) // 2].encode())
            kill()
        append(path, line)

    def deleted(path: Path, missing_ok: bool = False) -> None:
        if die("unlink"):
            kill()
        unlink(path, missing_ok)

    def counted(name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            counts.add(name)
            return function(*arguments, **named)

        return wrapped

    os.fsync, os.replace, files.append_line, Path.unlink = half_written, renamed, half_a_line, deleted
    trainer.loop.Training.gradients = counted("epoch", trainer.loop.Training.gradients)
    predict._for_inference = counted("scoring", predict._for_inference)
    return action()


@dataclass(frozen=True)
class Attempt:
    """How a process ended: its exit code or minus the signal, how often it came to each kind of place, and when
    first, in seconds.
    """

    code: int
    places: dict[str, int]
    first: dict[str, float]


@dataclass(frozen=True)
class Victim:
    """A command that is killed; ``whole`` is its undisturbed run, which is in ``home/undisturbed``."""

    name: str
    argv: list[str]
    home: Path
    whole: Attempt

    def attempt(self, folder: Path, moment: Moment | None) -> int:
        """One process with the command; its exit code, or minus the signal that ended it."""
        return attempt(self.name, self.argv, self.home, folder, moment).code

    def moment(self, draw: random.Random, kind: str) -> Moment:
        """A random one of a kind; of steps and files mostly early ones, because a run that goes on has fewer."""
        places, first = self.whole.places, self.whole.first
        if kind == "start":
            return Moment(kind, 0, draw.uniform(0, first["epoch"]))
        if kind == "scoring":
            return Moment(kind, draw.randint(1, places[kind]), draw.uniform(0, first["end"] - first["scoring"]))
        if kind == "epoch":
            return Moment(
                kind,
                draw.randint(1, max(1, places[kind] // 2)),
                draw.uniform(0, (first["end"] - first["epoch"]) / places[kind]),
            )
        stage = draw.choice([stage for stage in STAGES if places[stage]])
        return Moment(kind, draw.randint(1, max(1, places[stage] // 2)), 0.0, stage)


def attempt(name: str, argv: list[str], home: Path, folder: Path, moment: Moment | None) -> Attempt:
    """Run a script in a process of its own, and kill it at ``moment`` if it comes to that; what it says is in
    ``home``.
    """
    counts, began, due, first = Counts(), time.monotonic(), None, {}
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        apart._child(
            lambda: watched(lambda: COMMANDS[name][0]([*argv, "--save_dir", str(folder)]), counts, moment),
            home,
            PATIENCE,
        )
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        first |= {kind: now - began for kind in ("epoch", "scoring") if counts[kind] and kind not in first}
        if ended:
            return Attempt(
                os.waitstatus_to_exitcode(status),
                {kind: counts[kind] for kind in Counts.NAMES},
                {**first, "end": now - began},
            )
        if moment is not None and moment.kind != "writing":
            if due is None and (moment.kind == "start" or counts[moment.kind] >= moment.number):
                due = now + moment.delay
            if due is not None and now >= due:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def tree(root: Path) -> Path:
    """A data set of three classes, 30 training images of 8x8 pixels each: noise, brighter from class to class."""
    draw = np.random.RandomState(0)
    for part, count in (("train", 30), ("test", 10)):
        for label in range(3):
            (root / part / str(label)).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.randint(20 * label, 150 + 30 * label, (8, 8, 3), dtype=np.uint8)).save(
                    root / part / str(label) / f"{number}.png"
                )
    return root


def small(data: Path, *words: str) -> list[str]:
    """Flags of a script that works on ``tree``."""
    return [str(data) if word == "DATA" else word for word in (*DATA, *words)]


def victim(name: str, home: Path, data: Path, mask: Path | None = None) -> Victim:
    """A command, run once without a kill."""
    argv = [{"MASK": str(mask), "DATA": str(data)}.get(word, word) for word in COMMANDS[name][1]]
    home.mkdir(parents=True)
    whole = attempt(name, argv, home, home / "undisturbed", None)
    assert whole.code == 0, (name, whole.code, (home / "said.err").read_text())
    return Victim(name, argv, home, whole)


def torture(found: Victim, kills: int, seed: int, kinds: tuple[str, ...] = KINDS) -> Counter[str]:
    """Kill a command so often, each run going on where the one before was killed; how many kills there were of each
    kind.

    Raises:
        AssertionError: a run ends otherwise than by the kill or well, or in other bytes than an undisturbed run.
    """
    draw, survived, turn = random.Random(seed), Counter(), 0
    while survived.total() < kills:
        folder, here, said = found.home / "tortured", Counter(), []
        while True:
            last = here.total() >= EPISODE or survived.total() + here.total() >= kills
            moment = None if last else found.moment(draw, kinds[turn % len(kinds)])
            code, turn = found.attempt(folder, moment), turn + 1
            said.append(f"{moment}: {code}")
            if code == 0:
                break
            assert code == -signal.SIGKILL, "\n".join([found.name, *said, (found.home / "said.err").read_text()])
            here[moment.kind] += 1
        wrong = differences(found.home / "undisturbed", folder)
        assert not wrong, "\n".join([found.name, *said, *wrong])
        survived += here
        shutil.rmtree(folder)
    return survived


def differences(expected: Path, found: Path) -> list[str]:
    """In what a folder differs from that of an undisturbed run: checkpoints by their bytes, results by all but times
    and memory.
    """
    names = {
        path.name
        for folder in (expected, found)
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "earlier"
    }
    wrong = [
        f"{name} is there in one of the two"
        for name in sorted(names)
        if (expected / name).exists() != (found / name).exists()
    ]
    for name in sorted(names - {line.split()[0] for line in wrong}):
        if name.endswith((".pth.tar", ".pt", ".png")) and (expected / name).read_bytes() != (found / name).read_bytes():
            wrong.append(f"{name} has other bytes")
    if not wrong and timeless(expected) != timeless(found):
        wrong.append("result.json holds other numbers")
    return wrong


def timeless(folder: Path) -> dict[str, Any]:
    """A result but for how long it took."""
    content = json.loads((folder / "result.json").read_text())
    content["scores"] = {key: value for key, value in content.get("scores", {}).items() if key != "RTE"}
    return {key: value for key, value in content.items() if key not in ("seconds", "memory", "finished", files.SEAL)}


def main(argv: list[str] | None = None) -> int:
    """Kill every script, damage every kind of file, and print what was survived and answered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of each script")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flips", type=int, default=60, help="bits flipped in each kind of file")
    flags = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        home, total, data = Path(place), 0, tree(Path(place) / "data")
        mask = home / "main_imp" / "undisturbed" / "1model_SA_best.pth.tar"
        for name in COMMANDS:
            survived = torture(victim(name, home / name, data, mask), flags.kills, flags.seed)
            total += survived.total()
            print(
                (
                    f"{name:<14} {survived.total():>4} kills survived  "
                    f"({', '.join(f'{kind} {survived[kind]}' for kind in KINDS)})  "
                    f"{time.monotonic() - began:.0f} s"
                ),
                flush=True,
            )
        print(f"{'all':<14} {total:>4} kills survived: the same command ended in the same bytes\n", flush=True)
        return files_answered(home, flags.flips, began)


def files_answered(home: Path, flips: int, began: float) -> int:
    """Ask every loader about every damaged file; 1 if any answer is not as promised."""
    trained, forgot = home / "digits", home / "raw"

    def made() -> int:
        command = [*DIGITS, "--epochs", "1", "--batch_size", "512", "--rewind_epoch", "1", "--save_dir", str(trained)]
        return main_imp.main(command) or main_forget.main(
            [*DIGITS, "--unlearn", "raw", "--mask", str(trained / "0model_SA_best.pth.tar"), "--save_dir", str(forgot)]
        )

    code = apart.run(made, home).code
    assert code == 0, (home / "said.err").read_text()
    asked, wrong = 0, {}
    for kind, cases in damage.CASES.items():
        (home / kind).mkdir()
        number, complaints = damage.answers(
            cases(home / kind, trained / "0checkpoint.pth.tar", forgot / "result.json", flips)
        )
        print(f"{kind:<21} {number:>5} damaged files answered  {time.monotonic() - began:.0f} s", flush=True)
        asked, wrong = asked + number, wrong | {f"{kind}: {name}": said for name, said in complaints.items()}
    print(f"{'all':<21} {asked:>5} damaged files: {asked - len(wrong)} answered by code 2 or 3 and one line")
    for name, said in wrong.items():
        print(f"  {name}: {said}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
