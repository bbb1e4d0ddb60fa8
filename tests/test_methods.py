"""Every unlearning method against a slow and obvious version of itself on a tiny model."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from conftest import recorded, step_sizes
from torch import nn
from torch.nn.utils import prune

import models
import pruner
from dataset.images import ImageSet
from dataset.pairs import Paired
from dataset.scenario import Scenario
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Pass
from trainer.task import Classification
from unlearn import curvature, fisher_noise, penalty, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.methods import influence
from utils import seeds
from utils.errors import RunError, UsageError
from utils.log import Log

pytestmark = pytest.mark.numeric

MISSION = [  # what the papers compare; whatever else is registered is walked through by the same tests
    "boundary_expanding",
    "boundary_shrink",
    "ASSD",
    "BT",
    "CF-k",
    "CFW",
    "CT",
    "EU-k",
    "FCS",
    "fisher",
    "fisher_new",
    "FT",
    "FT_l1",
    "FT_prune",
    "FT_prune_bi",
    "GA",
    "GA_l1",
    "KDE",
    "MSG",
    "NG+",
    "PRMQ",
    "raw",
    "retrain",
    "retrain_ls",
    "retrain_sam",
    "RL",
    "RNI",
    "SalUn",
    "SCRUB",
    "SFRon",
    "SRL",
    "wfisher",
    "wfisher_exact",
]
ALL = registry.names()
TRAINED = [name for name in ALL if "unlearn_epochs" in registry.get(name).config.__dataclass_fields__]
ONE_STEP = [name for name in ALL if name not in TRAINED and name != "raw"]
CLASSES = 3


class Tiny(nn.Module):
    """One convolution with batch norm and a head: 3 x 6 x 6 images, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


def warmed_up(kind: type[nn.Module]) -> nn.Module:
    """A network of this class with batch-norm statistics other than 0 and 1."""
    torch.manual_seed(0)
    network = kind()
    for _ in range(3):
        network(torch.rand(16, 3, 6, 6))
    return network


@pytest.fixture
def model() -> Tiny:
    return warmed_up(Tiny)


@pytest.fixture
def mask(model) -> pruner.Mask:
    return pruner.prune(model, "magnitude", 0.5, pruner.Sample(0))


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=random)
    return ImageSet(pixels, torch.randint(0, CLASSES, (count,), generator=random))


# in their own order, so that slow versions need not know how an order is drawn
SETS = {"retain": images(21, 1).in_order(), "forget": images(9, 2).in_order(), "val": images(5, 3).in_order()}


NINE = Scenario(None, 9)


def context(
    mask: pruner.Mask, compat: str = "fixed", scenario: Scenario = NINE, whole: tuple[int, ...] = ()
) -> Context:
    return Context(mask, torch.device("cpu"), 2, compat, "cifar10", CLASSES, scenario, whole, Log(None))


def whole_of(method: registry.Method) -> tuple[int, ...]:
    """The class that a method forgets which can forget nothing else."""
    return (0,) if method.whole_classes else ()


def run(name: str, model: nn.Module, mask: pruner.Mask, **hyper) -> dict[str, torch.Tensor]:
    method = registry.get(name)
    hyper = {"noise_copies": 2, **hyper}
    known = {key: value for key, value in hyper.items() if key in method.config.__dataclass_fields__}
    return apply(method, model, SETS, method.config(**known), context(mask, whole=whole_of(method))).model.state_dict()


def test_the_registry_holds_the_methods_of_the_papers():
    assert set(MISSION) <= set(ALL) and sorted(ALL, key=str.lower) == ALL
    assert (
        registry.get("FF").name == "fisher_new"
        and registry.get("IU").name == "wfisher"
        and registry.get("l1-sparse").name == "FT_prune"
    )


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(
        UsageError,
        match=(
            r"--unlearn FTT: unknown \(did you mean FT\?\); known: ASSD, boundary_expanding, boundary_shrink, BT, "
            r"CF-k, CFW, "
        ),
    ):
        registry.get("FTT")


def test_a_name_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="'FF' is registered twice"):
        registry.method("new", reads=set(), summary="", source="", aliases=("FF",))(lambda *_: None)
    assert "new" not in registry.names()


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_bytes_and_the_callers_model_stays(name, model, mask):
    before = copy.deepcopy(model.state_dict())
    first, second = (
        run(name, model, mask, unlearn_epochs=2, unlearn_lr=0.05, batch_size=8, alpha=1e-3) for _ in range(2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in before)
    if name not in ("raw", "SCRUB"):  # SCRUB may go back to where it started
        assert any(
            not torch.equal(first[key], before[key] * mask[key] if key in mask else before[key]) for key in first
        )


@pytest.mark.parametrize("name", ALL)
def test_pruned_weights_are_exactly_zero_afterwards(name, model, mask):
    after = run(name, model, mask, unlearn_epochs=2, batch_size=8, alpha=1e-2, weight_decay=0.1, rate=0.0)
    pruned = ~mask["conv.weight"]
    assert int(pruned.sum()) == 54  # half of 4 * 3 * 3 * 3
    assert torch.count_nonzero(after["conv.weight"][pruned]) == 0
    assert torch.count_nonzero(after["conv.weight"]) == 54


@pytest.mark.parametrize("name", [*TRAINED, "raw"])
def test_zero_epochs_change_nothing(name, model):
    after = run(name, model, {}, unlearn_epochs=0)
    assert all(torch.equal(after[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [name for name in ONE_STEP if name not in ("ASSD", "LFSSD", "SSD")])
def test_alpha_zero_changes_nothing(name, model):
    after = run(name, model, {}, alpha=0.0)
    assert all(torch.equal(after[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_a_method_reads_only_what_it_declares(name, model, mask):
    class Watched(dict):
        seen: set[str] = set()

        def __getitem__(self, key):
            self.seen.add(key)
            return super().__getitem__(key)

    watched = Watched(SETS)
    watched.seen = set()
    method = registry.get(name)
    hyper = {"unlearn_epochs": 1} if "unlearn_epochs" in method.config.__dataclass_fields__ else {}
    apply(method, model, watched, method.config(**hyper), context(mask, whole=whole_of(method)))
    assert watched.seen == method.reads


class Kept(Log):
    """Keeps the losses of all epochs, a list for every phase."""

    def __init__(self):
        super().__init__(None)
        self.phases = []

    def line(self, text=""):
        pass

    def record(self, kind, **values):
        if kind == "epoch":
            if values["epoch"] == 1:
                self.phases.append([])
            self.phases[-1].append(values["loss"])


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_lowers_its_own_objective(name, model):
    method = registry.get(name)
    where = context({}, whole=whole_of(method))
    where.log = Kept()
    hyper = {
        "unlearn_epochs": 12,
        "unlearn_lr": 0.001 if name == "JiT" else 0.05,  # JiT descends a sum over the batch, all others means
        "schedule": "constant",
        "warmup": 0,
        "momentum": 0.0,
        "batch_size": 64,
        "forget_batch_size": 64,
        "distil_epochs": 12,
        "noise_copies": 2,
    }
    apply(
        method,
        model,
        SETS,
        method.config(**{key: value for key, value in hyper.items() if key in method.config.__dataclass_fields__}),
        where,
    )
    long = [losses for losses in where.log.phases if len(losses) >= 6]
    for losses in long or [sum(where.log.phases, [])]:
        third = max(1, len(losses) // 3)
        assert sum(losses[-third:]) < sum(losses[:third]), losses  # of several epochs: some draw labels for each


@pytest.fixture
def learnt(model) -> tuple[Tiny, ImageSet]:
    """A model that tells three colours apart, and the images it knows: 12 of each class, in turn."""
    random = torch.Generator().manual_seed(5)
    labels = torch.arange(36) % CLASSES
    pixels = torch.randint(0, 120, (36, 3, 6, 6), dtype=torch.uint8, generator=random)
    pixels[range(36), labels] += 120
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(pixels.float() / 255), labels).backward()
        optimizer.step()
    return model, ImageSet(pixels, labels)


def loss_of(model: nn.Module, images: ImageSet) -> float:
    model.eval()
    with torch.no_grad():
        return float(F.cross_entropy(model(next(images.batches(99))[0]), images.labels))


def unlearned(name: str, model: nn.Module, sets: dict[str, ImageSet], whole: tuple[int, ...]) -> nn.Module:
    """After a few steps that are long enough to see, whatever the method."""
    method = registry.get(name)
    hyper = {
        "unlearn_epochs": 6,
        "unlearn_lr": 0.05,
        "batch_size": 8,
        "schedule": "constant",
        "no_rewind": True,
        "iterations": 18,
        "rate": 0.0,
        "noise_copies": 32,
    }
    if "dampening" in method.config.__dataclass_fields__:  # a third of the images: nothing matters three times as much
        hyper |= {"alpha": 1.2, "dampening": 0.1}
    config = method.config(**{key: value for key, value in hyper.items() if key in method.config.__dataclass_fields__})
    return apply(method, model, sets, config, context({}, scenario=Scenario(whole or None, 12), whole=whole)).model


@pytest.mark.parametrize("name", [name for name in ALL if name != "raw"])
def test_the_loss_of_a_forgotten_class_rises_over_that_of_the_others(name, learnt):
    model, images = learnt
    rest = torch.arange(36)[images.labels != 0]
    sets = {"retain": images.at(rest[:18]), "forget": images.of_classes(torch.tensor([0])), "val": images.at(rest[18:])}
    before, after = (
        loss_of(each, sets["forget"]) - loss_of(each, sets["retain"])
        for each in (model, unlearned(name, model, sets, (0,)))
    )
    assert abs(before) < 0.1 and after > before + 1e-4


# MSG draws anew what tells forget from retain least and then trains on the retain set, whatever that does to the loss.
# ASSD selects 5 of this model's 135 weights.
BY_FORGET_SET = [name for name in ALL if "forget" in registry.get(name).reads and name not in ("ASSD", "MSG")]


@pytest.mark.parametrize("name", BY_FORGET_SET)
def test_what_is_forgotten_is_the_forget_set(name, learnt):
    """The same images are retained twice: of two classes the one loses more that the method was told to forget."""
    model, images = learnt
    places = torch.arange(36)
    parts = [images.at(places[(images.labels == label) & (places >= 18)]) for label in (0, 1)]

    def lead(forget: ImageSet) -> float:
        """By how much the first class loses more than the second."""
        after = unlearned(
            name, model, {"retain": images.at(places[:18]), "forget": forget, "val": images.at(places[:18])}, ()
        )
        return loss_of(after, parts[0]) - loss_of(after, parts[1])

    assert lead(parts[0]) > lead(parts[1]) + 1e-3


def _method(run, reads):
    return registry.Method("greedy", run, frozenset(reads), "", "")


def test_asking_for_an_undeclared_set_raises(model):
    greedy = _method(lambda model, sets, config, context: sets.val, {"retain"})
    with pytest.raises(LookupError, match="greedy reads retain, yet asked for val"):
        apply(greedy, model, SETS, registry.NoOptions(), context({}))


def test_a_method_that_revives_pruned_weights_is_caught(model, mask):
    def revive(model, sets, config, context):
        with torch.no_grad():
            model.conv.weight.add_(1.0)

    with pytest.raises(RunError, match="greedy revived 54 pruned weights of conv.weight"):
        apply(_method(revive, set()), model, SETS, registry.NoOptions(), context(mask))


# --- iterative methods against torch's own pruning and a plain loop ---


def plain_training(model, mask, images, epochs, lr, objective, milestones=(91, 136)):
    """The obvious version: torch.nn.utils.prune's reparametrisation, one SGD, one schedule, no shortcuts."""
    twin = copy.deepcopy(model)
    prune.custom_from_mask(twin.conv, "weight", mask["conv.weight"].float())
    optimizer = torch.optim.SGD(twin.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones), 0.1)
    for epoch in range(epochs):
        twin.train()
        for batch, labels in images.batches(8):
            optimizer.zero_grad()
            objective(twin, batch, labels, epoch).backward()
            optimizer.step()
        schedule.step()
    prune.remove(twin.conv, "weight")
    return twin.state_dict()


def close(left, right, tolerance=2e-6):
    assert left.keys() == right.keys()
    for key in left:
        assert torch.allclose(left[key], right[key], rtol=0, atol=tolerance), key


def cross_entropy(twin, batch, labels, epoch):
    return F.cross_entropy(twin(batch), labels)


@pytest.mark.parametrize("name", ["FT", "retrain"])
def test_training_on_the_retain_set(name, model, mask):
    expected = plain_training(model, mask, SETS["retain"], 4, 0.05, cross_entropy, milestones=(2, 3))
    close(run(name, model, mask, unlearn_epochs=4, unlearn_lr=0.05, batch_size=8, decreasing_lr=(2, 3)), expected)


def l1_of(twin):
    """Of all weights as the last forward pass used them; torch refreshes conv.weight there."""
    return twin.conv.weight.abs().sum() + sum(
        p.abs().sum() for key, p in twin.named_parameters() if key != "conv.weight_orig"
    )


@pytest.mark.parametrize("name", ["FT_l1", "FT_prune"])
def test_l1_sparse(name, model, mask):
    def penalised(twin, batch, labels, epoch):
        # 3 epochs, the last without: weights 0.01, 0.005, 0; sparse weights enter by their values
        loss = cross_entropy(twin, batch, labels, epoch)
        return loss + (0.01, 0.005, 0)[epoch] * l1_of(twin)

    expected = plain_training(model, mask, SETS["retain"], 3, 0.05, penalised)
    close(run(name, model, mask, unlearn_epochs=3, unlearn_lr=0.05, batch_size=8, alpha=0.01, no_l1_epochs=1), expected)


def test_gamma_of_the_l1_penalty():
    # the table of the reference's behaviour: linear decay, none in the last epochs, constant if none is left
    decaying = functools.partial(penalty.gamma, "decaying")
    assert [decaying(1, t, 10, 0) for t in range(10)] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert [decaying(1, t, 10, 5) for t in range(10)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0])
    assert [decaying(3, t, 10, 10) for t in range(10)] == [3] * 10
    assert [decaying(1, t, 5, 7) for t in range(5)] == [0] * 5
    assert [penalty.gamma("growing", 2, t, 5, 1) for t in range(5)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 0])
    assert [penalty.gamma("constant", 2, t, 4, 2) for t in range(4)] == [2, 2, 0, 0]


@pytest.mark.parametrize("schedule, weights", [("growing", (0.005, 0.01)), ("constant", (0.01, 0.01))])
def test_l1_sparse_by_other_schedules(schedule, weights, model, mask):
    def penalised(twin, batch, labels, epoch):
        return cross_entropy(twin, batch, labels, epoch) + weights[epoch] * l1_of(twin)

    expected = plain_training(model, mask, SETS["retain"], 2, 0.05, penalised)
    close(
        run("FT_prune", model, mask, unlearn_epochs=2, unlearn_lr=0.05, batch_size=8, alpha=0.01, l1_schedule=schedule),
        expected,
    )


def test_retraining_with_label_smoothing(model, mask):
    def smoothed(twin, batch, labels, epoch):  # the formula of the reference: (1 - e) NLL + e / K * sum over classes
        log_probs = F.log_softmax(twin(batch), 1)
        true = -log_probs[torch.arange(len(labels)), labels]
        return (0.7 * true + 0.3 / CLASSES * -log_probs.sum(1)).mean()

    expected = plain_training(model, mask, SETS["retain"], 2, 0.05, smoothed)
    close(
        run("retrain_ls", model, mask, unlearn_epochs=2, unlearn_lr=0.05, batch_size=8, label_smoothing=0.3), expected
    )
    assert registry.get("retrain_ls").config().label_smoothing == 0.1


def test_sharpness_aware_retraining_is_sgd_along_the_gradient_of_the_perturbed_point(model):
    rho, lr = 0.5, 0.1
    twin = copy.deepcopy(model)
    batch, labels = next(SETS["retain"].batches(21))
    twin.train()
    start = [p.detach().clone() for p in twin.parameters()]
    first = torch.autograd.grad(F.cross_entropy(twin(batch), labels), list(twin.parameters()))
    norm = torch.cat([(t.abs() * g).flatten() for t, g in zip(start, first)]).norm()
    with torch.no_grad():
        for p, t, g in zip(twin.parameters(), start, first):
            p.copy_(t + t**2 * g * rho / norm)
    second = torch.autograd.grad(F.cross_entropy(twin(batch), labels), list(twin.parameters()))
    after = run("retrain_sam", model, {}, unlearn_epochs=1, unlearn_lr=lr, batch_size=21, sam_rho=rho, weight_decay=0.0)
    for (name, _), t, g, plain in zip(twin.named_parameters(), start, second, first):
        assert torch.allclose(after[name], t - lr * g, atol=1e-6), name
        if name == "fc.weight":
            assert float((g - plain).abs().max()) > 1e-3
    assert int(after["bn.num_batches_tracked"]) == int(model.bn.num_batches_tracked) + 2
    assert registry.get("retrain_sam").config().sam_rho == 2.0


@pytest.mark.parametrize("epochs, times", [(4, [0, 2]), (5, [1, 3]), (1, [0])])
def test_alternate_pruning_ends_at_the_rate(epochs, times, model, mask, monkeypatch):
    seen, whole = [], context(mask)
    monkeypatch.setattr(
        Log, "record", lambda self, kind, **values: seen.append(int(whole.mask["conv.weight"].sum()))
    )  # once an epoch
    method = registry.get("FT_prune_bi")
    result = apply(
        method, model, SETS, method.config(unlearn_epochs=epochs, unlearn_lr=0.01, batch_size=8, rate=0.75), whole
    )
    # 54 of 108 weights to begin with, a quarter of them at the end: 27 after one of two prunings, 13 or 14 after both
    assert [before > after for before, after in zip([54, *seen], seen)] == [epoch in times for epoch in range(epochs)]
    assert seen[-1] in (13, 14) and (len(times) == 1 or 27 in seen)
    assert torch.count_nonzero(result.model.conv.weight) == int(result.mask["conv.weight"].sum()) == seen[-1]
    assert bool((mask["conv.weight"] | ~result.mask["conv.weight"]).all()), "a mask only shrinks"


def test_gradient_ascent(model, mask):
    expected = plain_training(model, mask, SETS["forget"], 3, 0.02, lambda *given: -cross_entropy(*given))
    close(run("GA", model, mask, unlearn_epochs=3, unlearn_lr=0.02, batch_size=8), expected)


def test_gradient_ascent_with_penalty(model, mask):
    def objective(twin, batch, labels, epoch):
        loss = -cross_entropy(twin, batch, labels, epoch)
        return loss + 0.01 * l1_of(twin)

    expected = plain_training(model, mask, SETS["forget"], 3, 0.02, objective)
    close(run("GA_l1", model, mask, unlearn_epochs=3, unlearn_lr=0.02, batch_size=8, alpha=0.01), expected)


# --- FF ---


def slow_fisher(model, images, size, mask):
    """One forward and one backward pass per batch and class."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    batches = list(images.batches(size))
    for batch, _ in batches:
        for label in range(CLASSES):
            model.zero_grad()
            log_probs = F.log_softmax(model(batch), 1)
            (-log_probs[:, label].mean()).backward()
            weight = log_probs[:, label].exp().mean().item()
            for name, p in model.named_parameters():
                total[name] += weight * p.grad**2 / len(batches)
    for name, kept in mask.items():
        total[name] *= kept
    return total


def test_fisher_curvature(model, mask):
    model.eval()
    found = curvature.fisher_of_batches(model, SETS["retain"].batches(8), mask)
    expected = slow_fisher(model, SETS["retain"], 8, mask)
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-9), name
    assert float(found["fc.weight"].abs().max()) > 1e-6


def hand_noise(curvature_value: float, cap: float, alpha: float) -> float:
    return alpha * min(1 / (curvature_value + 1e-8), cap)


def test_noise_by_hand(model):
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    h["conv.weight"][0, 0, 0, 0] = 0.0  # 1e8, capped at 1e3
    mean, variance = fisher_noise.noise(model, h, 1e-2, [], context({}))
    assert torch.equal(mean["conv.weight"], model.conv.weight)
    plain = hand_noise(0.5, 1e3, 1e-2)  # 0.02
    assert variance["conv.weight"][1, 2, 1, 1].item() == pytest.approx(plain)
    # the mean over the three inputs of output 0 at position (0, 0): (10 + 0.02 + 0.02) / 3, for each of them
    assert variance["conv.weight"][0, :, 0, 0].tolist() == pytest.approx([(1e3 * 1e-2 + 2 * plain) / 3] * 3)
    assert variance["bn.weight"].tolist() == pytest.approx([10 * plain] * 4)
    assert variance["fc.weight"][0, 0].item() == pytest.approx(10 * plain)
    h["fc.bias"] = torch.zeros(3)  # the head's cap is 1e2
    _, variance = fisher_noise.noise(model, h, 1e-2, [], context({}))
    assert variance["fc.bias"].tolist() == pytest.approx([10 * 1e2 * 1e-2] * 3)


def test_a_forgotten_class_loses_its_row(model):
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    mean, variance = fisher_noise.noise(model, h, 1e-2, [1], context({}))
    assert mean["fc.weight"][1].tolist() == [0] * 4 and mean["fc.bias"][1].item() == 0
    assert variance["fc.weight"][1].tolist() == pytest.approx([1e-3] * 4)
    assert torch.equal(mean["fc.weight"][[0, 2]], model.fc.weight[[0, 2]])


def test_a_layer_as_wide_as_there_are_classes_is_no_head_but_in_the_reference(model):
    model.fc = nn.Linear(4, 4)  # the convolution has four outputs too
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    plain = hand_noise(0.5, 1e3, 1e-2)
    for compat, conv in (("fixed", [plain] * 4), ("reference", [10 * plain, 1e-3, 10 * plain, 10 * plain])):
        where = context({}, compat)
        where.classes = 4
        mean, variance = fisher_noise.noise(model, h, 1e-2, [1], where)
        assert variance["conv.weight"][:, 0, 0, 0].tolist() == pytest.approx(conv)
        assert variance["fc.bias"].tolist() == pytest.approx([10 * plain, 1e-3, 10 * plain, 10 * plain])
        assert bool(mean["conv.weight"][1].any()) == (compat == "fixed") and not mean["fc.weight"][1].any()
    assert fisher_noise.head_parameters(model, where, "fixed") == {"fc.weight", "fc.bias"}


def test_pruned_weights_inflate_the_noise_in_the_reference_only(model):
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    mask = {"conv.weight": torch.ones(4, 3, 3, 3, dtype=torch.bool)}
    mask["conv.weight"][0, 0] = False
    h["conv.weight"][0, 0] = 0.0
    plain = hand_noise(0.5, 1e3, 1e-2)
    _, fixed = fisher_noise.noise(model, h, 1e-2, [], context(mask))
    _, reference = fisher_noise.noise(model, h, 1e-2, [], context(mask, "reference"))
    assert fixed["conv.weight"][0, 1, 0, 0].item() == pytest.approx(plain)
    assert reference["conv.weight"][0, 1, 0, 0].item() == pytest.approx((10 + 2 * plain) / 3)


@pytest.mark.parametrize(
    ("compat", "dataset", "scenario", "whole", "rows"),
    [
        ("fixed", "digits", Scenario((0,), None), (0,), [0]),  # a whole class, whatever its size
        ("fixed", "digits", Scenario((0, 2), None), (0, 2), [0, 2]),
        ("fixed", "cifar10", Scenario(None, 4500), (), []),  # D6: a random tenth wipes nothing
        ("reference", "cifar10", Scenario(None, 4500), (), [-1]),  # D6: and there the last class
        ("reference", "cifar10", Scenario((2,), 4500), (2,), [2]),
        ("reference", "cifar10", Scenario((2,), None), (2,), []),  # by count alone
        ("reference", "cifar100", Scenario((5,), 450), (5,), [5]),
        ("reference", "digits", Scenario((0,), 136), (0,), []),
    ],
)
def test_which_rows_are_wiped(compat, dataset, scenario, whole, rows):
    where = context({}, compat, scenario, whole)
    where.dataset = dataset
    assert fisher_noise.wiped_rows(where) == rows


def test_fisher_forgetting_draws_the_stated_noise(model):
    torch.manual_seed(5)
    wide = Tiny()
    wide.conv = nn.Conv2d(3, 4000, 3, padding=1)
    wide.bn, wide.fc = nn.BatchNorm2d(4000), nn.Linear(4000, CLASSES)
    wide.eval()
    h = curvature.fisher_of_batches(wide, SETS["retain"].batches(32), {})
    _, variance = fisher_noise.noise(wide, h, 1e-3, [], context({}))
    after = run("fisher_new", wide, {}, alpha=1e-3)
    drawn = (after["conv.weight"] - wide.conv.weight.detach()) / variance["conv.weight"].sqrt()
    assert abs(float(drawn.mean())) < 0.01 and abs(float(drawn.std()) - 1) < 0.01  # 108,000 draws


# --- fisher, from single images ---


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_fisher_from_single_images(compat, model, mask, monkeypatch):
    drawn = recorded(monkeypatch, torch, "randn")
    method = registry.get("fisher")
    after = apply(method, model, SETS, method.config(alpha=1e-9, no_aug=True), context(mask, compat)).model.state_dict()
    twin = copy.deepcopy(model)
    pruner.MaskEnforcer(twin, mask)
    twin.eval()
    total = {name: torch.zeros_like(p) for name, p in twin.named_parameters()}
    for batch, labels in SETS["retain"].batches(1):
        grads = torch.autograd.grad(-F.cross_entropy(twin(batch), labels), list(twin.parameters()))
        for name, gradient in zip(total, grads):
            total[name] += (gradient + 1e-8) ** 2 / 21
    noise = iter(drawn)
    capped = 0
    for name, p in twin.named_parameters():
        spread = (1e-9 / total[name]).sqrt()
        capped += int((spread > 1e-3).sum())
        head = compat == "fixed" and name.startswith(
            "fc."
        )  # in the reference: last dimension 10, which no tensor here has
        moved = p.detach() + spread.clamp(max=1e-3) * next(noise) * (10 if head else 1)
        expected = moved * mask[name] if name in mask else moved
        assert torch.allclose(after[name], expected, atol=2e-6), name
    assert 0 < capped < 100


# --- IU, exact ---


@pytest.mark.parametrize("memory", [2**31, 4 * 21 * 7])
def test_gram_does_not_depend_on_how_much_fits_into_memory(memory, model, mask):
    model.eval()
    pruner.MaskEnforcer(model, mask)
    direction = {name: torch.randn(p.shape, generator=seeds.generator(1, name)) for name, p in model.named_parameters()}
    products, along = curvature.gram(model, lambda: SETS["retain"].batches(8), direction, mask, memory)
    rows = []
    for batch, labels in SETS["retain"].batches(1):
        grads = torch.autograd.grad(F.cross_entropy(model(batch), labels), list(model.parameters()))
        rows.append(torch.cat([(g * mask[name] if name in mask else g).flatten() for name, g in zip(direction, grads)]))
    rows = torch.stack(rows).double()
    assert torch.allclose(products, rows @ rows.T, atol=1e-5)
    assert torch.allclose(along, rows @ torch.cat([d.flatten() for d in direction.values()]).double(), atol=1e-4)


def test_exact_influence_is_the_step_times_the_inverse_of_the_matrix_itself(model, mask):
    after = run("wfisher_exact", model, mask, alpha=2.0, batch_size=4, fisher_samples=15, damping=0.05)
    pruner.MaskEnforcer(model, mask)
    model.eval()
    names = [name for name, _ in model.named_parameters()]

    def gradient(batch, labels):
        grads = torch.autograd.grad(F.cross_entropy(model(batch), labels), list(model.parameters()))
        return torch.cat([(g * mask[name] if name in mask else g).flatten() for g, name in zip(grads, names)]).double()

    means = {part: gradient(*next(SETS[part].batches(100))) for part in ("retain", "forget")}
    step = 9 / 30 * (means["forget"] - means["retain"])
    matrix = 0.05 * torch.eye(len(step), dtype=torch.float64)
    for batch, labels in SETS["retain"].first(15).batches(1):
        g = gradient(batch, labels)
        matrix += torch.outer(g, g) / 15
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
    found = torch.cat([after[name].flatten() for name in names]).double()
    moved = torch.linalg.solve(matrix, step)
    assert torch.allclose(found, start + 2.0 * moved, atol=2e-5)
    assert float((moved - step / 0.05).abs().max()) > 0.05, "the gradients matter, not the damping alone"


# --- IU ---


def slow_influence(model, alpha, scale, mask):
    """The recursion itself, vector by vector, one retain sample at a time."""

    def gradient(batch, labels, reduction="mean"):
        grads = torch.autograd.grad(
            F.cross_entropy(model(batch), labels, reduction=reduction), list(model.parameters())
        )
        flat = [g * mask[name] if name in mask else g for g, name in zip(grads, dict(model.named_parameters()))]
        return torch.cat([g.flatten() for g in flat]).double()

    sums = {name: gradient(*next(SETS[name].batches(100)), "sum") for name in ("retain", "forget")}
    n_f, n_r = len(SETS["forget"]), len(SETS["retain"])
    k = sums["forget"] / (n_f + n_r) - sums["retain"] * n_f / ((n_f + n_r) * n_r)
    o = None
    for t, (batch, labels) in enumerate(SETS["retain"].batches(1)):
        g = gradient(batch, labels)
        if t == 0:
            o = g
        else:
            a = o @ g
            k = k - (k @ g) / (scale + a) * o
            o = o - a / (scale + a) * o
        if t > scale:
            break
    flat = torch.cat(
        [(p * mask[name] if name in mask else p).flatten() for name, p in model.named_parameters()]
    ).double()
    return flat + alpha * k


@pytest.mark.parametrize("scale", [1000, 5])
def test_influence_unlearning(scale, model, mask, monkeypatch):
    monkeypatch.setattr(influence, "SCALE", scale)  # 5: the recursion stops after 7 of the 21 retain images
    after = run("wfisher", model, mask, alpha=3.0, batch_size=4)
    pruner.MaskEnforcer(model, mask)
    model.eval()
    expected = slow_influence(model, 3.0, scale, mask)
    found = torch.cat([after[name].flatten() for name, _ in model.named_parameters()]).double()
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
    assert float((expected.detach() - start).abs().max()) > 1e-3


def test_the_recursion_reads_two_samples_more_than_its_constant(monkeypatch):
    batches = iter(
        [(torch.zeros(4, 1), torch.zeros(4)), (torch.zeros(4, 1), torch.zeros(4)), (torch.zeros(4, 1), torch.zeros(4))]
    )
    assert [len(labels) for _, labels in curvature.first_samples(batches, 7)] == [4, 3]


# --- the loop ---


def test_step_sizes_by_hand(model):
    sizes = functools.partial(step_sizes, model=model, images=SETS["retain"])
    # 21 images in batches of 11: two steps per epoch
    falling = Recipe(4, 0.8, milestones=(1, 3), batch_size=11)
    assert sizes(falling) == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.08, 0.08, 0.008, 0.008])
    warm = Recipe(3, 0.8, milestones=(9,), warmup=2, batch_size=11)
    assert sizes(warm) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    ahead = Recipe(2, 0.8, milestones=(2,), batch_size=11, schedule_offset=1)
    assert sizes(ahead) == pytest.approx([0.8, 0.8, 0.08, 0.08])


def test_cosine_and_constant_step_sizes_by_hand(model):
    sizes = functools.partial(step_sizes, model=model, images=SETS["retain"])
    # one step per epoch; a cosine over 4 epochs: 1, cos 45 degrees between, 1/2, ...
    cosine = Recipe(4, 0.8, schedule="cosine", batch_size=32)
    assert sizes(cosine) == pytest.approx([0.8, 0.4 * (1 + 0.5**0.5), 0.4, 0.4 * (1 - 0.5**0.5)])
    warm = Recipe(4, 0.8, schedule="cosine", warmup=2, batch_size=32)
    assert sizes(warm) == pytest.approx([0.4, 0.8, 0.8, 0.4])
    ahead = Recipe(3, 0.8, schedule="cosine", schedule_offset=2, batch_size=32)  # past its end it stays at zero
    assert sizes(ahead) == pytest.approx([0.4 * (1 - 0.5), 0, 0], abs=1e-12)
    assert sizes(Recipe(3, 0.8, schedule="constant", milestones=(1,), batch_size=32)) == [0.8] * 3


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_other_optimisers(optimizer, model, mask):
    twin, ours = copy.deepcopy(model), copy.deepcopy(model)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    plain = kind(twin.parameters(), lr=0.01, weight_decay=0.1)
    twin.train()
    for _ in range(2):
        for batch, labels in SETS["retain"].batches(8):
            plain.zero_grad()
            F.cross_entropy(twin(batch), labels).backward()
            plain.step()
    training = Training(ours, Recipe(2, 0.01, optimizer, weight_decay=0.1, schedule="constant", batch_size=8), {})
    list(training.run(SETS["retain"], 4, Classification().mean))
    close(ours.state_dict(), twin.state_dict())


def test_half_precision_trains_float_weights_and_hardly_differs(model):
    found = []
    for amp in (False, True):
        copied = copy.deepcopy(model)
        [log] = Training(copied, Recipe(1, 0.05, batch_size=8, amp=amp), {}).run(
            SETS["retain"], 4, Classification().mean
        )
        found.append((log.loss, copied.fc.weight))
    assert found[1][1].dtype == torch.float32
    assert found[0][0] != found[1][0] and found[0][0] == pytest.approx(found[1][0], rel=0.02)


@pytest.mark.parametrize(("batch_size", "eval_mode", "warned"), [(6, False, True), (5, False, False), (6, True, False)])
def test_a_last_batch_of_one_image_is_named(batch_size, eval_mode, warned, model, capsys):
    """Of 13 images: batch norm learns nothing from the statistics of one of them."""
    recipe = Recipe(2, 0.05, batch_size=batch_size, eval_mode=eval_mode)
    list(Training(model, recipe, {}).run(images(13, 1), 4))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    expected = (
        "warning: the last batch of an epoch holds 1 image, on which batch norm is noise; change --batch_size (now 6)"
    )
    assert said == [expected] * warned


def test_pairs_of_batches_are_no_batches_of_one_image(model, capsys):
    """Of a pair, every process has all images, so that it counts as one; the last of these has three and three."""
    training = Training(model, Recipe(1, 0.05, batch_size=6), {})
    mean = Classification().mean
    pairs = Pass(Paired(SETS["retain"], SETS["forget"]), lambda model, batch: mean(model, batch.part(0)))
    list(training.run([pairs], 4))
    assert "warning" not in capsys.readouterr().err


def test_a_resumed_training_repeats_the_undisturbed_one(model, mask):
    recipe = Recipe(4, 0.05, milestones=(3,), batch_size=8)
    whole = copy.deepcopy(model)
    list(Training(whole, recipe, mask).run(SETS["retain"], 7, Classification().mean))
    part = copy.deepcopy(model)
    first = Training(part, recipe, mask)
    for log in first.run(SETS["retain"], 7, Classification().mean):
        if log.epoch == 2:
            break
    torch.rand(99)  # whatever else happens in between
    second = Training(part, recipe, mask)
    second.restore(copy.deepcopy(first.state()))
    assert [log.epoch for log in second.run(SETS["retain"], 7, Classification().mean)] == [3, 4]
    assert all(torch.equal(value, part.state_dict()[key]) for key, value in whole.state_dict().items())


def test_scrub_keeps_its_last_weights_where_no_image_of_the_classes_validates(model, capsys):
    method, found = registry.get("SCRUB"), []
    for no_rewind in (False, True):
        copied = copy.deepcopy(model)
        sets = {**SETS, "val": SETS["val"].at(torch.arange(0))}
        config = method.config(unlearn_epochs=2, unlearn_lr=0.05, batch_size=8, no_rewind=no_rewind)
        found.append(apply(method, copied, sets, config, context({})).model.state_dict())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    assert "no validation images of the forgotten classes: the last epoch's weights are kept" in capsys.readouterr().out


def test_epoch_figures_by_hand(model):
    def objective(model, batch):  # loss 2 on every image; the first class always wins
        return model.fc.bias.sum() * 0 + 2.0, {"accuracy": batch.targets == 0}

    [log] = list(Training(model, Recipe(1, 0.1, batch_size=8), {}).run(SETS["retain"], 1, objective))
    assert log.loss == pytest.approx(2.0) and log.lr == 0.1 and log.epoch == 1
    assert log.figures["accuracy"] == pytest.approx(float((SETS["retain"].labels == 0).float().mean()))


def test_a_loss_that_is_not_finite_stops_the_run(model):
    with pytest.raises(RunError, match=r"the loss became nan in epoch 1, step \d, at learning rate 1e\+30"):
        run("GA", model, {}, unlearn_epochs=3, unlearn_lr=1e30, batch_size=3)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


# --- on VGG; residual networks are in test_mains.py, transformers in test_transformers.py ---


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    torch.manual_seed(0)
    return models.build("vgg16_bn_lth", CLASSES, size=32)


@pytest.mark.torture
@pytest.mark.parametrize("rate", [0.0, 0.9])
@pytest.mark.parametrize("name", ALL)
def test_every_method_on_vgg(name, rate, vgg):
    def pictures(count: int, seed: int) -> ImageSet:
        random = torch.Generator().manual_seed(seed)
        return ImageSet(
            torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=random),
            torch.arange(count) % CLASSES,
        )

    sets = {"retain": pictures(8, 1), "forget": pictures(4, 2), "val": pictures(4, 3)}
    held = pruner.prune(vgg, "random", rate, pruner.Sample(0)) if rate else {}
    wanted = {
        "unlearn_epochs": 1,
        "batch_size": 4,
        "rate": 0.0,
        "unlearn_lr": 1e-3,
        "fisher_samples": 4,
        "iterations": 1,
        "noise_copies": 1,
    }
    wanted |= {"alpha": 1.2} if name == "SSD" else {}  # of 4 images and 12, from 3 on nothing is selected
    method = registry.get(name)
    config = method.config(**{key: value for key, value in wanted.items() if key in method.config.__dataclass_fields__})
    after = apply(method, vgg, sets, config, context(held, whole=whole_of(method))).model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert all(not after[key][~kept].any() for key, kept in held.items()) and len(held) == (13 if rate else 0)


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own(model, monkeypatch):
    """SETS keep their order; sets of runs do not."""
    pixels = torch.zeros(20, 3, 6, 6, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(20, dtype=torch.uint8)  # each image carries its number
    seen = []
    monkeypatch.setattr(Tiny, "forward", lambda self, x, original=Tiny.forward: seen.append(x) or original(self, x))
    sets = {"retain": ImageSet(pixels, torch.arange(20) % CLASSES), "forget": SETS["forget"]}
    hyper = registry.get("FT").config(unlearn_epochs=2, batch_size=8, no_aug=True)
    apply(registry.get("FT"), model, sets, hyper, context({}))
    numbers = [(batch[:, 0, 0, 0] * 255).round().int().tolist() for batch in seen]
    assert [len(batch) for batch in numbers] == [8, 8, 4] * 2
    first, second = sum(numbers[:3], []), sum(numbers[3:], [])
    assert sorted(first) == sorted(second) == list(range(20)) and first != second and first != sorted(first)
