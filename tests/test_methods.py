"""Every unlearning method against a slow and obvious version of itself on a tiny model."""
from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import pruner
from dataset.images import ImageSet
from dataset.scenario import Scenario
from trainer import loop
from unlearn import curvature, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.methods import finetune, fisher_forgetting, influence
from utils import seeds
from utils.errors import RunError, UsageError
from utils.log import Log

ALL = ["fisher_new", "FT", "FT_l1", "FT_prune", "GA", "GA_l1", "raw", "retrain", "wfisher"]
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


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    tiny = Tiny()
    for _ in range(3):  # batch-norm statistics other than 0 and 1
        tiny(torch.rand(16, 3, 6, 6))
    return tiny


@pytest.fixture
def mask(model) -> pruner.Mask:
    return pruner.choose(pruner.magnitude(model), 0.5)


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=random)
    return ImageSet(pixels, torch.randint(0, CLASSES, (count,), generator=random))


SETS = {"retain": images(21, 1), "forget": images(9, 2), "val": images(5, 3)}


def context(mask: pruner.Mask, compat: str = "fixed", scenario: Scenario = Scenario(None, 9), whole: int | None = None) -> Context:
    return Context(mask, torch.device("cpu"), 2, compat, "cifar10", CLASSES, scenario, whole, Log(None))


def run(name: str, model: nn.Module, mask: pruner.Mask, **hyper) -> dict[str, torch.Tensor]:
    method = registry.get(name)
    known = {key: value for key, value in hyper.items() if key in method.config.__dataclass_fields__}
    return apply(method, model, SETS, method.config(**known), context(mask)).model.state_dict()


def test_the_registry_holds_exactly_the_methods_of_this_version():
    assert registry.names() == ALL
    assert registry.get("FF").name == "fisher_new" and registry.get("IU").name == "wfisher" and registry.get("l1-sparse").name == "FT_prune"


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"--unlearn FTT: unknown \(did you mean FT\?\); known: fisher_new, FT, "):
        registry.get("FTT")


def test_a_name_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="'FF' is registered twice"):
        registry.method("new", reads=set(), summary="", source="", aliases=("FF",))(lambda *_: None)
    assert "new" not in registry.names()


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_bytes_and_the_callers_model_stays(name, model, mask):
    before = copy.deepcopy(model.state_dict())
    first, second = (run(name, model, mask, unlearn_epochs=2, batch_size=8, alpha=1e-3) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in before)
    if name != "raw":
        assert any(not torch.equal(first[key], before[key] * mask[key] if key in mask else before[key]) for key in first)


@pytest.mark.parametrize("name", ALL)
def test_pruned_weights_are_exactly_zero_afterwards(name, model, mask):
    after = run(name, model, mask, unlearn_epochs=2, batch_size=8, alpha=1e-2, weight_decay=0.1)
    pruned = ~mask["conv.weight"]
    assert int(pruned.sum()) == 54  # half of 4 * 3 * 3 * 3
    assert torch.count_nonzero(after["conv.weight"][pruned]) == 0
    assert torch.count_nonzero(after["conv.weight"]) == 54


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("fisher_new", "wfisher")])
def test_zero_epochs_change_nothing(name, model):
    after = run(name, model, {}, unlearn_epochs=0)
    assert all(torch.equal(after[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["fisher_new", "wfisher"])
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
    apply(method, model, watched, method.config(**hyper), context(mask))
    assert watched.seen == method.reads


def _method(run, reads):
    return registry.Method("greedy", run, registry.NoOptions, frozenset(reads), "", "", "", False, ())


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
        for batch, labels in images.batches(8, seeds.derive(seeds.derive(2, "unlearn", 0), "epoch", epoch)):
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
    return twin.conv.weight.abs().sum() + sum(p.abs().sum() for key, p in twin.named_parameters() if key != "conv.weight_orig")


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
    assert [finetune.gamma(1, t, 10, 0) for t in range(10)] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert [finetune.gamma(1, t, 10, 5) for t in range(10)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0])
    assert [finetune.gamma(3, t, 10, 10) for t in range(10)] == [3] * 10
    assert [finetune.gamma(1, t, 5, 7) for t in range(5)] == [0] * 5


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
    mean, variance = fisher_forgetting.noise(model, h, {}, 1e-2, CLASSES, None, "fixed")
    assert torch.equal(mean["conv.weight"], model.conv.weight)
    plain = hand_noise(0.5, 1e3, 1e-2)  # 0.02
    assert variance["conv.weight"][1, 2, 1, 1].item() == pytest.approx(plain)
    # the mean over the three inputs of output 0 at position (0, 0): (10 + 0.02 + 0.02) / 3, for each of them
    assert variance["conv.weight"][0, :, 0, 0].tolist() == pytest.approx([(1e3 * 1e-2 + 2 * plain) / 3] * 3)
    assert variance["bn.weight"].tolist() == pytest.approx([10 * plain] * 4)
    assert variance["fc.weight"][0, 0].item() == pytest.approx(10 * plain)
    h["fc.bias"] = torch.zeros(3)  # the head's cap is 1e2
    _, variance = fisher_forgetting.noise(model, h, {}, 1e-2, CLASSES, None, "fixed")
    assert variance["fc.bias"].tolist() == pytest.approx([10 * 1e2 * 1e-2] * 3)


def test_a_forgotten_class_loses_its_row(model):
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    mean, variance = fisher_forgetting.noise(model, h, {}, 1e-2, CLASSES, 1, "fixed")
    assert mean["fc.weight"][1].tolist() == [0] * 4 and mean["fc.bias"][1].item() == 0
    assert variance["fc.weight"][1].tolist() == pytest.approx([1e-3] * 4)
    assert torch.equal(mean["fc.weight"][[0, 2]], model.fc.weight[[0, 2]])


def test_pruned_weights_inflate_the_noise_in_the_reference_only(model):
    h = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters()}
    mask = {"conv.weight": torch.ones(4, 3, 3, 3, dtype=torch.bool)}
    mask["conv.weight"][0, 0] = False
    h["conv.weight"][0, 0] = 0.0
    plain = hand_noise(0.5, 1e3, 1e-2)
    _, fixed = fisher_forgetting.noise(model, h, mask, 1e-2, CLASSES, None, "fixed")
    _, reference = fisher_forgetting.noise(model, h, mask, 1e-2, CLASSES, None, "reference")
    assert fixed["conv.weight"][0, 1, 0, 0].item() == pytest.approx(plain)
    assert reference["conv.weight"][0, 1, 0, 0].item() == pytest.approx((10 + 2 * plain) / 3)


@pytest.mark.parametrize(
    ("compat", "dataset", "scenario", "whole", "row"),
    [
        ("fixed", "digits", Scenario(0, None), 0, 0),  # a whole class, whatever its size
        ("fixed", "cifar10", Scenario(None, 4500), None, None),  # D6: a random tenth wipes nothing
        ("reference", "cifar10", Scenario(None, 4500), None, -1),  # D6: and there the last class
        ("reference", "cifar10", Scenario(2, 4500), 2, 2),
        ("reference", "cifar10", Scenario(2, None), 2, None),  # by count alone
        ("reference", "cifar100", Scenario(5, 450), 5, 5),
        ("reference", "digits", Scenario(0, 136), 0, None),
    ],
)
def test_which_row_is_wiped(compat, dataset, scenario, whole, row):
    where = context({}, compat, scenario, whole)
    where.dataset = dataset
    assert fisher_forgetting.wiped_row(where) == row


def test_fisher_forgetting_draws_the_stated_noise(model):
    torch.manual_seed(5)
    wide = Tiny()
    wide.conv = nn.Conv2d(3, 4000, 3, padding=1)
    wide.bn, wide.fc = nn.BatchNorm2d(4000), nn.Linear(4000, CLASSES)
    wide.eval()
    h = curvature.fisher_of_batches(wide, SETS["retain"].batches(32), {})
    _, variance = fisher_forgetting.noise(wide, h, {}, 1e-3, CLASSES, None, "fixed")
    after = run("fisher_new", wide, {}, alpha=1e-3)
    drawn = (after["conv.weight"] - wide.conv.weight.detach()) / variance["conv.weight"].sqrt()
    assert abs(float(drawn.mean())) < 0.01 and abs(float(drawn.std()) - 1) < 0.01  # 108,000 draws


# --- IU ---


def slow_influence(model, alpha, scale, mask):
    """The recursion itself, vector by vector, one retain sample at a time."""

    def gradient(batch, labels, reduction="mean"):
        grads = torch.autograd.grad(F.cross_entropy(model(batch), labels, reduction=reduction), list(model.parameters()))
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
    flat = torch.cat([(p * mask[name] if name in mask else p).flatten() for name, p in model.named_parameters()]).double()
    return flat + alpha * k


@pytest.mark.parametrize("scale", [1000, 5])
def test_influence_unlearning(scale, model, mask, monkeypatch):
    monkeypatch.setattr(influence, "SCALE", scale)  # 5: the recursion stops after 7 of the 21 retain images
    after = run("wfisher", model, mask, alpha=3.0, batch_size=4)
    pruner.Hold(model, mask)
    model.eval()
    expected = slow_influence(model, 3.0, scale, mask)
    found = torch.cat([after[name].flatten() for name, _ in model.named_parameters()]).double()
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    start = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
    assert float((expected.detach() - start).abs().max()) > 1e-3


def test_the_recursion_reads_two_samples_more_than_its_constant(monkeypatch):
    batches = iter([(torch.zeros(4, 1), torch.zeros(4)), (torch.zeros(4, 1), torch.zeros(4)), (torch.zeros(4, 1), torch.zeros(4))])
    assert [len(labels) for _, labels in curvature.first_samples(batches, 7)] == [4, 3]


# --- the loop ---


def step_sizes(recipe: loop.Recipe, model: nn.Module) -> list[float]:
    sizes = []

    def objective(model, batch, labels, epoch):
        sizes.append(training.optimizer.param_groups[0]["lr"])
        return loop.cross_entropy(model, batch, labels, epoch)

    training = loop.Training(model, recipe, {})
    list(training.run(SETS["retain"], 1, objective))
    return sizes


def test_step_sizes_by_hand(model):
    # 21 images in batches of 11: two steps per epoch
    falling = loop.Recipe(4, 0.8, milestones=(1, 3), batch_size=11)
    assert step_sizes(falling, model) == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.08, 0.08, 0.008, 0.008])
    warm = loop.Recipe(3, 0.8, milestones=(9,), warmup=2, batch_size=11)
    assert step_sizes(warm, model) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    ahead = loop.Recipe(2, 0.8, milestones=(2,), batch_size=11, ahead=1)
    assert step_sizes(ahead, model) == pytest.approx([0.8, 0.8, 0.08, 0.08])


def test_a_resumed_training_repeats_the_undisturbed_one(model, mask):
    recipe = loop.Recipe(4, 0.05, milestones=(3,), batch_size=8)
    whole = copy.deepcopy(model)
    list(loop.Training(whole, recipe, mask).run(SETS["retain"], 7))
    part = copy.deepcopy(model)
    first = loop.Training(part, recipe, mask)
    for log in first.run(SETS["retain"], 7):
        if log.epoch == 2:
            break
    torch.rand(99)  # whatever else happens in between
    second = loop.Training(part, recipe, mask)
    second.restore(copy.deepcopy(first.state()))
    assert [log.epoch for log in second.run(SETS["retain"], 7)] == [3, 4]
    assert all(torch.equal(value, part.state_dict()[key]) for key, value in whole.state_dict().items())


def test_epoch_figures_by_hand(model):
    def objective(model, batch, labels, epoch):  # loss 2 on every image; the first class always wins
        logits = torch.tensor([[1.0, 0, 0]]).repeat(len(labels), 1)
        return model.fc.bias.sum() * 0 + 2.0, logits

    [log] = list(loop.Training(model, loop.Recipe(1, 0.1, batch_size=8), {}).run(SETS["retain"], 1, objective))
    assert log.loss == pytest.approx(2.0) and log.lr == 0.1 and log.epoch == 1
    assert log.accuracy == pytest.approx(float((SETS["retain"].labels == 0).float().mean()))


def test_a_loss_that_is_not_finite_stops_the_run(model):
    with pytest.raises(RunError, match=r"the loss became nan in epoch 1 at step size 1e\+30"):
        run("GA", model, {}, unlearn_epochs=3, unlearn_lr=1e30, batch_size=3)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
