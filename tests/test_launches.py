"""How few kernels a training step launches on a GPU, and that what is done for all weights at once is the same."""

from __future__ import annotations

import sys

import pytest
import test_gpu
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_gpu import MEAN, Waits, images, training
from test_images import PROPERTY, noise
from torch.utils._python_dispatch import TorchDispatchMode

from dataset.images import Augment, Crops, ImageSet, crop_and_flip
from pruner import Sample, prune
from pruner.masks import remove, remove_by_sorting
from trainer import l1
from trainer.cpu_arithmetic import batch_norm, cpu_arithmetic
from trainer.meter import EpochMeter
from trainer.recipe import OptimizerSchedule, Recipe, _optimizer
from trainer.sam import ASAM
from utils import device

VIEWS = {"view", "permute", "slice", "unsqueeze", "expand", "detach", "select", "alias", "as_strided", "t", "transpose"}
VIEWS |= {"empty", "empty_like", "unbind", "lift_fresh", "split"}


class Launches(TorchDispatchMode):
    """Lists the operations of which a GPU would launch at least one kernel each."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.names.append(name)
        return function(*arguments, **(kwargs or {}))


def weights(seed: int = 0) -> list[torch.nn.Parameter]:
    random = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=random) for shape in ((4, 3, 3, 3), (7,), (5, 6))]
    drawn[0][0], drawn[1][2] = 0.0, -0.0
    return [torch.nn.Parameter(value) for value in drawn]


def loss_of(parameters):
    return sum(((parameter - 0.3) ** 2).sum() for parameter in parameters)


def test_the_penaltys_slope_is_autograds_to_the_bit():
    ours, theirs = weights(), weights()
    loss_of(ours).backward()
    with Launches() as counted:
        l1.add_slope(ours, 0.01)
    assert counted.names == ["_foreach_sign", "_foreach_add_"]
    loss = loss_of(theirs)
    norm = sum(parameter.abs().sum() for parameter in theirs)
    (loss + 0.01 * norm).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs))
    assert float(l1.norm(ours)) == pytest.approx(float(norm.detach()), rel=1e-6)


def test_the_penalty_reaches_weights_that_the_loss_does_not():
    parameter = torch.nn.Parameter(torch.tensor([2.0, 0.0, -3.0]))
    l1.add_slope([parameter], 0.5)
    assert parameter.grad.tolist() == [0.5, 0.0, -0.5]


@pytest.mark.parametrize("at_once", [1, 2, 3])  # as on a CPU, in between, as on a GPU
def test_the_sharpness_aware_step_is_that_of_one_weight_after_another(at_once):
    ours, theirs = weights(), weights()
    for parameters in (ours, theirs):
        loss_of(parameters[:2]).backward()  # the last one has no gradient and stays
    asam = ASAM(ours, 2.0)
    asam._at_once = at_once
    asam.up()
    asam.back()
    with Launches() as counted:
        asam.up()
    assert at_once == 1 or len(counted.names) <= 13, counted.names
    with torch.no_grad():
        norm = torch.stack([(p.abs() * p.grad).norm() for p in theirs[:2]]).norm()
        before = [p.clone() for p in theirs]
        for p in theirs[:2]:
            p.add_(p.square() * p.grad * (2.0 / (norm + 1e-12)))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
    asam.back()
    assert all(torch.equal(a, b) for a, b in zip(ours, before))


def test_a_meter_launches_few_kernels():
    meter = EpochMeter(torch.device("cpu"))
    meter.add(torch.tensor(1.0), {"accuracy": torch.tensor([True, False])}, 2, 2)
    with Launches() as counted:
        meter.add(torch.tensor(2.0), {"accuracy": torch.tensor([True, True])}, 2, 2)
    assert len(counted.names) <= 8, counted.names
    assert meter.means("") == (1.5, {"accuracy": 0.75})


# ---- cropping and flipping on a GPU -----------------------------------------------------------------


@PROPERTY
@given(st.integers(0, 4), st.tuples(*[st.integers(1, 6)] * 2), st.integers(0, 3), st.integers(1, 3), st.integers(0, 99))
def test_gathered_crops_are_those_of_the_cpu(count, shape, pad, channels, seed):
    random = torch.Generator().manual_seed(seed)
    source = noise(6, *shape, channels, seed)
    shifts = torch.randint(0, 2 * pad + 1, (count, 2), generator=random)
    flips, picked = torch.rand(count, generator=random) < 0.5, torch.randint(0, 6, (count,), generator=random)
    for layout in (torch.contiguous_format, torch.channels_last):
        images = source.to(memory_format=layout)
        crops = Crops.of(shifts, flips, pad, *shape)
        found = crops.gather(images, picked, slice(0, count))
        assert torch.equal(found, crop_and_flip(images, shifts, flips, pad, picked)) and found.dtype == torch.uint8
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_is_one_gather_and_two_steps():
    source = noise(9)
    crops = Crops.of(torch.full((9, 2), 2), torch.arange(9) % 2 == 0, 1, 5, 5)
    picked = torch.arange(4)
    with Launches() as counted:
        crops.gather(source, picked, slice(2, 6))
    assert counted.names == ["index", "bitwise_and", "mul_"]


def test_batches_of_a_gpu_are_those_of_the_cpu(monkeypatch):
    source = noise(13).contiguous(memory_format=torch.channels_last)
    images = ImageSet(source, torch.arange(13), augment=Augment(2))
    expected = list(images.batches(4, 7))
    monkeypatch.setattr(ImageSet, "device", property(lambda self: torch.device("meta")))  # any but the CPU
    monkeypatch.setattr("dataset.images.moved", lambda tensor, device: tensor)
    for (found, labels), (batch, classes) in zip(images.batches(4, 7), expected, strict=True):
        assert torch.equal(found, batch) and torch.equal(labels, classes) and found.stride() == batch.stride()


# ---- masks on a GPU -----------------------------------------------------------------------------------


@PROPERTY
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 99))
def test_sorting_removes_the_weights_that_the_cpu_removes(values, count, seed):
    """Small whole numbers, so that many are equal: of these, the first go."""
    random = torch.Generator().manual_seed(seed)
    flat = torch.tensor(values, dtype=torch.float32)
    middle = len(values) // 2
    scores = {"a": flat[:middle].view(1, -1), "b": flat[middle:]}
    mask = {name: torch.rand(value.shape, generator=random) < 0.7 for name, value in scores.items()}
    for before in (None, mask):
        left = len(values) if before is None else sum(int(keep.sum()) for keep in before.values())
        wanted = remove(scores, min(count, left), before)
        found = remove_by_sorting(scores, min(count, left), before)
        assert all(torch.equal(wanted[name], found[name]) and found[name].dtype == torch.bool for name in scores)
        assert sum(int(keep.sum()) for keep in found.values()) == left - min(count, left)


def test_a_step_of_synflow_asks_one_question(monkeypatch):
    """By sorting, as on a GPU: masks are the CPU's, and a step waits once, for whether all scores are finite."""
    model, sample = training().model, Sample(0, torch.ones(1, 3, 8, 8))
    expected, waits = prune(model, "synflow", 0.9, sample, steps=4), []
    monkeypatch.setattr(test_gpu, "WAITING", test_gpu.WAITING - {"to"})  # of tensors that are there already
    monkeypatch.setattr(sys.modules["pruner.scores"], "remove", remove_by_sorting)
    for steps in (4, 9):
        with Waits() as counted:
            found = prune(model, "synflow", 0.9, sample, steps=steps)
        waits.append(counted.count)
        if steps == 4:
            assert all(torch.equal(found[name], keep) for name, keep in expected.items())
    assert waits[1] - waits[0] == 5


# ---- batch norm on a GPU ------------------------------------------------------------------------------


def test_batches_are_counted_for_all_layers_at_once(monkeypatch):
    monkeypatch.setattr(device._Arithmetic, "fast", False)  # the arithmetic of a GPU is torch's
    states, counts = [], []
    for kinds in ((), ("cpu",)):
        monkeypatch.setattr(batch_norm, "LAUNCHING", kinds)
        run = training(epochs=2)
        list(run.run(images(8), 1, MEAN))
        states.append(run.model.state_dict())
        with Launches() as counted, cpu_arithmetic(run.model, 4):
            run.model(torch.zeros(4, 3, 8, 8))
            run.model(torch.zeros(4, 3, 8, 8))
        counts.append(counted.names.count("add_"))
        assert all(int(value) == 6 for key, value in run.model.state_dict().items() if key.endswith("tracked"))
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    layers = sum(key.endswith("tracked") for key in states[0])
    assert counts[0] - counts[1] == 2 * layers


# ---- optimisers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_an_optimiser_keeps_its_way_of_computing_whatever_the_file_says(optimizer):
    parameters = weights()
    loss_of(parameters).backward()
    schedule = OptimizerSchedule(parameters, Recipe(1, 0.1, optimizer))
    schedule.optimizer.step()
    state = schedule.state()
    for group in state["optimizer"]["param_groups"]:
        group |= {"fused": True, "foreach": None} | ({"capturable": True} if optimizer != "sgd" else {})
    other = OptimizerSchedule(parameters, Recipe(1, 0.1, optimizer))
    other.restore(state)
    [group] = other.optimizer.param_groups
    assert group["foreach"] is True and not group["fused"] and not group.get("capturable")
    assert len(other.optimizer.state) == 3


def test_a_gpus_optimiser_is_fused_and_can_be_part_of_a_graph(monkeypatch):
    parameters = weights()
    monkeypatch.setattr(torch.nn.Parameter, "device", property(lambda self: torch.device("cuda:0")))
    made = {name: _optimizer(parameters, Recipe(1, 0.1, name)).defaults for name in ("sgd", "adam", "adamw")}
    assert all(ways["fused"] and not ways["foreach"] for ways in made.values())
    assert made["adam"]["capturable"] and made["adamw"]["capturable"]


def test_momentum_of_another_layout_takes_its_weights():
    parameter = torch.nn.Parameter(torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last))
    schedule = OptimizerSchedule([parameter], Recipe(1, 0.1))
    parameter.grad = torch.randn_like(parameter)
    schedule.optimizer.step()
    state = schedule.state()
    plain = state["optimizer"]["state"][0]["momentum_buffer"].contiguous()
    state["optimizer"]["state"][0]["momentum_buffer"] = plain
    schedule.restore(state)
    found = schedule.optimizer.state[parameter]["momentum_buffer"]
    assert found.stride() == parameter.stride() and torch.equal(found, plain)


def test_steps_beyond_the_model_are_few():
    """All that a step of the loop adds to forward and backward pass: data, optimiser, mask, figures."""
    run, names = training(), []
    take, gradients = run.take, run._gradient

    def counted(step):
        with Launches() as launches:
            found = take(step)
        names.append(launches.names)
        return found

    def hidden(step):
        with torch.utils._python_dispatch._disable_current_modes():
            return gradients(step)

    run.take, run._gradient = counted, hidden
    next(run.run(images(8), 1, MEAN))
    assert len(names) == 2 and len(names[1]) <= 14, names[1]
