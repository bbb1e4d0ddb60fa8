"""The benchmarks: what is compared is the same work, and what is printed is a table."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from benchmarks import baseline, data
from benchmarks.__main__ import main
from benchmarks.rows import relative, rows
from dataset.images import Augment
from pruner import MaskEnforcer
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from unlearn import curvature
from utils import seeds

CPU = torch.device("cpu")


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True)


def test_both_sides_of_the_data_path_give_the_same_pixels():
    drawn = data.draw(50)
    images = drawn.ours(CPU, Augment())
    ours = [batch for batch, _ in images.batches(20, 1)]
    plain = [batch for batch, _ in baseline.loader(drawn.shuffled(images, 1), 20)]
    assert [len(batch) for batch in ours] == [20, 20, 10]
    assert torch.equal(torch.cat(ours), torch.cat(plain))


def test_both_sides_of_an_epoch_give_the_same_weights():
    drawn, model = data.draw(40), data.model("resnet20s", CPU)
    images, kept = drawn.ours(CPU, Augment()), data.mask(model)
    MaskEnforcer(model, kept)
    plain = baseline.epoch(model, kept, drawn.shuffled(images, seeds.derive(1, "epoch", 0)), 0.01, 20)
    list(
        Training(model, Recipe(1, 0.01, schedule="constant", batch_size=20), kept).run(images, 1, Classification().mean)
    )
    moved = {
        name: value for name, value in model.state_dict().items() if "running" not in name and "num_batches" not in name
    }
    assert float(relative(moved, {name: plain[name] for name in moved}).split()[0]) < 1e-4
    assert all(bool((plain[name][~keep] == 0).all()) for name, keep in kept.items())


def test_both_sides_of_the_curvature_give_the_same_numbers():
    drawn, model = data.draw(24), data.model("resnet20s", CPU).eval()
    ours = curvature.fisher_of_batches(model, drawn.ours(CPU).batches(8), {})
    assert float(relative(ours, baseline.fisher(model, drawn.plain(), 8)).split()[0]) < 1e-4


def test_a_relative_difference_is_one_length_over_another():
    right = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0]), "count": torch.tensor(7)}
    left = {"a": torch.tensor([3.0, 0.3]), "b": torch.tensor([3.6]), "count": torch.tensor(0)}
    assert relative(left, right) == "1.0e-01 relative"  # (0.3, 0.4) is 0.5 long, (3, 4) is 5


@pytest.mark.torture
def test_a_row_is_a_line_with_ratio_spread_and_difference():
    done = bench("data")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("data path"))
    seconds = re.search(
        r"(\d+\.\d+) +(\d+\.\d+) +(\d+\.\d+) x +(\d+\.\d+) to (\d+\.\d+) +20 x +0e\+00 in pixels$", line
    )
    assert seconds, line
    plain, ours, ratio, least, most = map(float, seconds.groups())
    assert least <= ratio <= most and ours < plain
    if not torch.cuda.is_available():
        assert "No GPU was at hand" in done.stdout


def test_an_unknown_row_is_one_line(capsys):
    assert main(["training"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "training" in said.err and "epoch" in said.err


@pytest.mark.torture
@pytest.mark.parametrize("name", list(rows))
def test_every_row_runs(name):
    pair = rows.get(name).build(CPU, False)
    assert pair.difference(pair.ours(), pair.plain())
