"""What makes GPUs fast and their files portable, as far as it shows on a CPU; what needs a GPU is marked ``gpu``."""

from __future__ import annotations

import copy
import io
import math
import re
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import models
from dataset import images as module
from dataset.images import Augment, ImageSet
from evaluation import predict
from pruner import prunable
from trainer import loop, task
from trainer.cpu_arithmetic import batch_norm
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Pass
from trainer.task import Classification
from unlearn import curvature
from utils import device, files, finite
from utils.environment import environment
from utils.errors import UsageError
from utils.options import identity
from utils.run_flags import Run

WAITING = {"item", "cpu", "tolist", "numpy", "to", "cuda", "nonzero", "unique", "equal", "allclose", "is_nonzero"}
WAITING |= {"__bool__", "__float__", "__int__", "__index__", "bincount", "masked_select"}
MEAN = Classification().mean
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Waits(TorchFunctionMode):
    """Counts the calls for which the host would wait for a GPU."""

    count = 0

    def __torch_function__(self, function, types, arguments=(), kwargs=None):
        name = getattr(function, "__name__", "")
        masked = name == "__getitem__" and isinstance(arguments[1], Tensor) and arguments[1].dtype == torch.bool
        near = name == "to" and not any(isinstance(value, (torch.device, str)) for value in arguments[1:])
        near |= name == "to" and "/torch/" in sys._getframe(1).f_code.co_filename  # between devices of one kind
        self.count += (name in WAITING and not near) or masked
        return function(*arguments, **(kwargs or {}))


def images(count: int, where: str = "cpu") -> ImageSet:
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=random).to(where)
    return ImageSet(pixels, (torch.arange(count) % 10).to(where), augment=Augment(1))


def training(where: str = "cpu", epochs: int = 1, **more) -> Training:
    torch.manual_seed(2)
    model = models.build("resnet20s", 10).to(where)
    mask = {name: weight > 0 for name, weight in prunable(model).items()}
    return Training(model, Recipe(epochs, 0.01, schedule="constant", batch_size=4, **more), mask)


RECIPES = [{}, {"sam_rho": 1.0}, {"max_norm": 1.0}, {"warmup": 1, "weight_decay": 0.0}]


@pytest.mark.parametrize("more", RECIPES, ids=lambda more: "-".join(more) or "plain")
def test_no_step_of_an_epoch_waits_for_the_device(more, monkeypatch):
    monkeypatch.setattr(module, "moved", lambda tensor, device: tensor)  # the one copy that no host waits for

    def waits(steps: int) -> int:
        with Waits() as counted:
            next(training(**more).run(images(4 * steps), 1, MEAN))
        return counted.count

    assert waits(6) - waits(2) == 4 * 2  # how many are flipped, of the CPU's; the loss, which only the CPU asks for


class Copies(TorchDispatchMode):
    """Counts the copies between devices for which the host waits."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        found = function(*arguments, **(kwargs or {}))
        if function.name() in ("aten::_to_copy", "aten::copy_"):
            source, later = arguments[-1 if len(arguments) < 3 else 1], (kwargs or {}).get("non_blocking", False)
            self.count += source.device != found.device and not (later or arguments[2:] == (True,))
        return found


@pytest.mark.parametrize("more", [*RECIPES, {"optimizer": "adam"}, {"optimizer": "adamw"}, {"ema_decay": 0.5}], ids=str)
def test_the_steps_of_an_epoch_ask_nothing_of_the_device(more, monkeypatch):
    """On torch's meta device, which has no numbers: asking for one, or for a copy of one, raises an error."""
    monkeypatch.setattr(module, "moved", lambda tensor, device: tensor.to(device, non_blocking=True))
    monkeypatch.setattr(loop, "half", lambda *arguments: nullcontext())  # meta has no autocast
    run = training("meta", **more)
    steps = run.passes([Pass(images(16, "meta"), MEAN)]).steps(0, 1, 0)
    with Copies() as copies:
        assert len([run._take(step) for step in steps]) == 4
    assert copies.count == 0


def test_the_meta_device_gives_no_number_and_copies_to_it_are_counted():
    with Copies() as copies:
        x = torch.ones(3).to("meta")
        x.copy_(torch.ones(3)), x.to("meta"), torch.ones(3).to("meta", non_blocking=True), x.to(torch.float64)
        x.copy_(torch.ones(3), non_blocking=True)
    assert copies.count == 2
    for question in (lambda: float(x[0]), lambda: x[x > 0], lambda: x.cpu(), lambda: bool(x.isfinite().all())):
        with pytest.raises((RuntimeError, NotImplementedError)):
            question()


def test_the_counter_sees_a_wait():
    with Waits() as counted:
        x = torch.arange(3.0)
        x.to(torch.int64), x + 1, x[1:]
        assert counted.count == 0
        float(x[0]), x.tolist(), x.cpu(), x[x > 1], x.to("cpu"), bool(x[0])
    assert counted.count == 6


@pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf, torch.finfo(torch.float32).max])
def test_one_question_finds_numbers_that_are_none_as_the_cpu_does(worst):
    tensors = [torch.zeros(3, 2), torch.tensor([1.0, worst, -2.0]), torch.tensor(-5.0), torch.ones(2).double()]
    expected = [bool(tensor.isfinite().all()) for tensor in tensors]
    for kind in ("cpu", "cuda"):
        assert finite._extremes(tensors, torch.device(kind)).isfinite().all(1).tolist() == expected


def test_whole_numbers_and_steps_beside_a_moment_that_is_lost():
    state = {"step": torch.tensor(3.0), "exp_avg": torch.tensor([0.0, math.nan]), "seen": torch.tensor([1])}
    with pytest.raises(Exception, match="^exp_avg became NaN or infinite in epoch 2$"):
        finite.check(state.items(), "in epoch 2")
    finite.check([("step", state["step"]), ("seen", state["seen"])], "")


# Operations that CUDA refuses under torch.use_deterministic_algorithms: they add up in any order.
UNORDERED = r"adaptive_(avg|max)_pool\dd_backward|avg_pool3d_backward|upsample_bi|grid_sampler|histc|kthvalue|put_$"


class Seen(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        self.names.add(function.name())
        return function(*arguments, **(kwargs or {}))


KINDS = ["resnet18", "resnet20s", "vgg16_bn", "vgg16_bn_lth", "swin_t", "vit_tiny"]
OTHERS = [pytest.param(name, marks=pytest.mark.torture) for name in models.names() if name not in KINDS]


@pytest.mark.parametrize("arch", [*KINDS, *OTHERS])
def test_every_architecture_trains_by_operations_that_a_gpu_can_repeat(arch):
    model = models.blank(arch, 10, 32)
    with Seen() as seen:
        model(torch.ones(2, 3, 32, 32, device="meta")).sum().backward()
    assert "aten::mm" in seen.names, "that of the last layer, backwards"
    assert [name for name in seen.names if re.search(UNORDERED, name)] == []


def stored_tensors(value) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [tensor for part in parts for tensor in stored_tensors(part)]


class Elsewhere(Tensor):
    """A tensor that says it lies on a GPU until it is copied from there."""

    device = property(lambda self: torch.device("cuda:0"))

    def cpu(self) -> Tensor:
        return self.as_subclass(Tensor)


def test_every_tensor_of_a_file_is_the_cpus():
    far = torch.arange(3.0).as_subclass(Elsewhere)
    content = {
        "optimizer": {"state": {0: {"momentum_buffer": far}}},
        "average": [far, (far, "x")],
        "near": torch.ones(2),
    }
    found = torch.load(io.BytesIO(files.torch_bytes(content)), weights_only=True)  # which refuses other classes
    tensors = stored_tensors(found)
    assert [tensor.tolist() for tensor in tensors] == [[0.0, 1.0, 2.0]] * 3 + [[1.0, 1.0]]
    assert {tensor.device.type for tensor in tensors} == {"cpu"} and found["average"][1][1] == "x"


def stored_inside_an_epoch() -> tuple[dict, Tensor]:
    """The state of a training after two of four steps, and what its losses would draw next."""
    first, kept = training(), []
    next(first.run(images(16), 1, MEAN, save=lambda: kept.append(copy.deepcopy(first.state())), every=2))
    again = training()
    again.restore(copy.deepcopy(kept[0]))
    return kept[0], torch.rand(5, generator=again.random)


def test_a_run_stopped_inside_an_epoch_on_a_gpu_goes_on_on_the_cpu():
    state, expected = stored_inside_an_epoch()
    state["inside"]["device"] = torch.zeros(16, dtype=torch.uint8)
    other = training()
    other.restore(state)
    assert torch.equal(torch.rand(5, generator=other.random), expected) and other.state()["inside"]["step"] == 2
    assert torch.equal(torch.get_rng_state(), state["inside"]["torch"])


@pytest.mark.parametrize("from_gpu", [True, False])
def test_a_run_stopped_inside_an_epoch_goes_on_on_a_gpu(from_gpu, monkeypatch):
    """Layers go on with the GPU's own random numbers, or with new ones, the same every time."""
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seen.append(seed))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda numbers, device: seen.append(numbers.tolist()))
    state, expected = stored_inside_an_epoch()
    if from_gpu:
        state["inside"]["device"] = torch.arange(16, dtype=torch.uint8)
    seen = []
    for _ in range(2):
        other = training()
        other.device = torch.device("cuda:0")
        other._restore_random(copy.deepcopy(state["inside"]))
        assert torch.equal(torch.rand(5, generator=other.random), expected)
    assert seen[0] == seen[1] and (seen[0] == list(range(16))) == from_gpu


@pytest.mark.parametrize("inputs", [torch.zeros(3, 2), (torch.zeros(3, 2), torch.zeros(1, 2))])
def test_what_losses_draw_is_drawn_on_the_cpu_and_copied(inputs, monkeypatch):
    sent = []
    monkeypatch.setattr(task, "moved", lambda tensor, device: sent.append(tensor.device.type) or tensor)
    batch = task.Batch(inputs, None, random=torch.Generator().manual_seed(3))
    random = torch.Generator().manual_seed(3)
    assert torch.equal(batch.draw(torch.randn, (3, 2)), torch.randn(3, 2, generator=random))
    assert torch.equal(batch.draw(torch.randint, 0, 9, (3,)), torch.randint(0, 9, (3,), generator=random))
    assert sent == ["cpu", "cpu"]


def test_what_is_drawn_inside_of_vmap_is_not_pinned(monkeypatch):
    """torch cannot; single samples' gradients of a task that draws need it."""
    monkeypatch.setattr(Tensor, "to", lambda self, *arguments, **named: self)
    gpu = torch.device("cuda:0")
    sent = torch.vmap(lambda x: x + device.moved(torch.randn(2), gpu), randomness="different")(torch.zeros(3, 1))
    assert sent.shape == (3, 2)


def test_batches_follow_the_free_memory_of_a_gpu(monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * 2**30, 80 * 2**30))
    assert device.free_memory(torch.device("cpu")) is None
    assert device.free_memory(gpu) == 8 * 2**30, "of 7 + 3 - 1 = 9 GiB"
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert device.free_memory(gpu) == 16 * 2**30, "of a quarter of 80 GiB"


@pytest.mark.parametrize(
    "free, side, count",
    [
        (2**36, 32, 1024),
        (2**36, 224, 668),  # 2**35 / (1024 * 224 * 224)
        (2**33, 224, 83),
        (2**28, 224, 8),
        (None, 32, 64),
        (None, 224, 8),
    ],
)
def test_images_scored_at_once(free, side, count, monkeypatch):
    monkeypatch.setattr(predict, "free_memory", lambda device: free)
    pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    assert predict.at_once(ImageSet(pixels, torch.zeros(1, dtype=torch.int64))) == count


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_gradients_of_samples_in_parts_add_up_to_the_same(at_once, monkeypatch):
    model = training().model.eval()
    bytes_each = 8 * sum(parameter.numel() for parameter in model.parameters())
    batches = list(images(8).plain().batches(8))
    whole = curvature.mean_squared_gradient(model, batches, {})
    seen = []
    own = curvature._per_sample
    monkeypatch.setattr(curvature, "free_memory", lambda device: 4 * at_once * bytes_each + 4)
    monkeypatch.setattr(curvature, "_per_sample", lambda *a: seen.append(len(a[1])) or own(*a))
    parts = curvature.mean_squared_gradient(model, batches, {})
    assert seen == {1: [1] * 8, 3: [3, 3, 2], 8: [8]}[at_once]
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-9)


@pytest.fixture
def two_gpus(monkeypatch) -> list[torch.device]:
    """As far as torch can tell; which of them were made the present one."""
    chosen = [torch.device("cuda:0")]
    name = lambda device=None: f"card {torch.device(device or chosen[-1]).index}"  # noqa: E731
    told = {"is_available": lambda: True, "is_initialized": lambda: True, "device_count": lambda: 2}
    for attribute, answer in (told | {"set_device": chosen.append, "get_device_name": name}).items():
        monkeypatch.setattr(torch.cuda, attribute, answer)
    return chosen


@pytest.mark.parametrize("typed, card", [(("cuda:1",), 1), (("auto", 1), 1), (("auto",), 0), (("cuda",), 0)], ids=str)
def test_the_gpu_that_is_recorded_is_the_one_that_is_used(typed, card, two_gpus):
    assert device.resolve(*typed) == torch.device("cuda", card)
    assert environment()["gpu"] == f"card {card}"


def test_a_gpu_that_is_not_there_is_refused_before_it_is_chosen(two_gpus):
    with pytest.raises(
        UsageError, match="^--device cuda:2: this machine has 2 CUDA devices; use --device auto or cpu$"
    ):
        device.resolve("cuda:2")
    assert len(two_gpus) == 1


def test_tf32_is_for_convolutions_and_products_or_for_neither(two_gpus):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        for tf32 in (True, False):
            device.resolve("cuda", tf32=tf32)
            assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_tf32_is_part_of_a_runs_identity_where_it_is_asked_for():
    plain, asked = (identity(Run(save_dir="x", tf32=tf32)) for tf32 in (False, True))
    assert "tf32" not in plain and asked == plain | {"tf32": True}
    assert identity(Run(save_dir="x", device="cuda:1", gpu=1, deterministic=True)) == plain, "goes on on any device"


# ---- with a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("more", [*RECIPES, {"optimizer": "adam"}, {"amp": True}])
def test_torch_sees_no_wait_between_the_first_step_and_the_last(more):
    run, waits = training("cuda:0", epochs=2, **more), []
    take = run._take

    def watched(step):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return take(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            waits.append(step)

    run._take = watched
    assert len(list(run.run(images(16, "cuda:0"), 1, MEAN))) == 2 and len(waits) == 8


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_batch_norm_of_several_gpus_is_torchs_where_there_is_one(dtype, tolerance):
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm2d(5, device="cuda").to(torch.promote_types(dtype, torch.float32))
    twin, wanted = copy.deepcopy(layer), torch.randn(6, 5, 4, 4, device="cuda", dtype=dtype)
    x = (torch.randn_like(wanted) * 3 + 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y, *statistics = batch_norm.OneMessage.apply(x, layer.weight, layer.bias, layer.eps)
    batch_norm._track_all(layer, *statistics, 1)
    own = torch.autograd.grad((y - wanted).square().sum(), [x, layer.weight, layer.bias])
    z = twin(x)
    other = torch.autograd.grad((z - wanted).square().sum(), [x, twin.weight, twin.bias])
    for found, expected in zip([y, *own, *layer.buffers()], [z, *other, *twin.buffers()]):
        torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@GPU
def test_losses_draw_the_same_on_a_gpu_and_inside_of_vmap():
    def drawn(where: str) -> Tensor:
        batch = task.Batch(torch.zeros(4, 2, device=where), None, random=torch.Generator().manual_seed(3))
        return batch.draw(torch.randn, (4, 2)).cpu()

    assert torch.equal(drawn("cpu"), drawn("cuda"))

    def one(x: Tensor) -> Tensor:
        return x + task.Batch(x[None], None, random=torch.Generator().manual_seed(3)).draw(torch.randn, (2,))

    assert torch.vmap(one, randomness="different")(torch.zeros(3, 2, device="cuda")).device.type == "cuda"


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("there, here", [("cuda:0", "cpu"), ("cpu", "cuda:0")])
def test_a_training_goes_on_on_another_kind_of_device(there, here, tmp_path):
    runs = {where: training(where, epochs=2, optimizer="adam") for where in (there, here)}
    begun = runs[there].run(images(16, there), 1, MEAN)
    next(begun)
    files.write_bytes(tmp_path / "kept.pt", files.torch_bytes([runs[there].state(), runs[there].model.state_dict()]))
    state, weights = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert all(tensor.device.type == "cpu" for tensor in stored_tensors([state, weights]))
    runs[here].model.load_state_dict(weights)
    runs[here].restore(state)
    last, moved_on = next(begun), next(runs[here].run(images(16, here), 1, MEAN))
    assert moved_on.epoch == 2 and moved_on.loss == pytest.approx(last.loss, rel=0.02)
