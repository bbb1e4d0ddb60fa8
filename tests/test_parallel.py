"""Two processes give what one gives."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import apart
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import nn

import main_forget
import main_imp
from dataset.images import Augment, ImageSet
from dataset.pairs import Marked, Paired
from dataset.scenario import Scenario
from trainer import checkpoints
from trainer.cpu_arithmetic import batch_norm
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Pass
from trainer.task import Classification, accuracy
from unlearn import registry
from unlearn.apply import apply
from unlearn.context import Context
from utils import parallel
from utils.device import resolve
from utils.log import Log

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


def run(action: Callable[[], object], processes: int, folder: Path) -> str:
    """What ``action`` prints in one or two processes forked off this one, which know of each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def forked(rank: int) -> int:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
                os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
                code = int(bool(action()))
                sys.stdout.flush()
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        return child

    def together() -> int:
        children = [forked(rank) for rank in range(processes)]
        return max(abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) for child in children)

    done = apart.run(together, folder)
    assert done.code == 0, done.err[-3000:]
    return done.out


def close(left, right, tolerance):
    assert left.keys() == right.keys()
    for key in left:
        scale = float(left[key].double().abs().max()) or 1.0
        assert float((left[key].double() - right[key].double()).abs().max()) <= tolerance * scale, key


def in_two_processes(words: list[str], folder: Path) -> str:
    """What ``main_imp.py`` prints in two processes forked off this one."""
    return run(lambda: main_imp.main(words), 2, folder)


def under_torchrun(words: list[str], folder: Path) -> str:
    """What ``main_imp.py`` prints in two processes that torchrun starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, "main_imp.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", params=[in_two_processes, pytest.param(under_torchrun, marks=pytest.mark.torture)])
def both(request, tmp_path_factory):
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
    words = [*IMP, "--data", str(folder / "tree"), "--save_dir"]
    one = run(lambda: main_imp.main([*words, str(folder / "1")]), 1, folder)
    return folder, {1: one, 2: request.param([*words, str(folder / "2")], folder)}


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
    words = [*TREE, "--data", str(folder / "tree"), "--mask", mask, *hyper, "--save_dir"]
    for n in (1, 2):
        run(lambda: main_forget.main([*words, str(folder / f"GA{n}")]), n, folder)  # noqa: B023  (called at once)
    close(*(checkpoints.read(folder / f"GA{n}" / "GAcheckpoint.pth.tar", "").weights for n in (1, 2)), 1e-4)
    one, two = (json.loads((folder / f"GA{n}" / "result.json").read_text())["scores"] for n in (1, 2))
    assert one["RA"] == pytest.approx(two["RA"], abs=0.02) and one["UA"] == pytest.approx(two["UA"], abs=0.04)


class Double(nn.Module):
    """A small network in float64 over images of 9 x 9.

    Args:
        side: of the second filters, over maps of 4 x 4; with 4, batch norm sees one number of a lone image.
    """

    def __init__(self, side: int = 3):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, side), nn.BatchNorm2d(4))
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x.double()).relu().mean((2, 3)))


def network_and_images(side: int = 3) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = Double(side).double()
    random = torch.Generator().manual_seed(1)
    return model, torch.randint(0, 256, (29, 3, 9, 9), dtype=torch.uint8, generator=random)


def contrast(model, batch):
    outputs, others = model(batch.inputs[0]), model(batch.inputs[1])
    return 0.1 * (outputs @ others.T).square().mean(), accuracy(outputs, batch.targets[0])


def marked(model, batch):
    logits, (classes, marks) = model(batch.inputs), batch.targets
    loss = nn.functional.cross_entropy(logits, classes)
    return loss + (logits.square().mean(1) * marks).mean(), accuracy(logits, classes)


def train_in_double(place: Path, sam_rho: float, sets: str) -> None:
    resolve("cpu")
    model, images = network_and_images(4 if sets == "one pixel" else 3)
    data = ImageSet(images, torch.arange(29) % 3, None, Augment(2))  # batches of 7, the last of one image
    few = ImageSet(images[:9].flip(3), torch.arange(9) % 3)
    paired = Pass(Paired(few, data, 5, cycle=False), contrast, batch_size=4)
    passes = [paired, Pass(Marked(data, few, 3), marked)] if sets == "passes" else data
    recipe = Recipe(6, 0.1, batch_size=7, sam_rho=sam_rho)
    done = Training(model, recipe, {}).run(passes, 5, Classification().mean)
    figures = [(log.loss, log.figures["accuracy"]) for log in done]
    if parallel.is_main():
        torch.save((figures, model.state_dict()), place)


@pytest.mark.parametrize("sam_rho, sets", [(0.0, "one"), (0.5, "one"), (0.0, "passes"), (0.5, "one pixel")])
def test_in_double_precision_thirty_steps_agree_to_ten_digits(sam_rho, sets, tmp_path):
    for n in (1, 2):
        run(lambda: train_in_double(tmp_path / str(n), sam_rho, sets), n, tmp_path)  # noqa: B023  (called at once)
    (figures, one), (shared, two) = (torch.load(tmp_path / str(n)) for n in (1, 2))
    close(one, two, 1e-9)
    assert [loss for loss, _ in figures] == pytest.approx(
        [loss for loss, _ in shared], rel=1e-5
    )  # figures are summed in float32
    assert [right for _, right in figures] == pytest.approx([right for _, right in shared])
    assert figures[-1][0] < figures[0][0]


NORMALISED = {  # images, and to how many digits batch norm in two processes is that in one
    "double": (torch.float64, (7, 3, 4, 5), 1e-10),
    "float": (torch.float32, (7, 3, 4, 5), 1e-5),
    "half": (torch.bfloat16, (7, 3, 4, 5), 0.03),
    "lone": (torch.float64, (1, 3, 2, 2), 1e-10),
}


def normalised(place: Path, one_message: bool) -> None:
    """Batch norm of this process's part of drawn images, and the slopes of a loss on its output, by case and name."""
    resolve("cpu")
    found = {case: one_normalised(*NORMALISED[case][:2], one_message) for case in NORMALISED}
    torch.save(found, f"{place}.{parallel.rank()}")


def one_normalised(dtype: torch.dtype, shape: tuple[int, ...], one_message: bool) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    images, wanted = torch.randn(2, *shape, generator=random, dtype=torch.float64) * 3 + 5
    mine, copies = parallel.part(len(images)), parallel.size() if len(images) < parallel.size() else 1
    dtype = dtype if one_message else torch.float64
    layer = nn.BatchNorm2d(shape[1]).to(torch.promote_types(dtype, torch.float32))
    layer.load_state_dict(layer.state_dict() | {"weight": torch.linspace(0.5, 2, shape[1])})
    x = images[mine].to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    if one_message:
        y, *statistics = batch_norm.OneMessage.apply(x, layer.weight, layer.bias, layer.eps)
        batch_norm._track_all(layer, *statistics, copies)
    else:
        y = batch_norm.forwards(layer, len(images))[layer](x)
    ((y - wanted[mine].to(dtype)) ** 2).sum().backward()
    sums = {f"by {name}": parallel.add_up(p.grad) / copies for name, p in layer.named_parameters()}
    return {"output": y.detach(), "by_x": x.grad, **layer.state_dict(), **sums}


def test_batch_norm_by_one_message_is_that_of_all_images_in_one_process(tmp_path):
    """A GPU's way, taken on the CPU: 3 and 4 of 7 images in two processes, and a lone image that both have."""
    run(lambda: normalised(tmp_path / "one", False), 1, tmp_path)
    run(lambda: normalised(tmp_path / "two", True), 2, tmp_path)
    one, *parts = (torch.load(tmp_path / name) for name in ("one.0", "two.0", "two.1"))
    for case, (_, shape, tolerance) in NORMALISED.items():
        found, other = (part[case] for part in parts)
        assert found["running_var"].equal(other["running_var"])
        if shape[0] > 1:
            found |= {name: torch.cat([found[name], other[name]]) for name in ("output", "by_x")}
        close(found, one[case], tolerance)


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


def unlearn_in_double(place: Path) -> None:
    device = resolve("cpu")
    model, images = network_and_images()
    parts = {"forget": range(8), "retain": range(8, 29)}
    sets = {name: ImageSet(images, torch.arange(29) % 3, part, Augment(2)) for name, part in parts.items()}
    found = {}
    for name, compat in itertools.product(
        ("SFRon", "RL", "SalUn", "boundary_shrink", "boundary_expanding"), ("fixed", "reference")
    ):
        more = {"forget_freq": 2, "forget_alpha": 2.0} if name == "SFRon" else {}
        hyper = registry.get(name).config(unlearn_epochs=3, batch_size=7, unlearn_lr=0.05, **more)
        where = Context({}, device, 2, compat, "digits", 3, Scenario(None, 8), (), Log(None))
        after = apply(registry.get(name), model, sets, hyper, where).model
        found |= {f"{name} {compat} {key}": value for key, value in after.state_dict().items()}
    if parallel.is_main():
        torch.save(found, place)


def test_methods_with_batches_of_their_own_agree_in_double_precision(tmp_path):
    """Batches of 7 and 1 of the forget set: the last is whole in both processes."""
    for n in (1, 2):
        run(lambda: unlearn_in_double(tmp_path / str(n)), n, tmp_path)  # noqa: B023  (called at once)
    close(*(torch.load(tmp_path / str(n)) for n in (1, 2)), 1e-7)
