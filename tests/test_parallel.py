"""Two processes give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from utils import checkpoints, parallel

pytestmark = pytest.mark.numeric

TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--nproc_per_node=2",
    "--master_port=0",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=localhost:0",
]
TREE = ["--dataset", "folder", "--arch", "resnet20s", "--device", "cpu"]
# 3 x 36 training images in batches of 43: two whole ones and one of 22
IMP = [
    *TREE,
    "--epochs",
    "2",
    "--batch_size",
    "43",
    "--lr",
    "0.02",
    "--pruning_times",
    "2",
    "--rate",
    "0.5",
    "--rewind_epoch",
    "1",
]


def run(command, processes):
    started = TORCHRUN if processes == 2 else [sys.executable]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*started, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def close(left, right, tolerance):
    assert left.keys() == right.keys()
    for key in left:
        scale = float(left[key].double().abs().max()) or 1.0
        assert float((left[key].double() - right[key].double()).abs().max()) <= tolerance * scale, key


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        for label in range(3):
            (folder / "tree" / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 100, (12, 12, 3)) + 50 * label
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / "tree" / part / f"class{label}" / f"{number:03}.png"
                )
    said = {
        n: run(["main_imp.py", *IMP, "--data", str(folder / "tree"), "--save_dir", str(folder / str(n))], n)
        for n in (1, 2)
    }
    return folder, said


def test_training_in_two_processes_equals_training_in_one(both):
    folder, said = both
    one, two = (checkpoints.read(folder / str(n) / "1checkpoint.pth.tar", "") for n in (1, 2))
    different = sum(int((one.mask[name] != two.mask[name]).sum()) for name in one.mask)
    assert different <= 30, "near the threshold, of 267,696"
    dense = [checkpoints.read(folder / str(n) / "0checkpoint.pth.tar", "").weights for n in (1, 2)]
    close(*dense, 2e-3)
    start = torch.load(folder / "1" / "0checkpoint.pth.tar")["init_weight"]
    moved = float((dense[0]["conv1.weight"] - start["conv1.weight"]).abs().max())
    assert moved > 50 * float((dense[0]["conv1.weight"] - dense[1]["conv1.weight"]).abs().max()), "trained, and alike"


def test_the_main_process_alone_writes_and_speaks(both):
    folder, said = both
    assert {path.name for path in (folder / "1").iterdir()} == {path.name for path in (folder / "2").iterdir()}
    lines = {
        n: [line for line in text.splitlines() if line.startswith("round ") and " loss " in line]
        for n, text in said.items()
    }
    assert len(lines[1]) == len(lines[2]) == 4
    logs = {n: [json.loads(line) for line in (folder / str(n) / "log.jsonl").read_text().splitlines()] for n in (1, 2)}
    for alone, shared in zip(logs[1], logs[2], strict=True):
        if alone["kind"] == "epoch":
            assert alone["loss"] == pytest.approx(shared["loss"], rel=1e-3)
            assert alone["accuracy"] == pytest.approx(shared["accuracy"], abs=0.003)


def test_unlearning_in_two_processes_equals_unlearning_in_one(both):
    folder, _ = both
    mask = str(folder / "1" / "1model_SA_best.pth.tar")
    hyper = ["--unlearn", "GA", "--unlearn_epochs", "1", "--batch_size", "12", "--unlearn_lr", "0.0001"]
    for n in (1, 2):
        run(
            [
                "main_forget.py",
                *TREE,
                "--data",
                str(folder / "tree"),
                "--mask",
                mask,
                *hyper,
                "--save_dir",
                str(folder / f"GA{n}"),
            ],
            n,
        )
    close(*(checkpoints.read(folder / f"GA{n}" / "GAcheckpoint.pth.tar", "").weights for n in (1, 2)), 1e-4)
    one, two = (json.loads((folder / f"GA{n}" / "result.json").read_text())["scores"] for n in (1, 2))
    assert one["RA"] == pytest.approx(two["RA"], abs=0.02) and one["UA"] == pytest.approx(two["UA"], abs=0.04)


IN_DOUBLE = """
import sys, torch
from torch import nn
from dataset.images import Augment, ImageSet
from dataset.pairs import Marked, Paired
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Pass
from trainer.task import Classification, accuracy
from utils.device import resolve
from utils.errors import leave  # as the scripts end: gloo's threads may abort a process that is taken down in order

SIDE = 4 if sys.argv[3] == "one pixel" else 3  # of the filters over maps of 4 x 4; batch norm sees one number of the last image

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, SIDE), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)
    def forward(self, x):
        return self.head(self.body(x.double()).relu().mean((2, 3)))

resolve("cpu")
torch.manual_seed(0)
model = Double().double()
random = torch.Generator().manual_seed(1)
images = torch.randint(0, 256, (29, 3, 9, 9), dtype=torch.uint8, generator=random)
data = ImageSet(images, torch.arange(29) % 3, None, Augment(2))  # batches of 7, the last of one image
recipe = Recipe(6, 0.1, batch_size=7, sam_rho=float(sys.argv[2]))

def contrast(model, batch):
    outputs, others = model(batch.inputs[0]), model(batch.inputs[1])
    return 0.1 * (outputs @ others.T).square().mean(), accuracy(outputs, batch.targets[0])

def marked(model, batch):
    logits, (classes, marks) = model(batch.inputs), batch.targets
    loss = nn.functional.cross_entropy(logits, classes)
    return loss + (logits.square().mean(1) * marks).mean(), accuracy(logits, classes)

few = ImageSet(images[:9].flip(3), torch.arange(9) % 3)
passes = [Pass(Paired(few, data, 5, cycle=False), contrast, batch_size=4), Pass(Marked(data, few, 3), marked)] if sys.argv[3] == "passes" else data
figures = [(log.loss, log.figures["accuracy"]) for log in Training(model, recipe, {}).run(passes, 5, Classification().mean)]
torch.save((figures, model.state_dict()), sys.argv[1]) if __import__("utils.parallel").parallel.is_main() else None
leave(0)
"""


@pytest.mark.parametrize("sam_rho, sets", [(0.0, "one"), (0.5, "one"), (0.0, "passes"), (0.5, "one pixel")])
def test_in_double_precision_thirty_steps_agree_to_ten_digits(sam_rho, sets, tmp_path):
    script = tmp_path / "in_double.py"
    script.write_text(IN_DOUBLE)
    for n in (1, 2):
        run([str(script), str(tmp_path / str(n)), str(sam_rho), sets], n)
    (figures, one), (shared, two) = (torch.load(tmp_path / str(n)) for n in (1, 2))
    close(one, two, 1e-9)
    assert [loss for loss, _ in figures] == pytest.approx(
        [loss for loss, _ in shared], rel=1e-5
    )  # figures are summed in float32
    assert [right for _, right in figures] == pytest.approx([right for _, right in shared])
    assert figures[-1][0] < figures[0][0]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_parts_cover_a_batch_once_and_weights_average_to_its_mean(count, processes, monkeypatch):
    values = torch.arange(1.0, count + 1)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    taken, mean = [], 0.0
    for number in range(processes):
        monkeypatch.setenv("RANK", str(number))
        mine = values[parallel.part(count)]
        assert len(mine) >= 1
        taken += mine.tolist()
        mean += float(mine.mean()) * parallel.weight(count) / processes
    assert mean == pytest.approx(float(values.mean()))
    assert taken == (values.tolist() if count >= processes else values.tolist() * processes)


UNLEARN_IN_DOUBLE = """
import sys, torch
from torch import nn
from dataset.images import Augment, ImageSet
from dataset.scenario import Scenario
from unlearn import registry
from unlearn.apply import apply
from unlearn.context import Context
from utils import parallel
from utils.device import resolve
from utils.errors import leave
from utils.log import Log

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)
    def forward(self, x):
        return self.head(self.body(x.double()).relu().mean((2, 3)))

device = resolve("cpu")
torch.manual_seed(0)
model = Double().double()
random = torch.Generator().manual_seed(1)
images = torch.randint(0, 256, (29, 3, 9, 9), dtype=torch.uint8, generator=random)
sets = {name: ImageSet(images, torch.arange(29) % 3, part, Augment(2)) for name, part in (("forget", range(8)), ("retain", range(8, 29)))}
found = {}
for name in ("SFRon", "RL", "SalUn", "boundary_shrink", "boundary_expanding"):
    for compat in ("fixed", "reference"):
        hyper = {"unlearn_epochs": 3, "batch_size": 7, "unlearn_lr": 0.05} | ({"forget_freq": 2, "forget_alpha": 2.0} if name == "SFRon" else {})
        where = Context({}, device, 2, compat, "digits", 3, Scenario(None, 8), (), Log(None))
        after = apply(registry.get(name), model, sets, registry.get(name).config(**hyper), where).model
        found |= {f"{name} {compat} {key}": value for key, value in after.state_dict().items()}
torch.save(found, sys.argv[1]) if parallel.is_main() else None
leave(0)
"""


def test_methods_with_batches_of_their_own_agree_in_double_precision(tmp_path):
    script = tmp_path / "unlearn_in_double.py"
    script.write_text(UNLEARN_IN_DOUBLE)  # batches of 7 and 1 of the forget set: the last is whole in both processes
    for n in (1, 2):
        run([str(script), str(tmp_path / str(n))], n)
    close(*(torch.load(tmp_path / str(n)) for n in (1, 2)), 1e-7)
