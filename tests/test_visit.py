"""The command for a short visit to a GPU, rehearsed on the CPU: what fits is done, and all that is found is kept."""

from __future__ import annotations

import io
import json
import lzma
import time

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import jpegs, table
from benchmarks.gpu.visit import Visit
from sweep import grid

CPU = torch.device("cpu")
MEASURED = {"resnet18 --amp": {"seconds per epoch": 1.0}, "scores": {"seconds": 4.0}}


@pytest.fixture
def visit(tmp_path) -> Visit:
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    return Visit(CPU, 600, True, None, tmp_path / "out", tmp_path / "work")


def test_as_many_epochs_as_fit():
    # Runs take 28 * (4 + 1) s besides their epochs, FF and IU 8 * 15 s: 240 s are left for 1.2 s an epoch.
    # 2 * 32 + 4 * 29 + 8 * 2 = 196 epochs fit, 2 * 33 + 4 * 30 + 8 * 2 = 202 do not.
    assert table.epochs(500, MEASURED) == {"train": 32, "retrain": 29, "tune": 2}
    assert table.epochs(269, MEASURED) == {} and table.epochs(280, MEASURED)["train"] == 1
    assert table.epochs(10**6, MEASURED) == {"train": 182, "retrain": 160, "tune": 10}
    assert table.epochs(2000, {"resnet18 --amp": "failed: no"})["train"] < table.epochs(2000, MEASURED)["train"]


def test_a_plan_is_table_1_with_one_seed(visit):
    jpegs.offer(None, 2)
    stated = table.plan(visit, {"train": 5, "retrain": 4, "tune": 1})
    cells = grid.cells(stated, strict=False)
    assert len(cells) == 1 + 7 * 2 * 2
    words = {cell.name: " ".join(cell.argv) for cell in cells}
    assert "--epochs 5" in words["seed1/omp95"] and "--rate 0.95" in words["seed1/omp95"]
    retrained = words["seed1/random/sparse/retrain"]
    assert "--unlearn_epochs 4" in retrained and "--schedule triangle" in retrained and "decreasing" not in retrained
    assert (
        "--unlearn_lr 1e-3" in words["seed1/random/dense/GA"] and "--unlearn_epochs 1" in words["seed1/class/dense/FT"]
    )


def test_what_does_not_fit_or_fails_is_said_and_tried_again(visit, capsys):
    def fails():
        raise ValueError("two\nlines")

    visit.attempt("a", "long", 601, lambda: 1)
    visit.attempt("a", "broken", 1, fails)
    visit.attempt("a", "good", 1, lambda: {"seconds": 2})
    found = json.loads((visit.out / "a.json").read_text())
    assert found["long"].startswith("skipped: needs about 601 s, ") and found["good"] == {"seconds": 2}
    assert found["broken"] == "failed: ValueError: two lines"
    later = Visit(CPU, 900, True, None, visit.out, visit.work)
    for name in ("long", "broken", "good"):
        later.attempt("a", name, 601, lambda: 3)
    assert later.known("a") == {"long": 3, "broken": 3, "good": {"seconds": 2}}
    assert "a: good: known already" in capsys.readouterr().out


def archive(path):
    """Two images of each class to train on and one to test on, of one colour each."""
    random, content = np.random.RandomState(0), {}
    for part, count in (("train", 20), ("test", 10)):
        labels, files = np.arange(count) % 10, []
        for label in labels:
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (20 * int(label), 40, 60)).save(file, "jpeg")
            files.append(file.getvalue())
        order = random.permutation(count)
        content[f"{part}_label"] = labels[order]
        content[f"{part}_size"] = np.array([len(files[place]) for place in order], dtype=np.uint16)
        content[f"{part}_jpeg"] = np.frombuffer(b"".join(files[place] for place in order), dtype=np.uint8)
    packed = io.BytesIO()
    np.savez(packed, **content)
    path.write_bytes(lzma.compress(packed.getvalue()))


def test_an_archive_is_read_class_after_class(tmp_path):
    archive(tmp_path / "a.npz.xz")
    (train, labels), (test, _) = jpegs._read(tmp_path / "a.npz.xz", None)
    assert train.shape == (20, 32, 32, 3) and test.shape == (10, 32, 32, 3) and train.dtype == np.uint8
    assert labels.tolist() == sorted(list(range(10)) * 2)
    assert np.abs(train[:, 0, 0].astype(int) - [[20 * label, 40, 60] for label in labels]).max() <= 3
    assert [len(part) for part, _ in jpegs._read(tmp_path / "a.npz.xz", 1)] == [10, 10]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--archive", "none.xz"], "--archive none.xz: no such file"),
        (["--minutes", "0"], "--minutes 0: must be above 0"),
        (["speed"], "speed: no part; there are checks, epochs, table"),
        (["--device", "cpu"], "--device cpu: takes days at full size; add --tiny"),
    ],
)
def test_wrong_input_is_one_line(words, said, capsys):
    assert command.main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_epochs_are_measured_and_known_the_next_time(tmp_path, capsys):
    words = ["epochs", "--device", "cpu", "--tiny", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert command.main(words) == 0
    found = json.loads((tmp_path / "out" / "cpu-tiny" / "bench.json").read_text())
    row = found["resnet20s eager"]
    assert row["seconds per epoch"] == min(row["spread"]) > 0 and len(row["spread"]) == 3
    assert found["resnet20s --amp"].startswith("skipped: slower")
    capsys.readouterr()
    assert command.main(words) == 0
    assert "resnet20s eager: known already" in capsys.readouterr().out


@pytest.mark.torture
def test_a_rehearsal_of_everything(tmp_path):
    words = ["--device", "cpu", "--tiny", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    started = time.monotonic()
    assert command.main(words) == 0
    kept = tmp_path / "out" / "cpu-tiny"
    checked = json.loads((kept / "correctness.json").read_text())
    assert checked["FT"] == dict.fromkeys(("UA", "RA", "TA", "MIA-Efficacy"), 0)
    made = json.loads((kept / "table.json").read_text())
    assert [name for name, what in made.items() if what != "done" and name != "epochs"] == []
    assert len(made) == 1 + 29 + 1 and list((kept / "table1").glob("cifar10_jpeg-resnet20s-class-0.md"))
    assert time.monotonic() - started < 600
