"""Damaged and hostile files for every loader, and what is an answer to one: exit code 2 or 3 and one line.

A change that no loader can see, because what is left is a whole file that says the same, may be accepted if
the same comes out of it.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import DIGITS
from PIL import Image

import main_forget
import main_imp
import main_report
import main_sweep
import models
import pruner
from dataset import prepare
from trainer import checkpoints
from unlearn import saliency
from utils import files
from utils.errors import script

HUGE = 10 << 30  # bytes of a sparse file, which takes no room on the disk


@dataclass(frozen=True)
class Answer:
    """What a script said to a file."""

    code: int
    out: str
    err: str

    def complaint(self, accepted: bool) -> str | None:
        """What is wrong with it; None if it is what was promised.

        Args:
            accepted: whether the file says the same as the undamaged one, so that code 0 is right too.
        """
        if self.code == 0 and accepted:
            return None
        if self.code not in (2, 3):
            return f"code {self.code}"
        said = (
            self.err.count("\n") == 1
            and ".py: error: " in self.err
            and all(part.isprintable() for part in self.err.splitlines())
        )
        return None if said else f"said {self.err!r}"


def ask(main: Callable[[list[str]], int], argv: list[str]) -> Answer:
    """A script's answer, in this process. Whatever it raises is a traceback to its user."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except Exception as error:  # noqa: BLE001
            return Answer(99, "", f"{type(error).__name__}: {error}")
    return Answer(code, out.getvalue(), err.getvalue())


# --- bytes of any file ---


def bytewise(good: bytes, flips: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """The same bytes cut off, flipped, overwritten, wrapped, and other files altogether."""
    size, draw = len(good), random.Random(seed)
    for length in sorted(
        {1, 3, 4, 10, 30, 64, 100, 500, size // 4, size // 2, size - 100, size - 22, size - 2, size - 1}
        & set(range(1, size))
    ):
        yield f"cut to {length}", good[:length]
    for number in range(flips):
        place = (
            draw.randrange(size)
            if number % 2
            else draw.choice([draw.randrange(min(600, size)), size - 1 - draw.randrange(min(20_000, size))])
        )
        yield f"bit {place}", good[:place] + bytes([good[place] ^ 1 << draw.randrange(8)]) + good[place + 1 :]
    middle = size // 2
    yield "zeros in the middle", good[:middle] + bytes(min(512, size - middle)) + good[middle + 512 :]
    yield "a block twice", good[:middle] + good[middle - min(512, middle) : middle] + good[middle:]
    yield "a block lost", good[:middle] + good[middle + 512 :] if size > 1100 else good[: size // 2]
    yield "zeros", bytes(size)
    yield "text", b"Dear colleague, attached is the model.\n" * 20
    yield "a web page", b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
    yield "noise", draw.randbytes(4096)
    yield "gzip", gzip.compress(good, 1)
    yield "a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    yield "a pickle", pickle.dumps({"weights": [1, 2, 3]})


def special(path: Path) -> Iterator[tuple[str, Path]]:
    """Things by a file's name that are no file; ``path`` is where to make them."""
    yield "missing", path.with_name("nowhere" + path.suffix)
    yield "a name that is too long", path.with_name("x" * 300 + path.suffix)
    yield "below a file", Path("/etc/passwd") / path.name
    path.touch()
    yield "empty", path
    path.unlink()
    path.mkdir()
    yield "a folder", path
    path.rmdir()
    os.mkfifo(path)
    yield "a pipe", path
    path.unlink()
    for target in ("/dev/zero", "/dev/null", path, "/proc/kmsg"):
        path.symlink_to(target)
        yield f"a link to {'itself' if target == path else target}", path
        path.unlink()
    with path.open("wb") as file:
        file.truncate(HUGE)
    yield "10 GB of nothing", path
    path.unlink()


# --- checkpoints ---

ARCH = "resnet20s"


def sparse_model(arch: str = ARCH, classes: int = 10, rate: float = 0.5) -> tuple[torch.nn.Module, pruner.Mask]:
    torch.manual_seed(0)
    model = models.build(arch, classes)
    return model, pruner.prune(model, "magnitude", rate, pruner.Sample(0))


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class Runs:
    """A class, which a file of plain tensors does not hold."""


def _expanded(shape: list[int]) -> torch.Tensor:
    return torch.zeros(1).expand(shape)


def states(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A state dict with one thing wrong."""
    weight, bias, norm = "layer1.0.conv1.weight", "fc.bias", "layer1.0.bn1.running_var"
    entry = weight + "_orig" if weight + "_orig" in state else weight
    changes: dict[str, tuple[str, Any]] = {
        **{
            f"{value} in {key}": (key, value)
            for key in (entry, bias, norm)
            for value in (float("nan"), float("inf"), -float("inf"))
        }
    }
    for name, (key, value) in changes.items():
        changed = state[key].clone(memory_format=torch.contiguous_format)
        changed.view(-1)[-1] = value
        yield name, {**state, key: changed}
    tensors = {
        "whole numbers": state[entry].to(torch.int64),
        "switches": state[entry] > 0,
        "complex numbers": state[entry].to(torch.complex64),
        "eight bits": state[entry].to(torch.float8_e4m3fn),
        "numbers too large": state[entry].double() * 1e300,
        "sparse": state[entry].to_sparse(),
        "a meta tensor": state[entry].to("meta"),
        "another shape": state[entry][..., :1],
        "transposed": state[entry].transpose(2, 3)[:, :1],
        "one dimension more": state[entry][None],
        "no dimension": torch.tensor(1.0),
        "no numbers": torch.zeros(0),
        "a huge shape on one number": _expanded([10**5, 10**6]),
        "the right shape on one number": _expanded(list(state[entry].shape)),
    }
    yield from ((name, {**state, entry: value}) for name, value in tensors.items())
    for name, value in {"None": None, "a list": [1.0], "text": "weights", "a number": 3.0, "a dict": {}}.items():
        yield f"{name} for a tensor", {**state, entry: value}
    yield "a key that is a number", {**state, 7: state[bias]}
    yield "a key that is a pair", {**state, ("fc", "bias"): state[bias]}
    yield "a key of control characters", {**state, "\x1b[2J\nfc": state[bias]}
    yield "an entry too many", {**state, "fc.scale": state[bias]}
    yield "an entry missing", {key: value for key, value in state.items() if key != bias}
    yield "nothing", {}
    yield "two prefixes", {f"{'ab'[number % 2]}.{key}": value for number, (key, value) in enumerate(state.items())}
    yield (
        "two names of one weight",
        {**{f"module.{key}": value for key, value in state.items()}, f"module._orig_mod.{bias}": state[bias]},
    )
    yield (
        "thousand names of one tensor",
        {**state, **{f"x{number}": torch.zeros(10**6).expand(1, -1)[0] for number in range(2)}},
    )
    one = torch.zeros(10**6)
    yield "many names of one storage", {**state, **{f"x{number}.weight": one for number in range(200)}}


def masks(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A pruned state dict with a mask wrong."""
    name = "layer1.0.conv1.weight"
    mask = state[name + "_mask"]
    for said, value in {
        "of halves": mask * 0.5,
        "of minus one": -mask,
        "of NaN": mask * torch.nan,
        "of another shape": mask[:1],
        "flat": mask.flatten(),
        "of one number": mask.view(-1)[0],
        "of complex numbers": mask.to(torch.complex64),
        "of text": "mask",
        "expanded": _expanded(list(mask.shape)),
    }.items():
        yield f"a mask {said}", {**state, name + "_mask": value}
    yield "a mask missing", {key: value for key, value in state.items() if key != name + "_mask"}
    yield "a mask alone", {key: value for key, value in state.items() if key != name + "_orig"}
    yield "a mask of what has none", {**state, "fc.weights.weight_mask": mask}
    yield "masks but no weights", {key: value for key, value in state.items() if key.endswith("_mask")}


def contents(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a checkpoint may be instead of one."""
    yield from {
        "None": None,
        "a number": 3,
        "text": "model",
        "a list": [state],
        "a tensor": torch.zeros(3),
        "a dict of numbers": {"a": 1},
        "nothing": {},
    }.items()
    for name, value in {
        "None": None,
        "a list": [1],
        "text": "x",
        "a tensor": torch.zeros(2),
        "nothing": {},
        "a dict of dicts of dicts": {"model": {"net": {"inner": state}}},
    }.items():
        yield f"its state dict is {name}", {"state_dict": value}
    strange: dict[str, Any] = {
        "split_digest": torch.zeros(3),
        "split_seed": "two",
        "forget_digest": [1],
        "poison_digest": 4,
        "trained": {},
        "fingerprint": torch.ones(1),
        "recipe": "how",
        "rounds": {},
        "seconds": "long",
    }
    yield from (
        (f"its {key} is {type(value).__name__}", {"state_dict": state, key: value}) for key, value in strange.items()
    )
    yield "its recipe holds NaN", {"state_dict": state, "recipe": {"lr": float("nan")}}
    yield "its recipe holds a tensor", {"state_dict": state, "recipe": {"lr": torch.ones(1)}}
    yield "two state dicts that fit", {"model": state, "ema": {key: value + 1 for key, value in state.items()}}
    for key, value in {
        "arch": 3,
        "input_size": "8",
        "classes": [1, 2],
        "mean": ["a"],
        "stream": 1,
        "side": [8],
    }.items():
        yield f"its origin's {key} is {value!r}", {"state_dict": state, "origin": {key: value}}
    yield "its origin is a list", {"state_dict": state, "origin": ["resnet20s"]}
    yield "its origin holds a tensor", {"state_dict": state, "origin": {"more": torch.ones(1)}}
    yield "an object", {"state_dict": state, "note": Path("x")}
    for arch, classes in (("resnet44s", 10), ("vgg16_bn_lth", 10), (ARCH, 100), (ARCH, 7)):
        model, mask = sparse_model(arch, classes)
        yield f"of {arch} for {classes} classes", {"state_dict": checkpoints.pack(model, mask)}
        yield f"of dense {arch} for {classes} classes", model.state_dict()


def archives(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Zip files that are none of torch's: bombs, lies about sizes, other entries."""
    source = zipfile.ZipFile(io.BytesIO(good))
    parts = {entry.filename: source.read(entry) for entry in source.infolist()}
    largest = max(parts, key=lambda name: len(parts[name]) if "/data/" in name else 0)
    describes = next(name for name in parts if name.endswith("data.pkl"))

    def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    yield "compressed", packed(parts, zipfile.ZIP_DEFLATED)
    yield "a bomb", packed({**parts, largest: bytes(1 << 29)}, zipfile.ZIP_DEFLATED)
    yield (
        "a nested bomb",
        packed(
            {**parts, "archive/data/bomb": packed({"zeros": bytes(1 << 23)}, zipfile.ZIP_DEFLATED) * 30},
            zipfile.ZIP_BZIP2,
        ),
    )
    yield "without a tensor", packed({name: content for name, content in parts.items() if name != largest})
    yield "a tensor too short", packed({**parts, largest: parts[largest][:4]})
    yield "without a description", packed({name: content for name, content in parts.items() if name != describes})
    yield "an empty description", packed({**parts, describes: b""})
    yield "a description of noise", packed({**parts, describes: bytes(range(256))})
    yield "a description that never ends", packed({**parts, describes: b"(" * 200_000})
    yield (
        "a description deep as a well",
        packed({**parts, describes: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."}),
    )
    yield "of other things", packed({"readme.txt": b"hello"})
    yield "without entries", packed({})
    place = good.index(b"PK\x01\x02")
    for said, offset, value in (("unpacked", 24, 0xFFFFFFF0), ("packed", 20, 0xFFFFFFF0), ("name", 28, 60_000)):
        lie = struct.pack("<H" if said == "name" else "<I", value)
        yield f"a lie about the size of its {said}", good[: place + offset] + lie + good[place + offset + len(lie) :]


Case = tuple[
    str, Callable[[list[str]], int], list[str], bool
]  # what it is, who is asked, how, and whether the file says what it should


class Checkpoints:
    """Files for every flag that names weights or masks."""

    def __init__(self, folder: Path, flips: int):
        self.folder, self.flips, self.path = folder, flips, folder / "damaged.pth.tar"
        self.model, self.mask = sparse_model()
        self.state = dict(checkpoints.pack(self.model, self.mask))
        self.good = folder / "good.pth.tar"
        self.good.write_bytes(saved({"state_dict": self.state}))
        base = [*DIGITS, "--save_dir", str(folder / "run"), "--dry_run"]
        start = [*base, "--unlearn", "FT", "--mask", str(self.good)]
        self.flags: dict[str, list[str]] = {
            "--mask": [*base, "--unlearn", "FT", "--mask"],
            "--model_path": [*base, "--unlearn", "GA", "--model_path"],
            "--rewind_pth": [*start, "--rewind_pth"],
            "--reference_model": [*start, "--reference_model"],
            "--saliency_mask": [*start, "--saliency_mask"],
            "--mask_path": [*base, "--unlearn", "RL", "--mask", str(self.good), "--mask_path"],
        }

    def written(
        self, named: Iterator[tuple[str, bytes]], flag: str, accept: Callable[[Path], bool] = lambda path: False
    ) -> Iterator[Case]:
        for name, content in named:
            self.path.write_bytes(content)
            yield f"{flag} {name}", main_forget.main, [*self.flags[flag], str(self.path)], accept(self.path)
            self.path.unlink()

    def same(self, path: Path) -> bool:
        """Whether the file loads and is to the bit what the undamaged one is."""
        try:
            found = checkpoints.read(path, "")
        except Exception:  # noqa: BLE001
            return False
        good = checkpoints.read(self.good, "")
        return found.extra == good.extra and all(
            pair[0].keys() == pair[1].keys() and all(torch.equal(pair[0][key], pair[1][key]) for key in pair[0])
            for pair in ((found.weights, good.weights), (found.mask, good.mask))
        )

    def cases(self) -> Iterator[Case]:
        def saves(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, bytes]]:
            return ((name, saved(content)) for name, content in named)

        good = self.good.read_bytes()
        dense = self.model.state_dict()
        yield from self.written(bytewise(good, self.flips), "--mask", self.same)
        yield from self.written(archives(good), "--mask")
        yield from self.written(saves(contents(self.state)), "--mask")
        yield from self.written(
            saves((name, {"state_dict": content}) for name, content in (*states(self.state), *masks(self.state))),
            "--mask",
        )
        yield from self.written(saves(states(dense)), "--rewind_pth")
        yield from self.written(bytewise(good, 4, 1), "--reference_model", self.same)
        yield from self.written(bytewise(good, 4, 2), "--model_path", self.same)
        only = saved({name: value != 0 for name, value in self.model.named_parameters()})
        yield from self.written(saves(states_of_masks(self.model)), "--saliency_mask")
        yield from self.written(bytewise(only, 8, 3), "--saliency_mask", lambda path: self.same_masks(path, only))
        yield from self.written(list(bytewise(only, 0, 4))[-9:], "--mask_path")
        for flag, words in self.flags.items():
            for name, path in special(self.path):
                yield f"{flag} {name}", main_forget.main, [*words, str(path)], False
        yield (
            "10 GB of a tensor",
            main_forget.main,
            [*self.flags["--mask"], str(huge_checkpoint(self.folder / "huge.pth.tar"))],
            False,
        )

    def same_masks(self, path: Path, good: bytes) -> bool:
        try:
            found, expected = saliency.read(path, self.model), torch.load(io.BytesIO(good))
        except Exception:  # noqa: BLE001
            return False
        return all(torch.equal(found[name], expected[name]) for name in expected)


def states_of_masks(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Saliency masks with one thing wrong."""
    good = {name: value != 0 for name, value in model.named_parameters()}
    entry = "layer1.0.conv1.weight"
    for name, value in {
        "NaN": good[entry] * torch.nan,
        "another shape": good[entry][:1],
        "a huge shape on one number": _expanded([10**5, 10**6]),
        "sparse": good[entry].float().to_sparse(),
        "a list": [True],
        "None": None,
        "complex numbers": good[entry].to(torch.complex64),
    }.items():
        yield name, {**good, entry: value}
    yield "an entry missing", {key: value for key, value in good.items() if key != entry}
    yield "an entry too many", {**good, "more": good[entry]}
    yield "a key that is a number", {**good, 3: good[entry]}
    yield "nothing", {}
    yield "a list of masks", list(good.values())


def huge_checkpoint(path: Path) -> Path:
    """A whole zip file of torch's with a tensor of 10 GB, almost all of it a hole on the disk."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        source = zipfile.ZipFile(io.BytesIO(saved({"state_dict": {"fc.weight": torch.zeros(1)}})))
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                archive.writestr(
                    entry.filename, content.replace(struct.pack("<BB", 75, 1), struct.pack("<BI", 74, HUGE // 4))
                )
            elif "/data/" not in entry.filename:
                archive.writestr(entry.filename, content)
            else:
                hole = zipfile.ZipInfo(entry.filename)
    with path.open("rb+") as file:
        file.truncate(HUGE)
    with zipfile.ZipFile(path, "a", allowZip64=True) as archive:
        archive.writestr(hole, b"end")
    return path


class TrainingCheckpoints:
    """Files for ``main_imp.py --resume --checkpoint``.

    Args:
        good: the last checkpoint of a finished training.
        command: flags of that training, but with one epoch more.
    """

    def __init__(self, folder: Path, good: Path, command: list[str]):
        self.path, self.good, self.command = (
            folder / "damaged.pth.tar",
            torch.load(good),
            [*command, "--save_dir", str(folder / "run"), "--resume", "--checkpoint"],
        )

    def changed(self) -> Iterator[tuple[str, Any]]:
        for key in ("state", "result", "epoch", "best_sa", "optimizer", "scheduler", "init_weight"):
            yield f"without {key}", {name: value for name, value in self.good.items() if name != key}
            for value in ("text", [1], torch.zeros(2), -1, {"a": 1}):
                yield f"its {key} is {value!r}", {**self.good, key: value}
        yield "rounds of noise", {**self.good, "rounds": [{"round": "one"}]}
        yield "curves of text", {**self.good, "result": {"train_ta": ["x"], "val_ta": [], "test_ta": []}}
        yield "NaN for the best", {**self.good, "best_sa": float("nan")}
        weights = self.good["init_weight"]
        if weights is not None:
            yield (
                "weights to go back to of another shape",
                {**self.good, "init_weight": {**weights, "fc.bias": torch.zeros(3)}},
            )
            yield (
                "NaN to go back to",
                {**self.good, "init_weight": {**weights, "fc.bias": torch.full((10,), torch.nan)}},
            )
            yield (
                "weights to go back to missing",
                {**self.good, "init_weight": {key: value for key, value in weights.items() if key != "fc.bias"}},
            )
        yield from ((f"an optimizer {name}", {**self.good, "optimizer": value}) for name, value in self.optimizers())
        yield from ((f"a schedule {name}", {**self.good, "scheduler": value}) for name, value in self.schedules())

    def optimizers(self) -> Iterator[tuple[str, Any]]:
        good = self.good["optimizer"]
        moments, groups = good["state"], good["param_groups"]
        yield "without moments' order", {**good, "param_groups": []}
        yield "of two groups", {**good, "param_groups": groups * 2}
        yield "whose step size is text", {**good, "param_groups": [{**groups[0], "lr": "fast"}]}
        yield "whose step size is NaN", {**good, "param_groups": [{**groups[0], "lr": float("nan")}]}
        yield "whose step size is a tensor", {**good, "param_groups": [{**groups[0], "lr": torch.ones(2)}]}
        yield "of fewer parameters", {**good, "param_groups": [{**groups[0], "params": groups[0]["params"][:-1]}]}
        first = next(iter(moments))
        yield (
            "with a moment of another shape",
            {**good, "state": {**moments, first: {"momentum_buffer": torch.zeros(5)}}},
        )
        yield (
            "with a moment of NaN",
            {
                **good,
                "state": {
                    **moments,
                    first: {"momentum_buffer": torch.full_like(moments[first]["momentum_buffer"], torch.nan)},
                },
            },
        )
        yield "whose moments are a list", {**good, "state": [1, 2]}
        yield "whose groups are text", {**good, "param_groups": "ab"}

    def schedules(self) -> Iterator[tuple[str, Any]]:
        good = self.good["scheduler"]
        yield "whose epoch is text", {**good, "last_epoch": "two"}
        yield "whose steps are text", {**good, "base_lrs": ["a"]}
        yield "of numbers for lists", {**good, "_last_lr": 3}
        if "milestones" in good:
            yield "whose milestones are a list", {**good, "milestones": ["x"]}

    def cases(self) -> Iterator[Case]:
        for name, content in self.changed():
            self.path.write_bytes(saved(content))
            yield f"--checkpoint {name}", main_imp.main, [*self.command, str(self.path)], False
        for name, path in special(self.path.with_name("special.pth.tar")):
            yield f"--checkpoint {name}", main_imp.main, [*self.command, str(path)], False


# --- lists of images ---


def listings(folder: Path) -> Iterator[Case]:
    """Files for ``--indexes_to_replace``, ``--forget indices:``, ``--removal_order`` and ``@FILE``."""
    base = [*DIGITS, "--unlearn", "retrain", "--save_dir", str(folder / "run"), "--dry_run"]

    def asked(name: str, suffix: str, content: bytes, accepted: bool = False) -> Iterator[Case]:
        path = folder / f"list{suffix}"
        path.write_bytes(content)
        yield f"{suffix} {name}", main_forget.main, [*base, "--indexes_to_replace", str(path)], accepted
        yield f"indices: {suffix} {name}", main_forget.main, [*base, "--forget", f"indices:{path}"], accepted
        path.unlink()

    texts = [
        b"5\n6\nx",
        b"5.5 6",
        b"-1 2",
        b"\xff\xfe5",
        b"NaN",
        b"1e400",
        b"99999999999999999999",
        b",,,",
        b"1" * 5000,
        b"5\x006",
    ]
    jsons = [
        b"{}",
        b"[",
        b'{"5": 1}',
        b'"567"',
        b"[1, NaN]",
        b"[1e999]",
        b"[true, false]",
        b"[[1], [2]]",
        b'["a"]',
        b"null",
        b"[" * 100_000,
        b"[1.5]",
        b"[" + b"9" * 5000 + b"]",
    ]
    for number, content in enumerate(texts):
        yield from asked(f"text {number}", ".txt", content)
    for number, content in enumerate(jsons):
        yield from asked(f"{number}", ".json", content)
    arrays: list[Any] = [
        np.array([1.5]),
        np.array([np.nan, 1]),
        np.array([np.inf]),
        np.array([-3]),
        np.array([True, False]),
        np.array(["a"]),
        np.array([1 + 2j]),
        np.array([], dtype=np.int64),
        np.array([2**62]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array(["2020-01-01"], dtype="datetime64"),
    ]
    for number, values in enumerate(arrays):
        yield from asked(f"array {number}", ".npy", npy(values))
    yield from asked("objects", ".npy", npy(np.array([Runs(), 3], dtype=object), pickled=True))
    good = npy(np.array([5, 6, 7]))
    yield from asked("more numbers declared than there are", ".npy", good.replace(b"(3,)", b"(%d,)" % 10**12))
    yield from asked("a shape of noise", ".npy", good.replace(b"(3,)", b"(x,)"))
    for name, content in bytewise(good, 0):
        yield from asked(name, ".npy", content)
    for suffix in (".txt", ".json", ".npy"):
        for name, path in special(folder / f"special{suffix}"):
            if not (suffix == ".txt" and name in ("missing", "a name that is too long", "below a file")):
                yield f"{suffix} {name}", main_forget.main, [*base, "--indexes_to_replace", str(path)], False
    arguments = folder / "command.txt"
    for number, content in enumerate(
        (b"--seed 'open", b"\xff\xff", b"--unlearn \\", b"--no-such-flag 3", b"@command.txt @command.txt\n--x")
    ):
        arguments.write_bytes(content)
        yield f"@FILE {number}", main_forget.main, [*base, f"@{arguments}"], False
    for name, path in special(folder / "special.args"):
        yield f"@FILE {name}", main_forget.main, [*base, f"@{path}"], False


def npy(values: Any, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=pickled)
    return buffer.getvalue()


# --- result.json ---


def reports(folder: Path, good: dict[str, Any], flips: int) -> Iterator[Case]:
    """Results for ``main_report.py``.

    Args:
        good: a finished result as it was written.
    """
    place = folder / "runs" / "a"
    place.mkdir(parents=True)
    path, argv = place / "result.json", [str(folder / "runs"), "--out", str(folder / "out"), "--no_plots"]
    content = (json.dumps(good, indent=1) + "\n").encode()

    def same(changed: bytes) -> bool:
        """Whether every entry but the seal is as it was; a damaged name of the seal only loses the seal."""
        try:
            content = json.loads(changed)
        except ValueError:
            return False
        own = good.keys() - {files.SEAL}
        return isinstance(content, dict) and {key: content.get(key) for key in own} == {key: good[key] for key in own}

    for name, changed in bytewise(content, flips):
        path.write_bytes(changed)
        yield f"result.json {name}", main_report.main, argv, same(changed)
    for name, changed in unsealed(good):
        path.write_text(json.dumps(changed))
        yield f"result.json {name}", main_report.main, argv, False
    path.unlink()
    for name, _ in special(path):
        if path.exists() or path.is_symlink():
            yield f"result.json {name}", main_report.main, argv, False
    path.write_bytes(content)
    plan = place / "x.sweep.json"
    for number, text in enumerate(
        ('{"name": 3}', "[", '{"name": "x", "cells": [3]}', '{"name": "x", "cells": [{"folder": "a"}]}', "\xff")
    ):
        plan.write_text(text)
        yield f"a sweep's list {number}", main_report.main, argv, False
        plan.unlink()
    for name, _ in special(plan):
        if plan.exists() or plan.is_symlink():
            yield f"a sweep's list {name}", main_report.main, argv, False


def unsealed(good: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Results without a seal, as others' scripts might write them, with an entry missing or of another type."""
    plain = {key: value for key, value in good.items() if key != files.SEAL}
    for key in ("fingerprint", "method", "paper_name", "scenario", "model", "scores", "config", "seed", "compat"):
        yield f"without {key}", {name: value for name, value in plain.items() if name != key}
        yield f"its {key} is a list", {**plain, key: [1]}
        yield f"its {key} is nothing", {**plain, key: None}
    for group, key in (
        ("scores", "UA"),
        ("scores", "RTE"),
        ("model", "sparsity"),
        ("model", "dataset"),
        ("config", "hyper"),
        ("scenario", "words"),
    ):
        changed = copy.deepcopy(plain)
        changed[group][key] = [1]
        yield f"{group}'s {key} is another", changed
        del changed[group][key]
        yield f"{group} without {key}", changed
    yield "words that clear the screen", {**plain, "scenario": {**plain["scenario"], "words": "\x1b[2J"}}
    yield "NaN scores", {**plain, "scores": {**plain["scores"], "UA": float("nan")}}


# --- YAML ---

SWEEP = (
    b"title: t\nfolder: runs/t\nseeds: [1]\nflags: {dataset: digits, arch: resnet20s, input_size: 8}\n"
    b"train:\n  dense: {script: main_imp.py, epochs: 1}\n"
)
YAMLS = [
    b"",
    b"- a",
    b"a: [",
    b"title: !!python/object/apply:os.system ['true']",
    b"a: &a [*a]",
    b"folder: 3\nseeds: x\ntrain: 1",
    b"? [a]\n: b",
    b"? {a: 1}\n: b",
    b"a: " + b"[" * 3000,
    b"date: 2001-99-99",
    b"a: " + b"9" * 5000,
    b"title: \xff",
    b"a: 1\na: 2",
    b"extends: nowhere.yaml",
    b"extends: sweep.yaml",
    b"extends: /dev/zero",
    b"a: &a [1,1]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)),
    SWEEP.replace(b"[1]", b"[-1]"),
    SWEEP.replace(b"[1]", b"[1, 1]"),
    SWEEP.replace(b"main_imp", b"../evil"),
    SWEEP.replace(b"dense", b"../dense"),
    SWEEP.replace(b"script:", b"scripts:"),
    SWEEP + b"methods: {FT: {}}\n",
    SWEEP + b"models: {m: nowhere/1}\n",
    SWEEP + b"resources: {gpus: many}\n",
    SWEEP + b"overrides: [3]\n",
    SWEEP + b"methods: [1]\nmodels: [2]\nscenarios: 3\n",
    SWEEP.replace(b"epochs: 1", b"epochs: [[1]]"),
    SWEEP.replace(b"epochs: 1", b"epoch: 1"),
    SWEEP.replace(b"{script", b"!!set {script"),
    SWEEP + b"optuna: 3\n",
    SWEEP.replace(b"flags: {", b"flags: {1: 2, "),
    SWEEP.replace(b"epochs: 1", b"epochs: {a: 1}"),
    b"title: \x00",
]


def sweeps(folder: Path) -> Iterator[Case]:
    """Files for ``main_sweep.py``."""
    path = folder / "sweep.yaml"
    for number, content in enumerate(YAMLS):
        path.write_bytes(content)
        yield f"YAML {number}: {content[:40]!r}", main_sweep.main, [str(path), "--print"], False
    for name, content in bytewise(SWEEP, 0):
        path.write_bytes(content)
        yield f"YAML {name}", main_sweep.main, [str(path), "--print"], name.startswith("cut") or name == "a block twice"
    path.unlink()
    for name, other in special(path):
        yield f"YAML {name}", main_sweep.main, [str(other), "--print"], False


def answers(cases: Iterator[Case], every: int = 1) -> tuple[int, dict[str, str]]:
    """How many files were asked about, and by the names of those whose answer is not as promised, what is wrong with
    it.

    Args:
        every: 3 asks about every third alone.
    """
    asked, complaints = 0, {}
    for name, main, argv, accepted in islice(cases, 0, None, every):
        asked += 1
        said = ask(main, argv).complaint(accepted)
        if said:
            complaints[name] = said
    return asked, complaints


# --- images ---


@script
def load(argv: list[str] | None = None) -> int:
    """Read a folder tree as every script does."""
    prepare.find("folder", argv[0], int(argv[1]) if argv[1:] else None).load()
    return 0


def picture(kind: str, size: tuple[int, int] = (12, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def same_pixels(content: bytes, good: bytes) -> bool:
    """PNG alone has checksums, over every part but the last."""
    try:
        return bool(
            np.array_equal(*(np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in (content, good)))
        )
    except Exception:  # noqa: BLE001
        return False


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 400 million pixels."""
    good = picture("PNG")
    header = struct.pack(">II", 20_000, 20_000) + good[24:29]
    import zlib

    return good[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + good[33:]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n(%pipe%touch TRACE) (r) file\nshowpage\n"
KINDS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "ppm": "PPM", "webp": "WEBP", "tif": "TIFF"}


def trees(folder: Path, flips: int = 3) -> Iterator[Case]:
    """Class-folder trees with one thing in them that should not be there."""
    root = folder / "tree"
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            (root / part / name / "0.png").write_bytes(picture("PNG"))
    for suffix, kind in KINDS.items():
        path, good = root / "train" / "a" / f"1.{suffix}", picture(kind)
        for name, content in bytewise(good, flips):
            path.write_bytes(content)
            accepted = (
                kind != "PNG" and name.startswith(("bit", "cut", "zeros in", "a block")) or same_pixels(content, good)
            )
            yield f"{suffix} {name}", load, [str(root)], accepted
        path.unlink()
        for name, _ in special(path):
            if path.exists() or path.is_symlink():
                yield f"{suffix} {name}", load, [str(root)], False
    path = root / "train" / "a" / "1.png"
    for name, content in {
        "a bomb": bomb(),
        "PostScript": POSTSCRIPT,
        "PDF": picture("PDF"),
        "TGA": picture("TGA"),
        "another size": picture("PNG", (13, 12)),
        "SVG": b"<svg/>",
        "a PPM that says it is large": b"P6\n9000 9000\n255\n" + bytes(300),
        "a BMP that says it is larger": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 90, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(40),
    }.items():
        path.write_bytes(content)
        yield f"image: {name}", load, [str(root)], False
    path.unlink()
    for name, target in {
        "a file elsewhere": "/etc/passwd",
        "a memory": "/proc/self/mem",
        "a terminal": "/dev/tty",
    }.items():
        path.symlink_to(target)
        yield f"a link to {name}", load, [str(root)], False
        path.unlink()
    for name in ("a\x1b[31m", "a\nb", "a\x7f"):
        (root / "train" / name).mkdir()
        yield f"a class called {name!r}", load, [str(root)], False
        (root / "train" / name).rmdir()
        odd = root / "train" / "a" / f"{name}.png"
        odd.write_bytes(picture("PNG"))
        yield f"a file called {name!r}", load, [str(root)], False
        odd.unlink()
    outside = root / "train" / "c"
    for target in ("/", "/dev", "/proc/self/fd", ".."):
        outside.symlink_to(target)
        yield f"a class that is a link to {target}", load, [str(root)], False
        outside.unlink()
    folder_image = root / "train" / "a" / "2.png"
    folder_image.mkdir()
    yield "a folder by an image's name", load, [str(root)], False
    folder_image.rmdir()


# --- all ---

RESUMED = [*DIGITS, "--epochs", "2", "--batch_size", "512", "--pruning_times", "2"]
CASES: dict[
    str, Callable[[Path, Path, Path, int], Iterator[Case]]
] = {  # by kind: from a folder, a checkpoint of a training and a result, and a number of flipped bits
    "checkpoints": lambda folder, checkpoint, result, flips: Checkpoints(folder, flips).cases(),
    "training checkpoints": lambda folder, checkpoint, result, flips: TrainingCheckpoints(
        folder, checkpoint, RESUMED
    ).cases(),
    "lists": lambda folder, checkpoint, result, flips: listings(folder),
    "results": lambda folder, checkpoint, result, flips: reports(folder, json.loads(result.read_text()), flips),
    "YAML": lambda folder, checkpoint, result, flips: sweeps(folder),
    "images": lambda folder, checkpoint, result, flips: trees(folder, max(3, flips // 5)),
}
