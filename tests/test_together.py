"""Several models computed as one: each ends where it ends alone, and none feels what befalls another."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, killed_at
from torch import Tensor, nn

import main_sweep
import models
import pruner
from dataset.images import Augment, ImageSet
from dataset.scenario import Scenario
from models.stacked import Stack, side_by_side
from sweep import alike, serve
from sweep.alike import Grouping, kind
from sweep.grid import Cell
from sweep.job import WAITING
from sweep.worker import Worker
from trainer import groups, together
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from unlearn import registry
from unlearn.apply import apply
from unlearn.context import Context
from utils import lanes, preempt
from utils.errors import DivergedError, UsageError
from utils.lanes import Lane
from utils.log import Log

pytestmark = pytest.mark.numeric

CLASSES, SIDE, IMAGES = 4, 8, 90
IDENTICAL = 2e-5  # of how far training moved a model; float32 knows the weights themselves to 1e-7


class Small(nn.Module):
    """Two convolutions, batch norm, a shortcut that pads channels and a head of two layers.

    Its activations have no kink, at which the last digit of a number decides on which side a gradient is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.last = nn.Conv2d(6, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.hidden, self.fc = nn.Linear(12 * 4 * 4, 8), nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = F.silu(self.norm(self.first(images)))
        x = F.silu(self.last(self.second(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)))
        return self.fc(F.silu(self.hidden(x.flatten(1))))


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Small()
    for norm in (model.norm, model.last):  # running statistics that differ from model to model
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    return models.parts.lay_out(model)


def images(seed: int, count: int, augment: Augment | None = None) -> ImageSet:
    """Some of the same source: each seed takes others."""
    random = np.random.default_rng(0)
    source = torch.from_numpy(random.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(random.integers(0, CLASSES, IMAGES))
    return ImageSet(source, labels, np.random.default_rng(seed).permutation(IMAGES)[:count], augment)


def in_lanes(works: list[Callable], most: int = 16) -> list[Lane]:
    found = [Lane(work) for work in works]
    lanes.run(found, together.Together(most))
    return found


def apart(left: nn.Module, right: nn.Module, start: nn.Module) -> float:
    """How far two models are apart over how far the first one moved: of parameters or of buffers, whichever is more."""

    def length(one: nn.Module, other: nn.Module, kind: str) -> float:
        pairs = zip(getattr(one, kind)(), getattr(other, kind)())
        return math.sqrt(sum(float((a.detach() - b.detach()).double().square().sum()) for a, b in pairs))

    return max(length(left, right, kind) / max(length(left, start, kind), 1e-3) for kind in ("parameters", "buffers"))


@pytest.mark.parametrize(("arch", "side"), [("resnet18", 8), ("resnet20s", 16), ("resnet20", 8), ("vgg16_bn", 32)])
def test_a_stack_gives_what_its_models_give(arch, side):
    """Logits, gradients and batch norm's statistics, in training and in eval mode."""
    singles = []
    for seed in range(2):
        torch.manual_seed(seed)
        singles.append(models.build(arch, CLASSES, ((0.1 * seed, 0.2, 0.3), (0.5, 0.4 + 0.1 * seed, 0.6))))
    joined = copy.deepcopy(singles)
    stack = Stack(joined)
    x = torch.rand(2, 6, 3, side, side)
    for mode in (True, False):
        for model in (*singles, *joined):
            model.train(mode)
        stack.begin()
        logits = stack(x)
        logits.square().mean((1, 2)).sum().backward()
        stack.end()
        for own, single, part in zip(logits, singles, x):
            single.zero_grad()
            alone = single(part)
            alone.square().mean().backward()
            torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-5)
    for model, single in zip(joined, singles):
        for (name, left), right in zip(model.named_parameters(), single.parameters()):
            error = (left.grad - right.grad).norm() / right.grad.norm()
            assert error < 1e-4, name
        for (name, left), right in zip(model.named_buffers(), single.buffers()):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6, msg=name)
    state = [copy.deepcopy(model.state_dict()) for model in joined]
    stack.release()
    for model, before in zip(joined, state):
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(p.grad is None and p.untyped_storage().nbytes() == 4 * p.numel() for p in model.parameters())


def test_channels_lie_side_by_side():
    x = torch.arange(2 * 3 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 3, 2, 2)
    found = side_by_side(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, torch.cat([x[0], x[1]], 1))


def test_unlike_models_are_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^models 1 and 2 \(ResNet and SmallResNet\) differ in their layers[^\n]*$"):
        Stack([models.build("resnet18", 3), models.build("resnet20s", 3)])
    with pytest.raises(UsageError, match="^Swin cannot be stacked: its operations depend on the images$"):
        Stack([models.build("swin_t", 3, size=32)] * 2)
    dropping = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))
    with pytest.raises(UsageError, match="^Flatten cannot be stacked: there is no such layer for several models$"):
        Stack([dropping, copy.deepcopy(dropping)])


def trained(seed: int, model: nn.Module, log: list | None = None) -> nn.Module:
    """Two epochs with augmentation, each seed with a split, a mask, a step size and a number of steps of its own."""
    mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0)) if seed % 2 else {}
    recipe = Recipe(2 + seed // 3, 0.004 * (seed + 1), weight_decay=0.001 * seed, milestones=(1,), batch_size=16)
    training = Training(model, recipe, mask)
    seen = images(seed, 60 + 5 * seed, Augment(1))
    found = list(training.run(seen, seed, Classification().mean))
    pruner.check_held(model, mask, "training")
    if log is not None:
        log += found
    return model


def test_models_trained_at_once_end_where_they_end_alone(monkeypatch):
    """Own splits, masks, orders, crops, step sizes, numbers of epochs and of images in the last batch."""
    steps: list[int] = []
    original = together.take
    monkeypatch.setattr(together, "take", lambda stack, asked: steps.append(len(asked)) or original(stack, asked))
    alone, joined = [[], [], [], []], [[], [], [], []]
    singles = [trained(seed, small(seed), alone[seed]) for seed in range(4)]
    lanes_ = in_lanes([lambda seed=seed: trained(seed, small(seed), joined[seed]) for seed in range(4)])
    for seed, (lane, single) in enumerate(zip(lanes_, singles)):
        assert lane.error is None
        assert apart(single, lane.result, small(seed)) < IDENTICAL
        for one, other in zip(alone[seed], joined[seed], strict=True):
            assert one.loss == pytest.approx(other.loss, rel=1e-5)
            assert one.figures == other.figures and one.lr == other.lr
    assert steps.count(4) == 6, "full batches are taken by all at once"


@pytest.mark.parametrize(
    "name", ["FT", "GA", "FT_prune", "RL", "NG+", "SalUn", "SFRon", "SCRUB", "MSG", "CT", "retrain"]
)
def test_unlearning_at_once_ends_where_it_ends_alone(name, monkeypatch):
    method = registry.get(name)
    numbers = {"unlearn_epochs": 2, "batch_size": 16}
    joint: list[int] = []
    original = together.take
    monkeypatch.setattr(together, "take", lambda stack, asked: joint.append(len(asked)) or original(stack, asked))

    def work(seed: int) -> Callable[[], nn.Module]:
        config = method.config(**numbers, unlearn_lr=0.002 * (1 + seed))
        model, forget = small(seed), images(seed, 70, Augment(1))
        mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0)) if seed else {}
        sets = {"forget": forget.first(22), "retain": forget.first(48, torch.arange(22, 70)), "val": forget.first(5)}
        about = (Scenario(None, 22), (), Log(None, quiet=True))
        handed = Context(mask, torch.device("cpu"), seed, "fixed", "drawn", CLASSES, *about)
        return lambda: apply(method, model, sets, config, handed).model

    singles = [work(seed)() for seed in range(3)]
    found = in_lanes([work(seed) for seed in range(3)])
    for seed, (lane, single) in enumerate(zip(found, singles)):
        assert lane.error is None
        assert apart(single, lane.result, small(seed)) < IDENTICAL
    assert joint.count(3) > 1


def test_a_model_that_diverges_leaves_its_neighbours_alone():
    def work(seed: int, lr: float) -> Callable[[], nn.Module]:
        training = Training(small(seed), Recipe(2, lr, milestones=(), batch_size=16), {})
        seen = images(seed, 48, Augment(1))
        return lambda: list(training.run(seen, seed, Classification().mean)) and training.model

    rates = (0.01, 1e30, 0.01)
    found = in_lanes([work(seed, lr) for seed, lr in enumerate(rates)])
    assert isinstance(found[1].error, DivergedError)
    for seed in (0, 2):
        assert found[seed].error is None
        assert apart(work(seed, 0.01)(), found[seed].result, small(seed)) < IDENTICAL


def test_where_memory_does_not_suffice_fewer_models_are_taken_at_once(monkeypatch, capsys):
    """The step is taken again from where it began, batch norm's statistics included."""
    sizes: list[int] = []
    original = together.take

    def tight(stack, asked):
        found = original(stack, asked)
        sizes.append(len(asked))
        if len(asked) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(together, "take", tight)
    found = in_lanes([lambda seed=seed: trained(seed, small(seed)) for seed in range(4)])
    assert sizes[0] == 4 and set(sizes[1:]) == {2}
    assert "memory does not suffice for 4 models at once; going on with 2" in capsys.readouterr().err
    for seed, lane in enumerate(found):
        assert apart(trained(seed, small(seed)), lane.result, small(seed)) < IDENTICAL


def test_what_cannot_be_stacked_is_said_once_and_trained_one_by_one(capsys):
    class Branching(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images if images.mean() > 0 else -images)

    def work() -> nn.Module:
        torch.manual_seed(0)
        return trained(0, Branching())

    found = in_lanes([work, work])
    said = "note: Branching cannot be stacked: its operations depend on the images; models of this architecture are"
    assert capsys.readouterr().err == f"{said} trained one by one\n"
    for lane in found:
        assert apart(work(), lane.result, small(0)) == 0


def test_lanes_run_one_at_a_time_and_meet():
    """Each goes to its next meeting in turn; the clock of a lane stands still while others run."""
    order: list[object] = []

    def work(name: str, meetings: int) -> Callable[[], str]:
        def run() -> str:
            assert lanes.inside() and lanes.count() == 2
            for number in range(meetings):
                order.append((name, lanes.meet(number)))
            return name

        return run

    def answer(waiting: list[Lane]) -> None:
        order.append([lane.request for lane in waiting])
        for lane in waiting:
            lane.answer = lambda asked=lane.request: 10 * asked

    found = [Lane(work("a", 2)), Lane(work("b", 1))]
    lanes.run(found, answer)
    assert order == [[0, 0], ("a", 0), ("b", 0), [1], ("a", 10)]
    assert [lane.result for lane in found] == ["a", "b"]
    assert not lanes.inside() and lanes.count() is None


def test_the_clock_of_a_lane_counts_its_share(monkeypatch):
    """Half of the common second each, and of the time between only what a lane took itself."""
    now = [0.0]
    monkeypatch.setattr(lanes.time, "perf_counter", lambda: now[0])

    def work(seconds: float) -> Callable[[], float]:
        def run() -> float:
            began = lanes.seconds()
            now[0] += seconds
            lanes.meet(None)
            return lanes.seconds() - began

        return run

    def answer(waiting: list[Lane]) -> None:
        now[0] += 1.0
        for lane in waiting:
            lane.answer = lambda: None

    found = [Lane(work(3.0)), Lane(work(5.0))]
    lanes.run(found, answer)
    assert [lane.result for lane in found] == [3.5, 5.5]


@pytest.mark.parametrize("where", ["lane", "answer"])
def test_a_signal_stops_every_lane_in_order(where):
    """What lanes have to put in order is put in order, wherever the signal comes; an error stops its own lane alone."""
    left: list[str] = []

    def work(name: str, error: BaseException | None = None) -> Callable[[], None]:
        def run() -> None:
            try:
                lanes.meet(name)
                if error is not None:
                    raise error
                lanes.meet(name)
            finally:
                left.append(name)

        return run

    def answer(waiting: list[Lane]) -> None:
        if where == "answer" and len(waiting) == 2:
            raise preempt.Preempted("SIGTERM")
        for lane in waiting:
            lane.answer = lambda: None

    works = [
        work("a"),
        work("b", ValueError("wrong")),
        work("c", preempt.Preempted("SIGTERM") if where == "lane" else None),
    ]
    found = [Lane(each) for each in works]
    with pytest.raises(preempt.Preempted):
        lanes.run(found, answer)
    assert sorted(left) == ["a", "b", "c"] and all(lane.over for lane in found)
    assert isinstance(found[1].error, ValueError)
    assert threading.active_count() == 1 or not any(lane.error is None for lane in found)


COMMON = [*DIGITS, "--batch_size", "128"]


def test_scripts_run_at_once_leave_what_they_leave_alone(tmp_path, few, few_run, capsys):
    """Three unlearnings that differ in seeds, forget sets and numbers, one of which is refused."""
    from main_forget import SCRIPT

    def words(name: str, number: int, split: list[str] = few) -> list[str]:
        told = [*split, "--mask", str(few_run / "1model_SA_best.pth.tar"), "--unlearn", "FT", "--unlearn_epochs", "1"]
        told += ["--forget", "random:0.1", "--unlearn_lr", str(0.001 * (number + 1)), "--seed", str(number)]
        return [*COMMON, *told, "--save_dir", str(tmp_path / name / str(number))]

    wrong = words("joined", 9, split=[])
    assert groups.run_together(SCRIPT, [words("joined", 0), wrong, words("joined", 1)], max_models=3) == [0, 2, 0]
    assert "was trained on split" in capsys.readouterr().err
    for number in (0, 1):
        assert SCRIPT.main(words("alone", number)) == 0
        alone, joined = (_result(tmp_path / name / str(number)) for name in ("alone", "joined"))
        assert joined["accuracy"] == pytest.approx(alone["accuracy"], abs=0.01)
        assert joined["fingerprint"] == alone["fingerprint"] and joined["models_at_once"] == 3
        assert "models_at_once" not in alone and joined["memory"] == {"unlearning": None}
        assert 0 < joined["scores"]["RTE"] < 1
        kept = [torch.load(tmp_path / name / str(number) / "FTcheckpoint.pth.tar") for name in ("alone", "joined")]
        assert kept[0].keys() == kept[1].keys()
        for key, value in kept[0]["state_dict"].items():
            torch.testing.assert_close(value, kept[1]["state_dict"][key], rtol=1e-2, atol=1e-3, msg=key)
        assert torch.equal(*(each["state_dict"]["conv1.weight_mask"] for each in kept))


def test_a_group_that_is_killed_goes_on_from_each_runs_last_epoch(tmp_path, capsys):
    """The third file of tensors is never written; each run goes on from its own, with the others or alone."""
    from main_imp import SCRIPT

    def words(name: str, seed: int) -> list[str]:
        told = ["--epochs", "2", "--lr", "0.002", "--pruning_times", "1", "--seed", str(seed)]
        return [*COMMON, *told, "--save_dir", str(tmp_path / name / str(seed))]

    commands = [words("joined", seed) for seed in range(2)]
    with killed_at(3):
        groups.run_together(SCRIPT, commands, max_models=2)
    assert not list(tmp_path.glob("joined/*/result.json")) and not list(tmp_path.glob("joined/*/.run.lock"))
    capsys.readouterr()
    assert groups.run_together(SCRIPT, commands, max_models=2) == [0, 0]
    assert capsys.readouterr().out.count("going on from") >= 1
    for seed in range(2):
        assert SCRIPT.main(words("alone", seed)) == 0
        kept = [torch.load(tmp_path / name / str(seed) / "0checkpoint.pth.tar") for name in ("alone", "joined")]
        for key, value in kept[0]["state_dict"].items():
            torch.testing.assert_close(value, kept[1]["state_dict"][key], rtol=1e-2, atol=2e-3, msg=key)
        sizes = [(tmp_path / name / str(seed) / "0checkpoint.pth.tar").stat().st_size for name in ("alone", "joined")]
        assert abs(sizes[0] - sizes[1]) < 1000, "nothing of the other models is stored"


def test_layers_draw_in_a_lane_what_they_draw_alone():
    """Dropout draws from torch's own generator, of which the process has one."""

    def trained(seed: int) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * SIDE * SIDE, CLASSES))
        training = Training(model, Recipe(2, 0.1, batch_size=16), {})
        list(training.run(images(seed, 40), seed, Classification().mean))
        return model[2].weight.detach()

    torch.manual_seed(5)
    outside = torch.get_rng_state()
    found = in_lanes([lambda seed=seed: trained(seed) for seed in (1, 2, 3)])
    assert torch.equal(torch.get_rng_state(), outside)
    assert all(torch.equal(lane.result, trained(seed)) for seed, lane in zip((1, 2, 3), found))


def test_runs_of_unlike_architectures_are_refused_in_one_line(tmp_path):
    from main_imp import SCRIPT

    told = ["--dataset", "digits", "--input_size", "8", "--device", "cpu"]
    commands = [[*told, "--arch", arch, "--save_dir", str(tmp_path / arch)] for arch in ("resnet20s", "resnet32s")]
    said = "^--models_at_once: resnet20s and resnet32s cannot be computed as one$"
    with pytest.raises(UsageError, match=said):
        groups.run_together(SCRIPT, commands)
    assert not list(tmp_path.iterdir())


def test_how_many_models_are_computed_at_once(monkeypatch, tmp_path):
    """On a processor one where models are wide or images large; on a GPU as many as half of its memory holds."""
    from main_imp import SCRIPT

    def setup(arch: str, side: int, batch: int = 128):
        told = ["--dataset", "digits", "--input_size", str(side), "--arch", arch, "--batch_size", str(batch)]
        return SCRIPT.stages.setup(SCRIPT.parse([*told, "--device", "cpu", "--save_dir", str(tmp_path)]))

    assert groups.how_many(setup("resnet20s", 8)) == groups.MOST
    assert groups.how_many(setup("resnet20s", 32)) == groups.how_many(setup("vgg16_bn", 32, 1)) == 1
    small_one = setup("resnet20s", 8)
    one = groups.memory_of_one(small_one.network.fresh, 128, 8)
    weights = 4 * sum(parameter.numel() for parameter in small_one.network.fresh.parameters())
    convolved = 4 * 128 * 64 * (7 * 16 + 6 * 32 / 4 + 6 * 64 / 16)  # outputs of convolutions alone
    assert 4 * weights + 2 * convolved < one < 4 * weights + 10 * convolved
    monkeypatch.setattr("utils.device.free_memory", lambda device: 11 * one)
    assert groups.how_many(small_one) == 5


def cell(name: str, *words: str, script: str = "main_forget.py") -> Cell:
    return Cell(name, Path(name), script, words, (), {})


def test_cells_are_alike_but_for_seeds_splits_files_and_numbers():
    told = [
        "--unlearn",
        "FT",
        "--seed",
        "1",
        "--unlearn_lr=0.1",
        "--split",
        "lira:0:1",
        "--batch_size",
        "64",
        "--no_aug",
    ]
    first = kind(cell("a", *told, "--mask", "a.pt", "--save_dir", "a"))
    other = [*told, "--mask", "b.pt", "--save_dir", "b"]
    other[3], other[4], other[6] = "2", "--unlearn_lr=1e-3", "lira:63:9"
    assert kind(cell("b", *other)) == first
    for place, word in ((1, "GA"), (8, "128"), (9, "--eval_mode")):
        assert kind(cell("b", *other[:place], word, *other[place + 1 :])) != first
    assert kind(cell("b", *other, script="main_imp.py")) != first


def test_cells_whose_models_files_say_the_architecture_are_alike_by_model_and_setting():
    def of(model: str, setting: str | None, *words: str) -> tuple:
        facts = {"model": model, "setting": setting}
        return kind(replace(cell("a", "--unlearn", "FT", "--mask", model, *words), facts=facts))

    told = ("--arch", "resnet20s", "--dataset=digits")
    assert of("a", None) != of("b", None) and of("a", "x") != of("a", "y") and of("a", "x") == of("a", "x")
    assert of("a", None, told[0], told[1]) != of("b", None, told[0], told[1])
    assert of("a", "x", *told) == of("b", "y", *told)


def test_cells_that_cannot_be_computed_as_one_run_one_by_one(tmp_path, monkeypatch):
    def together(script, commands, most, outputs):
        if len(commands) > 1:
            raise UsageError("--models_at_once: a and b cannot be computed as one")
        print("ran", *commands[0], file=outputs[0])
        return [int(commands[0][0])]

    monkeypatch.setattr(groups, "run_together", together)
    tasks = [{"folder": str(tmp_path / name), "argv": [name]} for name in "03"]
    for name in "03":
        (tmp_path / name).mkdir()
    assert alike.run("main_forget.py", tasks) == [0, 3]
    for name in "03":
        said = (tmp_path / name / "output.txt").read_text().splitlines()
        reason = "--models_at_once: a and b cannot be computed as one; they run one by one"
        assert said == [f"main_sweep.py: {reason}", f"ran {name}"]


def test_every_process_gets_its_share_of_the_cells_that_are_alike(monkeypatch):
    """Seven cells for two processes: four and three; others by themselves; one that was killed in a group alone."""
    cells = [cell(f"FT{n}", "--unlearn", "FT", "--seed", str(n)) for n in range(7)] + [cell("GA", "--unlearn", "GA")]

    def names(grouping: Grouping, wanted: int = 9) -> list[list[str]]:
        return [[each.name for each in group] for group in grouping.groups(iter(cells), wanted)]

    assert names(Grouping(1, 2), 3) == [["FT0"], ["FT1"], ["FT2"]]
    assert names(Grouping(16, 2)) == [["FT0", "FT1", "FT2", "FT3"], ["FT4", "FT5", "FT6"], ["GA"]]
    assert names(Grouping(3, 2), 2) == [["FT0", "FT1", "FT2"], ["FT3", "FT4", "FT5"]]
    killed = Grouping(4, 1)
    killed.alone.add("FT1")
    assert names(killed) == [["FT0", "FT2", "FT3", "FT4"], ["FT5", "FT6"], ["FT1"], ["GA"]]
    monkeypatch.setattr(groups, "how_many_of", lambda script, words: 2)
    assert names(Grouping(None, 1))[:2] == [["FT0", "FT1"], ["FT2", "FT3"]]


@pytest.mark.skipif(not serve.FORKS, reason="cells are started anew on this system")
def test_a_group_of_a_sweep_leaves_each_cells_files_and_exit_code(tmp_path, few, few_run):
    """Two that end, one that is refused, and one whose model is not there."""

    def task(number: int, model: Path, split: list[str] = few) -> dict:
        told = ["--mask", str(model), "--unlearn", "GA", "--unlearn_epochs", "1", "--forget", "random:0.1"]
        told += [*split, "--seed", str(number), "--save_dir", str(tmp_path / str(number))]
        where = {"folder": str(tmp_path / str(number)), "inputs": [str(model)]}
        return {"script": "main_forget.py", "argv": [*COMMON, *told], **where}

    model = few_run / "1model_SA_best.pth.tar"
    tasks = [task(0, model), task(1, model), task(2, model, split=[]), task(3, tmp_path / "none.pt")]
    worker = Worker({"OMP_NUM_THREADS": "1"}, tmp_path / "log.txt", 10)
    worker.start({**tasks[0], "with": tasks[1:]})
    assert worker.answers() == [0, 0, 2, WAITING]
    worker.close()
    status = [json.loads((tmp_path / str(number) / "status.json").read_text()) for number in range(3)]
    assert [each["status"] for each in status] == ["done", "done", "failed"]
    assert "was trained on split" in status[2]["last_line"]
    for number in (0, 1):
        found = _result(tmp_path / str(number))
        assert found["models_at_once"] == 3 and found["seed"] == number
        said = (tmp_path / str(number) / "output.txt").read_text()
        assert said.count("unlearn  epoch 1/1") == 1 and "was trained on split" not in said


@pytest.mark.parametrize("word", ["0", "-1", "many", "1.5"])
def test_models_at_once_is_a_number_or_auto(word, tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text("folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py}}\nflags: {dataset: digits}\n")
    assert main_sweep.main([str(file), "--dry_run", f"--models_at_once={word}"]) == 2
    assert capsys.readouterr().err.endswith(f"--models_at_once {word}: must be a whole number from 1 on, or auto\n")


def _result(folder) -> dict:
    return json.loads((folder / "result.json").read_text())
