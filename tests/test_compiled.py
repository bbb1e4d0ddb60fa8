"""``--compile``: compiled steps compute what plain ones do, and a recorded step does again what a step would have done.

Graphs need a GPU. What they are asked to do is tested on a stand-in that keeps their rules: recording computes
nothing, and a replay runs no Python, only the operations of the recording on the memory of the recording.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext

import pytest
import torch
from conftest import DIGITS
from test_gpu import GPU, MEAN, images, training
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import main_imp
from trainer import compiled, recipe
from trainer.compiled import Compiled
from trainer.steps import Pass
from utils import device
from utils.errors import RunError, UsageError


def tensors(value) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recording(TorchDispatchMode):
    """Lists operations with their very arguments, and what the memory that they write to held before."""

    def __init__(self):
        super().__init__()
        self.calls, self.before = [], {}

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        kwargs = kwargs or {}
        for declared, given in zip(function._schema.arguments, arguments):
            written = declared.alias_info is not None and declared.alias_info.is_write
            if written or "batch_norm" in function.__name__:  # which does not declare that it moves statistics
                for tensor in tensors(given):
                    flat = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                    self.before.setdefault(place(tensor), (flat, flat.clone()))
        found = function(*arguments, **kwargs)
        self.calls.append((function, arguments, kwargs, found))
        return found


class Stand:
    """In place of ``compiled.Recorder``, on the CPU."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def aside(self):
        return nullcontext()

    def record(self, work):
        with Recording() as recording:
            work()
        for flat, content in recording.before.values():  # nothing was computed
            flat.copy_(content)
        self.recorded += 1

        @torch.no_grad()
        def replay():
            self.replayed += 1
            for function, arguments, kwargs, found in recording.calls:
                given = {place(tensor) for tensor in tensors((arguments, kwargs))}
                again = function(*arguments, **kwargs)
                for old, new in zip(tensors(found), tensors(again)):
                    if place(old) not in given:
                        old.copy_(new)

        return replay


@pytest.fixture
def stand(monkeypatch):
    """``--compile`` with graphs that a stand-in records, torch's arithmetic on the CPU, and optimisers as on a GPU."""
    found = Stand()
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # tracing takes seconds
    monkeypatch.setattr(device._Arithmetic, "fast", False)
    original = recipe._optimizer

    def fused(parameters, how):
        optimizer = original(parameters, how)
        for group in optimizer.param_groups:
            group |= {"fused": True, "foreach": None} | ({"capturable": True} if how.optimizer != "sgd" else {})
        return optimizer

    monkeypatch.setattr(recipe, "_optimizer", fused)
    monkeypatch.setattr(torch.optim.Adam, "_accelerator_graph_capture_health_check", lambda self: None)
    return found


def outcome(plan, how: dict, stand: Stand | None, epochs: int = 3):
    run = training(epochs=epochs, **how)
    if stand is not None:
        run._compiled = Compiled(run.model, run.random, stand)
    logs = [(log.loss, log.figures) for log in run.run(plan(run), 1)]
    return run, logs


def on(*passes: Pass):
    return lambda run: list(passes)


PLAIN = on(Pass(images(26), MEAN))  # six full batches and one of two images
HOW = {
    "plain": {},
    "sharpness-aware": {"sam_rho": 1.0},
    "clipped": {"max_norm": 1.0},
    "step sizes that change": {"warmup": 2},
    "bfloat16": {"amp": True},
    "a moving average": {"ema_decay": 0.9},
    "adam": {"optimizer": "adam"},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_repeated_steps_are_those_that_would_have_been_taken(how, stand):
    usual, logs = outcome(PLAIN, how, None)
    repeated, found = outcome(PLAIN, how, stand)
    digits = 1e-3 if how.get("optimizer") else 0  # Adam's step size is a float32 in a graph
    apart = {"rtol": digits, "atol": digits}
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in logs], rel=digits, abs=0)
    for name, value in usual.model.state_dict().items():
        torch.testing.assert_close(value, repeated.model.state_dict()[name], **apart, msg=name)
    assert stand.recorded == 3, "anew in every epoch"
    assert stand.replayed == (6 - 3) + (6 - 1) + (6 - 1), "after three steps as usual, later one"


def test_what_an_epoch_changes_is_recorded_anew(stand):
    """The penalty's weight, and a second pass with an objective and an optimiser of its own."""

    def climb(model, batch):
        loss, figures = MEAN(model, batch)
        return -0.1 * loss, figures

    slow = recipe.Recipe(1, 0.001, schedule="constant", batch_size=4)
    plan = on(Pass(images(22), climb, recipe=slow, epochs=2), Pass(images(26), MEAN, l1=lambda epoch: 0.01 * epoch))
    usual, logs = outcome(plan, {}, None)
    repeated, found = outcome(plan, {}, stand)
    assert found == logs and stand.recorded == 2 + 3
    assert all(torch.equal(value, repeated.model.state_dict()[key]) for key, value in usual.model.state_dict().items())


def test_a_loss_that_draws_is_never_repeated(stand):
    def drawn(model, batch):
        noise = torch.randn(batch.inputs.shape, generator=batch.random)
        return MEAN(model, type(batch)(batch.inputs + 0.1 * noise, batch.targets))

    plan = on(Pass(images(26), drawn))
    usual, logs = outcome(plan, {}, None)
    _, found = outcome(plan, {}, stand)
    assert found == logs and stand.recorded == 0


def test_steps_that_no_plan_calls_alike_are_not_repeated(stand):
    def counting(run):
        plan = run.passes([Pass(images(26), MEAN)])
        original = plan.steps

        def steps(*arguments):
            for step in original(*arguments):
                step.alike = False
                yield step

        plan.steps = steps
        return plan

    _, logs = outcome(PLAIN, {}, None)
    assert outcome(counting, {}, stand)[1] == logs and stand.recorded == 0


def test_a_step_that_cannot_be_recorded_is_taken_as_usual(stand, monkeypatch):
    said = []
    monkeypatch.setattr(compiled, "say_last", said.extend)

    def refuse(work):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    stand.record = refuse
    _, logs = outcome(PLAIN, {}, None)
    run, found = outcome(PLAIN, {}, stand)
    assert found == logs and said == [
        "--compile: steps were not recorded as a CUDA graph (operation not permitted when stream is capturing)"
    ]
    assert run.optimizer.param_groups[0]["lr"] == 0.01


def test_a_killed_run_goes_on_to_the_same_weights(stand):
    _, logs = outcome(PLAIN, {}, stand)
    first = training(epochs=3)
    first._compiled = Compiled(first.model, first.random, stand)
    begun = first.run(PLAIN(first), 1)
    next(begun)
    again = training(epochs=3)
    again._compiled = Compiled(again.model, again.random, stand)
    again.model.load_state_dict(first.model.state_dict())
    again.restore(first.state())
    assert [(log.loss, log.figures) for log in again.run(PLAIN(again), 1)] == logs[1:]


def test_the_stand_in_notices_what_a_graph_would_get_wrong(stand):
    """A number that Python works out is that of the recording, in every replay."""
    total, count = torch.zeros(()), [0]

    def work():
        count[0] += 1
        total.add_(count[0])

    replay = stand.record(work)
    assert float(total) == 0
    replay(), replay()
    assert float(total) == 2 and count == [1]


# ---- the flag ---------------------------------------------------------------------------------------


def test_the_keys_of_a_compiled_model_are_its_own(monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(device._Arithmetic, "compiling", True)
    run = training()
    keys = list(run.model.state_dict())
    next(run.run(images(10), 1, MEAN))
    assert list(run.model.state_dict()) == keys and "forward" not in vars(run.model)
    assert run._compiled._recorder is None, "no graphs on the CPU"


def test_a_script_takes_the_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    words = [*DIGITS, "--epochs", "1", "--save_dir", str(tmp_path), "--compile"]
    try:
        assert main_imp.main(words) == 0
        assert device.compiling()
    finally:
        device.resolve("cpu")
    assert not device.compiling()
    assert set(torch.load(tmp_path / "0checkpoint.pth.tar")["state_dict"]) == set(training().model.state_dict())


def test_several_processes_do_not_compile(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="^--compile: is for one process; leave it out"):
        device.resolve("cpu", compile=True)
    assert not device.compiling(), "what was refused decides nothing for later runs of this process"


def test_a_model_that_torch_cannot_compile_is_one_line(monkeypatch):
    def broken(graph, example):
        raise ValueError("no such thing")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    monkeypatch.setattr(device._Arithmetic, "compiling", True)
    torch._dynamo.reset()
    run = training()
    with pytest.raises(RunError, match="--compile: torch cannot compile this model here .* without the flag runs"):
        next(run.run(images(8), 1, MEAN))
    assert "forward" not in vars(run.model)


@pytest.mark.torture
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_compiled_by_inductor_on_the_cpu(monkeypatch):
    _, logs = outcome(PLAIN, {}, None, epochs=1)
    monkeypatch.setattr(device._Arithmetic, "compiling", True)
    _, found = outcome(PLAIN, {}, None, epochs=1)
    assert found[0][0] == pytest.approx(logs[0][0], rel=1e-4)


# ---- with a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_graphs_of_a_gpu_repeat_steps(how, monkeypatch):
    losses = []
    for backend in (None, "eager", "inductor"):
        torch._dynamo.reset()
        monkeypatch.setattr(device._Arithmetic, "compiling", backend is not None)
        monkeypatch.setattr(compiled, "BACKEND", backend)
        run, said = training("cuda:0", epochs=3, **how), []
        monkeypatch.setattr(compiled, "say_last", said.extend)
        losses.append([log.loss for log in run.run(images(26, "cuda:0"), 1, MEAN)])
        assert said == []
        assert backend is None or run._compiled._recorded
    for found in losses[1:]:
        assert found == pytest.approx(losses[0], rel=0.02 if how.get("amp") else 1e-3)
