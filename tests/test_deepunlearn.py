"""Deep Unlearn's methods against slow and obvious versions of themselves, its scores by hand, and what they are made
of.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, ROOT, step_sizes
from test_methods import mask, warmed_up  # noqa: F401  (mask is a fixture)
from torch import nn
from torch.nn.utils import prune

import arg_parser
import main_backdoor
import main_forget
import main_imp
import main_transfer
import models
import pruner
from dataset import catalog, prepare, tree
from dataset.combined import union
from dataset.images import Augment, ImageSet
from dataset.pairs import Marked, Paired
from dataset.scenario import Scenario
from evaluation import closeness, deepunlearn, run_scores
from evaluation.predict import Predictions, accuracy_on
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Pass
from trainer.task import Classification
from unlearn import distill, layers, registry
from unlearn.apply import apply
from unlearn.context import Context, Progress
from unlearn.draws import Draws
from unlearn.unlearn_setup import check_validation
from utils import seeds
from utils.errors import UsageError
from utils.log import Log

pytestmark = pytest.mark.numeric

OURS = ["BT", "CF-k", "CFW", "CT", "EU-k", "FCS", "KDE", "MSG", "NG+", "PRMQ", "RNI", "SCRUB", "SRL"]
CLASSES = 3
SHORT = 1e-60  # a step size that float32 weights do not see


class Tiny(nn.Module):
    """A stem, two blocks and a head: 3 x 6 x 6 images, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x):
        x = self.conv1(x.to(self.conv1.weight.dtype))
        return self.fc(self.layer2(self.layer1(F.relu(self.bn1(x)))).mean((2, 3)))


LAST = ("layer2.", "fc.")


@pytest.fixture
def model() -> Tiny:
    return warmed_up(Tiny)


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=random)
    return ImageSet(pixels, torch.arange(count) % CLASSES)


SETS = {"retain": images(21, 1).in_order(), "forget": images(9, 2).in_order(), "val": images(12, 3).in_order()}


def context(mask: pruner.Mask | None = None, compat: str = "fixed", progress: Progress | None = None) -> Context:
    return Context(
        mask or {},
        torch.device("cpu"),
        2,
        compat,
        "cifar10",
        CLASSES,
        Scenario(None, 9),
        (),
        Log(None),
        progress or Progress(),
    )


def run(
    name: str, model: nn.Module, mask: pruner.Mask | None = None, compat: str = "fixed", **hyper
) -> dict[str, torch.Tensor]:
    method = registry.get(name)
    return apply(method, model, SETS, method.config(**hyper), context(mask, compat)).model.state_dict()


def learn(model: nn.Module, epochs: int) -> None:
    """Train on the retain and the forget set."""
    both = union(SETS["retain"], SETS["forget"])
    list(Training(model, Recipe(epochs, 0.1, batch_size=8, milestones=()), {}).run(both, 1, Classification().mean))


def batches(name: str, size: int) -> list:
    return list(SETS[name].batches(size))


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def sgd(model: nn.Module, lr: float, momentum: float = 0.9, weight_decay: float = 5e-4) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=weight_decay)


def close(found, expected, tolerance=2e-6):
    assert found.keys() == expected.keys()
    for key in found:
        size = max(1.0, float(expected[key].abs().max()))
        assert torch.allclose(found[key], expected[key], rtol=0, atol=tolerance * size), key


def jump(name: str, model: nn.Module, **hyper) -> dict[str, torch.Tensor]:
    """The method with steps too short to change anything: what it does to the weights beside training."""
    short = {field.name: SHORT for field in dataclasses.fields(registry.get(name).config) if field.name.endswith("_lr")}
    short |= {"fine_lr": (SHORT,)} if "fine_lr" in short else {}
    return run(name, model, **{**short, "batch_size": 64, **hyper})


# --- the methods ---


@pytest.mark.parametrize("anchor", [0.0, 3.0])
def test_negative_gradient_plus(anchor, model):
    twin, start = copy.deepcopy(model).eval(), [p.detach().clone() for p in model.parameters()]
    optimizer = sgd(twin, 0.05)
    forget = batches("forget", 8)
    for _ in range(2):
        for number, (x, y) in enumerate(batches("retain", 8)):  # three batches; of the forget set there are two
            other, wrong = forget[number % 2]
            away = sum((p - before).square().sum() for p, before in zip(twin.parameters(), start))
            descend(
                optimizer,
                0.9 * (F.cross_entropy(twin(x), y) + anchor / 2 * away) - 0.1 * F.cross_entropy(twin(other), wrong),
            )
    found = run(
        "NG+", model, unlearn_epochs=2, unlearn_lr=0.05, batch_size=8, alpha=0.9, weight_decay=5e-4, anchor=anchor
    )
    close(found, twin.state_dict())
    assert torch.equal(found["bn1.running_mean"], model.bn1.running_mean)


def test_successive_random_labels(model):
    twin = copy.deepcopy(model).train()
    optimizer = sgd(twin, 0.05)
    (forgotten, _), (retained, labels) = next(SETS["forget"].batches(99)), next(SETS["retain"].batches(99))
    drawn = [
        Classification(CLASSES).wrong_targets(SETS["forget"].labels, seeds.derive(2, "random labels", epoch), False)
        for epoch in range(2)
    ]
    assert not torch.equal(*drawn)
    for wrong in drawn:
        descend(optimizer, F.cross_entropy(twin(torch.cat([forgotten, retained])), torch.cat([wrong, labels])))
    close(run("SRL", model, unlearn_epochs=2, unlearn_lr=0.05), twin.state_dict())
    assert torch.equal(SETS["forget"].labels, torch.arange(9) % CLASSES), "the set keeps its own labels"


@pytest.mark.parametrize("compat, share", [("fixed", 1.0), ("reference", 1 / CLASSES)])
def test_bad_teacher(compat, share, model):
    twin, good = copy.deepcopy(model).train(), copy.deepcopy(model).eval()
    bad = Draws(2).network(model, "bad teacher").eval()
    optimizer = sgd(twin, 0.5)
    (retained, _), (forgotten, _) = next(SETS["retain"].batches(99)), next(SETS["forget"].batches(99))
    for _ in range(2):
        with torch.no_grad():
            target = torch.cat([F.softmax(good(retained) / 2, 1), F.softmax(bad(forgotten) / 2, 1)])
        logs = F.log_softmax(twin(torch.cat([retained, forgotten])) / 2, 1)
        descend(optimizer, share * (target * (target.log() - logs)).sum(1).mean())
    hyper = {"optimizer": "sgd", "unlearn_epochs": 2, "unlearn_lr": 0.5, "weight_decay": 5e-4, "temperature": 2.0}
    close(run("BT", model, compat=compat, **hyper), twin.state_dict())
    gap = (F.softmax(bad(forgotten), 1) - F.softmax(good(forgotten), 1)).detach().abs().max()
    assert float(gap) > 0.05, "an untrained network is another one"


def scrub_twin(model, epochs: int, max_steps: int, drops: tuple[int, ...]) -> list[dict]:
    """Weights before the first and after every epoch."""
    twin, teacher = copy.deepcopy(model), copy.deepcopy(model).eval()
    optimizer = sgd(twin, 0.2)
    seen = [copy.deepcopy(twin.state_dict())]

    def distance(x, outputs):
        p, q = F.softmax(teacher(x).detach() / 2, 1), F.softmax(outputs / 2, 1)
        return 4 * (p * (p / q).log()).sum(1).mean()

    for epoch in range(epochs):
        twin.train()
        optimizer.param_groups[0]["lr"] = 0.2 * 0.5 ** sum(epoch >= drop for drop in drops)
        for x, _ in batches("forget", 4) if epoch < max_steps else []:
            descend(optimizer, -distance(x, twin(x)))
        for x, y in batches("retain", 8):
            outputs = twin(x)
            descend(optimizer, 0.7 * F.cross_entropy(outputs, y) + 0.3 * distance(x, outputs))
        seen.append(copy.deepcopy(twin.state_dict()))
    return seen


SCRUB = {"unlearn_epochs": 5, "unlearn_lr": 0.2, "batch_size": 8, "forget_batch_size": 4, "max_steps": 2}
SCRUB |= {"gamma": 0.7, "alpha": 0.3, "lr_decay_rate": 0.5}


@pytest.mark.parametrize("compat, drops", [("fixed", (3, 4, 5)), ("reference", (2, 4, 4))])
def test_scrub_returns_the_epoch_whose_forget_error_fits(compat, drops, model):
    learn(model.double(), 20)  # these steps enlarge rounding a thousandfold, and every processor rounds in its own way
    seen = scrub_twin(model, 5, 2, drops)
    where = context(compat=compat)
    method = registry.get("SCRUB")
    found = apply(method, model, SETS, method.config(**SCRUB), where).model.state_dict()
    for ours, expected in zip(where.memory["students"], seen, strict=True):
        close(ours, expected, 1e-8)
    twin = copy.deepcopy(model)
    accuracies = []
    for state in seen:
        twin.load_state_dict(state)
        accuracies.append(accuracy_on(twin, SETS["forget"]))
    goal = accuracy_on(twin, SETS["val"])
    chosen = int(np.argmin([abs(accuracy - goal) for accuracy in accuracies]))
    assert 0 < chosen < 5 and len(set(accuracies)) > 2, "this case must tell epochs apart"
    close(found, seen[chosen], 1e-8)


def test_scrub_goes_back_to_the_start_or_stays_at_the_end(model, monkeypatch):
    monkeypatch.setattr(
        "unlearn.rewind.accuracy_on", lambda model, images, **named: 1.0
    )  # every epoch fits: the first one is taken
    hyper = {"unlearn_epochs": 2, "unlearn_lr": 0.2, "batch_size": 8}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in run("SCRUB", model, **hyper).items())
    assert not torch.equal(run("SCRUB", model, compat="reference", **hyper)["fc.weight"], model.fc.weight)


def test_scrub_without_rewinding_keeps_the_last_weights_and_looks_at_no_validation_image(model):
    learn(model.double(), 20)
    method = registry.get("SCRUB")
    sets = {name: images for name, images in SETS.items() if name != "val"}
    found = apply(method, model, sets, method.config(**SCRUB, no_rewind=True), context()).model.state_dict()
    close(found, scrub_twin(model, 5, 2, (3, 4, 5))[-1], 1e-8)


SFRON = {  # of its repository, for CIFAR-10
    "retrain": (0.1, 200, "cosine"),
    "FT": (0.01, 10, "cosine"),
    "GA": (1e-4, 9, "constant"),
    "RL": (0.003, 10, "cosine"),
    "SalUn": (0.007, 10, "cosine"),
    "BT": (0.02, 10, "cosine"),
    "SCRUB": (8e-5, 6, "cosine"),
}


@pytest.mark.parametrize("arch", ["resnet20s", "vit_tiny"])
@pytest.mark.parametrize("name", SFRON)
def test_the_settings_of_sfron_are_a_preset_on_every_architecture(name, arch):
    values = arg_parser.parse_forget(
        ["--mask", "m", "--save_dir", "d", "--arch", arch, "--unlearn", name, "--preset", "sfron"]
    ).hyper
    assert (values.optimizer, values.momentum, values.weight_decay, values.batch_size, values.no_aug) == (
        "sgd",
        0.9,
        5e-4,
        128,
        False,
    )
    assert (values.unlearn_lr, values.unlearn_epochs, values.schedule) == SFRON[name]
    if name == "GA":
        assert (values.eval_mode, values.max_norm) == (True, 0.1)
    if name in ("RL", "SalUn"):
        assert (values.order, values.relabel, values.saliency_threshold) == (
            "joint",
            "once",
            {"RL": None, "SalUn": 0.2}[name],
        )
    if name == "BT":
        assert values.temperature == 1
    if name == "SCRUB":
        assert (values.gamma, values.alpha, values.max_steps, values.no_rewind, values.temperature) == (
            0.99,
            1e-3,
            2,
            True,
            4,
        )


def test_scrub_looks_at_validation_images_of_the_forget_sets_classes():
    mixed = SETS["val"].of_classes(torch.tensor([2, 2]))
    assert mixed.indices.tolist() == [2, 5, 8, 11] and mixed.labels.tolist() == [2] * 4
    assert len(SETS["val"].of_classes(torch.tensor([7]))) == 12


@pytest.mark.parametrize("compat, rates", [("fixed", (1, 0.5, 0.25, 0.125)), ("reference", (1, 1, 1, 0.125))])
def test_the_last_blocks_alone(compat, rates, model):
    # four epochs: after 2, 3.2 and 3.6 of them, rounded up; in the reference rounded down and one epoch later
    rates = (1, 1, 0.5, 0.5) if compat == "fixed" else (1, 1, 1, 0.5)
    twin = copy.deepcopy(model).eval()
    start = {name: p.detach().clone() for name, p in twin.named_parameters()}
    trained = [p for name, p in twin.named_parameters() if name.startswith(LAST)]
    optimizer = torch.optim.SGD(trained, 0.3)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = 0.3 * rate
        for x, y in batches("retain", 8):
            away = sum((p - start[name]).square().sum() for name, p in twin.named_parameters() if name.startswith(LAST))
            descend(optimizer, F.cross_entropy(twin(x), y) + 0.4 / 2 * away)
    hyper = {"unlearn_epochs": 4, "unlearn_lr": 0.3, "batch_size": 8, "lr_decay_rate": 0.5, "anchor": 0.4}
    found = run("CF-k", model, compat=compat, **hyper)
    close(found, twin.state_dict())
    same = {key for key, value in model.state_dict().items() if torch.equal(found[key], value)}
    assert same == {key for key in found if not key.startswith(LAST)} | {
        key for key in found if ".running" in key or "tracked" in key
    }
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_new_last_blocks(compat, model):
    hyper = {"unlearn_epochs": 2, "batch_size": 8, "no_aug": True}
    fresh = run("EU-k", model, compat=compat, unlearn_lr=SHORT, **hyper)
    conv, linear = fresh["layer2.0.weight"], fresh["fc.weight"]
    assert float(conv.abs().max()) <= math.sqrt(6 / (5 * 9)) and float(conv.abs().max()) > 0.9 * math.sqrt(6 / 45)
    assert float(linear.abs().max()) <= math.sqrt(6 / (5 + CLASSES))
    assert not fresh["fc.bias"].any() and not fresh["layer2.0.bias"].any()
    assert fresh["layer2.1.weight"].tolist() == [1] * 5 and fresh["layer2.1.bias"].tolist() == [0] * 5
    assert all(torch.equal(fresh[key], value) for key, value in model.state_dict().items() if not key.startswith(LAST))
    old = model.layer2[1].running_mean
    assert torch.equal(fresh["layer2.1.running_mean"], old) == (compat == "reference")
    steps = int(fresh["layer2.1.num_batches_tracked"])
    assert steps == (
        3 if compat == "reference" else 2 * 3
    )  # those of the old weights, or one for each step since the new
    assert not torch.equal(run("EU-k", model, compat=compat, unlearn_lr=0.1, **hyper)["layer2.0.weight"], conv)


def test_forget_contrast_strengthen(model):
    twin = copy.deepcopy(model).train()
    erase, strengthen = sgd(twin, 0.05, weight_decay=0.01), sgd(twin, 0.08 * 8 / 64, weight_decay=0.02)
    contrast = sgd(twin, 0.1, weight_decay=0.03)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(contrast, T_max=3 * 2, eta_min=0.02)
    forget = batches("forget", 4)  # three batches, as many as of the retain set
    for x, _ in forget:
        descend(erase, (1 / CLASSES * (math.log(1 / CLASSES) - F.log_softmax(twin(x), 1))).sum(1).mean())
    for _ in range(2):
        for (x, _), (other, _) in zip(forget, batches("retain", 8)):
            outputs = twin(x)
            similar = outputs @ twin(other).detach().T / 1.5
            descend(contrast, -(similar - similar.logsumexp(1, keepdim=True)).mean())
            cosine.step()
        for x, y in batches("retain", 8):
            descend(strengthen, F.cross_entropy(twin(x), y))
    hyper = {
        "unlearn_epochs": 2,
        "batch_size": 8,
        "forget_batch_size": 4,
        "temperature": 1.5,
        "unlearn_lr": 0.08,
        "weight_decay": 0.02,
        "erase_lr": 0.05,
        "erase_weight_decay": 0.01,
        "contrast_lr": 0.1,
        "contrast_floor": 0.02,
        "contrast_weight_decay": 0.03,
    }
    close(run("FCS", model, **hyper), twin.state_dict(), 1e-5)


@pytest.mark.parametrize("compat, size", [("fixed", 4), ("reference", 64)])
def test_masked_small_gradients(compat, size, model):
    twin = copy.deepcopy(model).train()
    order = Draws(2).order(21, "gradient sample")[:9]
    for sign, part, step in ((1, SETS["retain"].at(order), size), (-1, SETS["forget"], 4)):
        for x, y in part.batches(step):
            (sign * F.cross_entropy(twin(x), y)).backward()
    small = {}
    for name, weight in twin.named_parameters():
        if weight.ndim == 4:
            count = round(0.3 * weight.numel())
            small[name] = weight.grad.abs() <= weight.grad.abs().flatten().sort().values[count - 1]
            assert int(small[name].sum()) == count
    found = jump("MSG", model, compat=compat, batch_size=4, unlearn_epochs=1)
    before = model.state_dict()
    for name, value in found.items():
        if name not in small:
            assert torch.equal(value, before[name]) or "running" in name or "tracked" in name, name
        else:
            assert torch.equal(value != before[name], small[name]), name
    drawn = found["layer2.0.weight"][small["layer2.0.weight"]]
    assert float(drawn.std()) == pytest.approx(math.sqrt(2 / (5 * 9)), rel=0.3)  # Kaiming, fan-out


def test_weights_that_were_not_renewed_train_at_a_tenth(model):
    fresh, after = (
        run("MSG", model, unlearn_epochs=1, batch_size=32, unlearn_lr=lr, weight_decay=0.0) for lr in (SHORT, 0.1)
    )
    twin = copy.deepcopy(model)
    twin.load_state_dict(fresh)
    twin.train()
    for layer in (module for module in twin.modules() if isinstance(module, nn.BatchNorm2d)):
        layer.running_mean.zero_()  # the statistics are not compared
    F.cross_entropy(twin(next(SETS["retain"].batches(99))[0]), SETS["retain"].labels).backward()
    for name, parameter in twin.named_parameters():
        share = torch.where(fresh[name] == model.state_dict()[name], 0.1, 1.0) if parameter.ndim == 4 else 1.0
        assert torch.allclose(after[name], fresh[name] - 0.1 * share * parameter.grad, atol=1e-6), name


def test_confuse_finetune_weaken(model):
    noise = {when: Draws(2).normal("conv1.weight", model.conv1.weight, "noise", when) for when in ("start", "final")}
    expected = model.conv1.weight.detach() + 0.5 * noise["start"]
    once, twice = (
        jump("CFW", model, unlearn_epochs=1, start_std=0.5),
        jump("CFW", model, unlearn_epochs=3, start_std=0.5, final_std=0.25),
    )
    assert torch.allclose(once["conv1.weight"], expected, atol=1e-7)  # a single epoch is not weakened
    assert torch.allclose(twice["conv1.weight"], expected + 0.25 * noise["final"], atol=1e-7)
    assert torch.equal(once["layer1.0.weight"], model.layer1[0].weight)


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_class_weights_of_cfw(compat, model):
    uneven = SETS["retain"].relabelled(
        torch.tensor([0] * 14 + [1] * 7)
    )  # class 2 has no image: weights 21 / (2 * 14), 21 / (2 * 7)
    twin = copy.deepcopy(model).train()
    optimizer = sgd(twin, 0.1)
    for x, y in uneven.batches(8):
        losses, weights = F.cross_entropy(twin(x), y, reduction="none"), torch.tensor([0.75, 1.5])[y]
        descend(optimizer, (losses * weights).mean() if compat == "fixed" else losses.mean() * weights.mean())
    method = registry.get("CFW")
    config = method.config(unlearn_epochs=1, unlearn_lr=0.1, batch_size=8, start_std=0.0)
    close(
        apply(method, model, {**SETS, "retain": uneven}, config, context(compat=compat)).model.state_dict(),
        twin.state_dict(),
    )


def test_prune_reinitialise_match_quantise(model):
    pruned = copy.deepcopy(model)
    layers_ = [m for m in pruned.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    every = [(m, own) for m in layers_ for own, _ in list(m.named_parameters())]
    prune.global_unstructured(every, prune.L1Unstructured, amount=0.8)
    for layer, own in every:
        prune.remove(layer, own)
    found = jump("PRMQ", model, prune_amount=0.8, unlearn_epochs=1.0)
    zeros = 0
    for name, value in pruned.named_parameters():
        renewed = value == 0
        zeros += int(renewed.sum())
        assert torch.equal(found[name][~renewed], value[~renewed].half().float()), name
        if value.ndim == 1:
            assert not found[name][renewed].any()
        else:
            bound = value[0].numel() ** -0.5
            uniform = Draws(2).uniform(name, value, "reinitialised")
            assert torch.allclose(found[name][renewed], (2 * uniform - 1)[renewed] * bound, atol=1e-3)
    assert zeros > 0.75 * sum(p.numel() for p in model.parameters())
    assert torch.equal(found["bn1.running_var"], found["bn1.running_var"].half().float())
    assert found["bn1.running_var"].dtype == torch.float32


def test_steps_and_loss_of_prmq(model):
    start, twin = copy.deepcopy(model), copy.deepcopy(model).train()
    optimizer, teacher = sgd(twin, 0.1), copy.deepcopy(model).eval()
    weights = torch.tensor([7.0, 7.0, 7.0]) ** -0.1

    def entropy(logits):
        return -(F.softmax(logits, 1) * F.log_softmax(logits, 1)).sum(1)

    for x, y in (batches("retain", 8) * 2)[:5]:  # int(3 * 1.4) + 1
        outputs = twin(x)
        match = (entropy(outputs) - entropy(teacher(x).detach())).square().mean()
        descend(optimizer, F.cross_entropy(outputs, y, weight=weights) + match)
    found = run("PRMQ", start, prune_amount=0.0, unlearn_epochs=1.4, unlearn_lr=0.1, batch_size=8)
    assert int(found["bn1.num_batches_tracked"]) == int(model.bn1.num_batches_tracked) + 5
    for key, value in twin.state_dict().items():
        assert torch.allclose(
            found[key],
            value.float().half().to(found[key].dtype) if value.is_floating_point() else value,
            rtol=2e-3,
            atol=1e-5,
        ), key


def test_transposed_kernels_keep_the_mask(model, mask):
    found = jump("CT", model, unlearn_epochs=1)
    assert torch.equal(found["layer1.0.weight"], model.layer1[0].weight.transpose(2, 3))
    assert torch.equal(found["fc.weight"], model.fc.weight)
    pruned = copy.deepcopy(model)
    pruner.MaskEnforcer(pruned, mask)
    method = registry.get("CT")
    after = apply(method, pruned, SETS, method.config(unlearn_epochs=1, unlearn_lr=SHORT), context(mask)).model
    assert torch.equal(after.conv1.weight, pruned.conv1.weight.transpose(2, 3) * mask["conv1.weight"])


def test_ct_says_that_there_is_nothing_to_transpose(capsys):
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))
    run("CT", flat, unlearn_epochs=1)
    assert "CT: this model has no convolution to transpose; it is only fine-tuned" in capsys.readouterr().out


def test_distillation_with_entropy(model):
    reset = jump("KDE", model, unlearn_epochs=1, distil_epochs=1)
    changed = {
        key
        for key, value in model.state_dict().items()
        if not torch.equal(reset[key], value) and "running" not in key and "tracked" not in key
    }
    assert changed == {"conv1.weight", "fc.weight", "fc.bias"}
    assert float(reset["conv1.weight"].abs().max()) <= 27**-0.5 and float(reset["fc.bias"].abs().max()) <= 5**-0.5
    twin, teacher = copy.deepcopy(model), copy.deepcopy(model).eval()
    with torch.no_grad():
        for name in changed:
            twin.get_parameter(name).copy_(reset[name])
    twin.train()
    first, second = sgd(twin, 0.2, weight_decay=0.01), sgd(twin, 0.1, weight_decay=0.02)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(second, 2)

    def softened(x):
        return F.softmax(teacher(x).detach() / 3, 1), twin(x)

    for x, _ in batches("val", 8) * 2:
        q, outputs = softened(x)
        descend(first, (q * (q.log() - F.log_softmax(outputs / 3, 1))).sum(1).mean())
    for _ in range(2):
        for x, y in batches("retain", 8):
            q, outputs = softened(x)
            logs = F.log_softmax(outputs / 3, 1)
            descend(
                second, -(q * logs).sum(1).mean() + F.cross_entropy(outputs, y) + (q * (q.log() - logs)).sum(1).mean()
            )
        cosine.step()
    hyper = {
        "unlearn_epochs": 2,
        "distil_epochs": 2,
        "unlearn_lr": 0.1,
        "distil_lr": 0.2,
        "weight_decay": 0.02,
        "distil_weight_decay": 0.01,
    }
    close(run("KDE", model, batch_size=8, temperature=3.0, **hyper), twin.state_dict(), 1e-5)


def test_repeated_noise(model, monkeypatch):
    monkeypatch.setattr("unlearn.methods.rni.SELECTED", 4)
    draws, norms = (
        Draws(2),
        {f"{layer}.{own}" for layer in ("bn1", "layer1.1", "layer2.1") for own in ("weight", "bias")},
    )
    ordinary = [name for name, _ in model.named_parameters() if name not in norms]
    assert len(ordinary) == 7
    expected = jump("RNI", model, unlearn_epochs=1, fine_epochs=1)  # the head is new, nothing else changes
    assert {
        k
        for k in expected
        if k in dict(model.named_parameters()) and not torch.equal(expected[k], model.state_dict()[k])
    } == {"fc.weight", "fc.bias"}
    found = jump("RNI", model, unlearn_epochs=5, fine_epochs=1, reset_epochs=1, noise_ratio=0.5, noise_std=0.5)
    selected = [draws.pick(ordinary, 4, "selected", epoch) for epoch in range(4)]
    noisy = [[]] + [draws.pick(selected[epoch], 2, "noisy", epoch) for epoch in (1, 2, 3)]
    added = 0
    for epoch in range(4):
        for name in noisy[epoch]:
            if not any(name in chosen for chosen in selected[:epoch]):
                expected[name] = expected[name] + 0.5 * draws.normal(name, expected[name], "noise", epoch)
                added += 1
    assert added >= 1
    close({k: v for k, v in found.items() if k in ordinary}, {k: expected[k] for k in ordinary}, 1e-6)


def test_who_trains_under_repeated_noise(model, monkeypatch):
    monkeypatch.setattr("unlearn.methods.rni.SELECTED", 2)
    hyper = {"unlearn_epochs": 1, "batch_size": 32, "fine_epochs": 0, "weight_decay": 0.0, "momentum": 0.0}
    still, moved = jump("RNI", model, **hyper), run("RNI", model, unlearn_lr=0.1, **hyper)
    names = {name for name, _ in model.named_parameters() if not torch.equal(still[name], moved[name])}
    norms = {f"{layer}.{own}" for layer in ("bn1", "layer1.1", "layer2.1") for own in ("weight", "bias")}
    ordinary = [name for name, _ in model.named_parameters() if name not in norms]
    assert names == norms | set(Draws(2).pick(ordinary, 2, "selected", 0)) - {
        "layer1.0.bias",
        "layer2.0.bias",
    }  # before batch norm biases have no gradient
    assert layers.norm_parameters(model, by_name=True) == {"bn1.weight", "bn1.bias"}
    twin = copy.deepcopy(model)
    twin.load_state_dict(jump("RNI", model, unlearn_epochs=2, fine_epochs=2))
    for layer, old in zip(twin.modules(), model.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.load_state_dict(old.state_dict())
    twin.train()
    for lr in (0.1, 0.05):  # an optimiser of its own for every epoch
        descend(
            sgd(twin, lr, weight_decay=0.01),
            F.cross_entropy(twin(next(SETS["retain"].batches(99))[0]), SETS["retain"].labels),
        )
    close(
        run("RNI", model, unlearn_epochs=2, fine_epochs=2, batch_size=32, fine_lr=(0.1, 0.05), fine_weight_decay=0.01),
        twin.state_dict(),
        1e-5,
    )


# --- what holds for all of them ---

QUICK = {
    "unlearn_epochs": 2,
    "unlearn_lr": 0.05,
    "batch_size": 8,
    "max_steps": 1,
    "lr_decay_rate": 0.5,
    "distil_epochs": 1,
    "distil_lr": 0.05,
    "forget_batch_size": 4,
    "fine_epochs": 1,
    "fine_lr": (0.05,),
    "erase_lr": 0.05,
    "contrast_lr": 0.05,
    "contrast_floor": 1e-6,
    "reset_epochs": 0,
}


def quick(name: str, **more) -> dict:
    known = registry.get(name).config.__dataclass_fields__
    return {
        key: value
        for key, value in {
            **QUICK,
            **({"unlearn_epochs": 3} if name in ("RNI", "CF-k", "EU-k") else {}),
            **more,
        }.items()
        if key in known
    }


class Killed(BaseException):
    """As abrupt as a signal."""


@pytest.mark.parametrize("name", [*OURS, "FT"])
def test_a_killed_run_ends_in_the_same_bytes(name, model, mask, tmp_path, monkeypatch):
    method = registry.get(name)
    shuffled = {key: ImageSet(s.images, s._labels, None, Augment(1)) for key, s in SETS.items()}

    def unlearn(progress: Progress) -> dict[str, torch.Tensor]:
        torch.manual_seed(len(list(tmp_path.iterdir())))  # whatever else was drawn before
        return apply(
            method, model, shuffled, method.config(**quick(name, no_aug=False)), context(mask, progress=progress)
        ).model.state_dict()

    whole, saves, original = unlearn(Progress()), [], Progress.save
    monkeypatch.setattr(Progress, "save", lambda self, **state: saves.append(original(self, **state)))
    unlearn(Progress(tmp_path / "all", "x"))
    for stop in range(1, len(saves) + 1):
        left = [stop]

        def dies(self, left=left, **state):
            original(self, **state)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(Progress, "save", dies)
        with pytest.raises(Killed):
            unlearn(Progress(tmp_path / str(stop), "x"))
        monkeypatch.setattr(Progress, "save", original)
        again = unlearn(Progress(tmp_path / str(stop), "x"))
        assert all(torch.equal(again[key], value) for key, value in whole.items()), f"after save {stop}"
    assert len(saves) >= 2


def searched(name: str) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(registry.get(name).config) if field.metadata["search"] is not None]


def test_search_ranges_lie_within_what_the_flags_allow():
    seen = set()
    for name in registry.names():
        for field in searched(name):
            meta, range_ = field.metadata, field.metadata["search"]
            seen.add(field.name)
            values = range_ if isinstance(range_, list) else range_[:2]
            assert all(
                value >= (meta["low"] or 0) and value <= (math.inf if meta["high"] is None else meta["high"])
                for value in values
            ), (name, field.name)
            if isinstance(range_, tuple):
                assert (
                    range_[2] in ("log", "linear")
                    and range_[0] < range_[1]
                    and (range_[2] == "linear" or range_[0] > 0)
                )
    assert {"unlearn_lr", "alpha", "init_rate", "prune_amount", "noise_std", "temperature", "blocks", "anchor"} <= seen
    own = {name: {field.name for field in searched(name)} for name in OURS}
    assert own["NG+"] == {"unlearn_epochs", "unlearn_lr", "batch_size", "weight_decay", "alpha"}
    assert own["CF-k"] == {"unlearn_epochs", "unlearn_lr", "batch_size", "blocks", "anchor", "lr_decay_rate"}


@pytest.mark.parametrize("name", OURS)
def test_the_references_names_are_aliases(name):
    aliases = {
        "NG+": "neggradplus",
        "SRL": "successive_random_labels",
        "BT": "bad_teacher",
        "SCRUB": "scrubv2",
        "CF-k": "cfk",
        "EU-k": "euk",
        "FCS": "kgltop1",
        "MSG": "kgltop2",
        "CFW": "kgltop3",
        "PRMQ": "kgltop4",
        "CT": "kgltop5",
        "KDE": "kgltop6",
        "RNI": "kgltop7",
    }
    assert registry.get(aliases[name]).name == name
    assert registry.get(name).presets["deepunlearn"] == {}


def test_every_reference_finds_its_own_methods():
    benchmark = [
        "original",
        "naive",
        "finetune",
        "gradient_ascent",
        "successive_random_labels",
        "neggradplus",
        "cfk",
        "euk",
        "scrubv2",
        "bad_teacher",
        "salun",
        "influence",
        *(f"kgltop{place}" for place in range(1, 8)),
        "FF",
    ]
    assert all(
        "deepunlearn" in registry.get(name).presets for name in benchmark
    )  # its name for FF, fisher, is Unlearn-Sparse's for another method
    drivers = {
        "Baseline": "raw",
        "Retrain": "retrain",
        "Finetune": "FT",
        "GradAscent": "GA",
        "BadTeacher": "BT",
        "RandomLabel": "RL",
        "SCRUB": "SCRUB",
        "SalUn": "SalUn",
        "SFRon": "SFRon",
    }
    assert {name: registry.get(name).name for name in drivers} == drivers
    salun = registry.get("SalUn")
    config = salun.config(**salun.preset("deepunlearn"))
    assert (config.unlearn_lr, config.momentum, config.weight_decay, config.saliency_threshold, config.no_aug) == (
        0.01,
        0.0,
        0.0,
        0.5,
        True,
    )


def mean_loss(model: nn.Module, state: dict[str, torch.Tensor], part: str) -> float:
    twin = copy.deepcopy(model).eval()
    twin.load_state_dict(state)
    with torch.no_grad():
        return float(F.cross_entropy(twin(next(SETS[part].batches(99))[0]), SETS[part].labels))


@pytest.mark.parametrize("name", ["BT", "FCS", "NG+", "SCRUB", "SRL"])
def test_the_forget_loss_rises(name, model):
    learn(model, 40)
    before = mean_loss(model, model.state_dict(), "forget")
    more = {
        "NG+": {"alpha": 0.5, "forget_batch_size": None},
        "BT": {"optimizer": "sgd"},
        "SCRUB": {"unlearn_lr": 0.5, "max_steps": 3},
        "FCS": {"temperature": 1.0},
    }.get(name, {})
    after = mean_loss(model, run(name, model, compat="reference", **quick(name, unlearn_epochs=3, **more)), "forget")
    assert before < 0.1 and after > before + 0.3


@pytest.mark.parametrize("name", ["CF-k", "CFW", "CT", "EU-k", "KDE", "MSG", "PRMQ", "RNI"])
def test_the_retain_loss_falls_after_the_jump(name, model):
    hyper = quick(
        name,
        **(
            {"unlearn_epochs": 25, "unlearn_lr": 0.1, "lr_decay_rate": 1.0} if name == "EU-k" else {"unlearn_epochs": 6}
        ),
    )
    before, after = (
        jump(name, model, **{key: value for key, value in hyper.items() if not key.endswith("_lr")}),
        run(name, model, **hyper),
    )
    assert mean_loss(model, after, "retain") < mean_loss(model, before, "retain") - 1e-3


# --- sets ---


def test_relabelled_and_joined_sets():
    store = images(10, 5)
    first, second = store.at(torch.tensor([1, 3, 5])), store.at(torch.tensor([0, 9]))
    changed = second.relabelled(torch.tensor([2, 1]))
    joined = union(changed, first)
    assert joined.labels.tolist() == [2, 1, 1, 0, 2] and joined.source is store.images
    assert second.labels.tolist() == [0, 0] and store.labels.tolist() == [i % 3 for i in range(10)]
    apart = union(images(2, 6).relabelled(torch.tensor([1, 1])), first)
    assert apart.labels.tolist() == [1, 1, 1, 0, 2]
    pixels, labels = next(apart.batches(9))
    assert labels.tolist() == [1, 1, 1, 0, 2] and torch.equal(pixels[3] * 255, store.images[3].float())


def test_sets_in_order():
    store = ImageSet(images(10, 5).images, torch.arange(10), None, Augment(1))
    assert [y for _, labels in store.batches(4, 1) for y in labels.tolist()] != list(range(10))
    for kept in (
        store.in_order(),
        store.in_order().plain(),
        store.in_order().first(10),
        store.in_order().at(np.arange(10)),
    ):
        assert [y for _, labels in kept.batches(4, 1) for y in labels.tolist()] == list(range(10))


def test_pairs_by_hand():
    first, second = (ImageSet(images(n, 5).images, torch.arange(n)) for n in (7, 3))
    rounds = [[labels.tolist() for labels in pair] for _, pair in Paired(first, second, 2).batches(3)]
    assert rounds == [[[0, 1, 2], [0, 1]], [[3, 4, 5], [2]], [[6], [0, 1]]]
    assert [[y.tolist() for y in pair] for _, pair in Paired(second, first, 3, cycle=False).batches(1)] == [
        [[0], [0, 1, 2]],
        [[1], [3, 4, 5]],
        [[2], [6]],
    ]
    assert (
        Paired(first, second, 2).sizes(3) == [1] * 3
        and Paired(first, second, 2, cycle=False).sizes(3) == [1] * 2
        and Paired(first, second, 3, cycle=False).sizes(1) == [1] * 1
    )
    shuffled, others = (
        [[y.tolist() for y in pair] for _, pair in Paired(first, first, 4).batches(1, seed)] for seed in (4, 5)
    )
    assert sorted(y for pair in shuffled for y in pair[0]) == list(range(7)) and shuffled != others
    assert sorted(shuffled[0][1] + shuffled[1][1]) == list(range(7)) and [pair[1] for pair in shuffled[2:4]] == [
        pair[1] for pair in shuffled[:2]
    ]
    assert [pair[0][0] for pair in shuffled] != shuffled[0][1] + shuffled[1][1], "each set in an order of its own"


def test_marks_tell_the_sets_apart():
    first, second = images(7, 5), images(4, 6)
    seen = []
    for x, (labels, marks) in Marked(first, second, CLASSES).batches(3, 8):
        for pixels, label, mark in zip(x, labels.tolist(), marks.tolist()):
            source = second if mark else first
            [position] = [i for i in range(len(source)) if torch.equal(source.images[i].float() / 255, pixels)]
            assert label == position % 3
            seen.append((mark, position))
    assert sorted(seen) == [(False, i) for i in range(7)] + [(True, i) for i in range(4)] != seen


# --- draws, labels, distillation ---


def test_random_labels():
    labels, task = torch.arange(30_000) % 10, Classification(10)
    drawn = task.wrong_targets(labels, 5, exclude_true=False)
    assert drawn.dtype == torch.int64 and torch.equal(drawn, task.wrong_targets(labels, 5, exclude_true=False))
    assert not torch.equal(drawn, task.wrong_targets(labels, 6, exclude_true=False))
    assert all(abs(int(count) - 3000) < 300 for count in torch.bincount(drawn, minlength=10))
    assert abs(float((drawn == labels).float().mean()) - 0.1) < 0.01
    wrong = task.wrong_targets(labels, 5)
    assert not (wrong == labels).any() and all(
        abs(int(count) - 3000 / 9) < 120 for count in torch.bincount(((wrong - labels) % 10), minlength=10)[1:] / 9
    )


def test_draws_depend_on_purpose_and_name_alone():
    like = torch.zeros(4000)
    draws = Draws(3)
    first = draws.normal("a", like, "noise", 1)
    draws.uniform("b", like, "more")
    assert torch.equal(first, draws.normal("a", like, "noise", 1))
    assert not any(
        torch.equal(first, other)
        for other in (
            draws.normal("b", like, "noise", 1),
            draws.normal("a", like, "noise", 2),
            Draws(4).normal("a", like, "noise", 1),
        )
    )
    assert (
        abs(float(first.std()) - 1) < 0.05
        and 0 <= float(draws.uniform("a", like, "x").min()) < float(draws.uniform("a", like, "x").max()) < 1
    )
    names = [f"p{number}" for number in range(30)]
    picked = draws.pick(names, 9, "selected", 0)
    assert (
        len(set(picked)) == 9
        and picked == [name for name in names if name in picked]
        and draws.pick(names, 99, "selected", 0) == names
    )


def test_an_untrained_network_shares_nothing_with_the_trained_one(model):
    fresh = Draws(3).network(model, "bad teacher")
    same = {name for name, p in fresh.named_parameters() if torch.equal(p, model.get_parameter(name))}
    assert same == {
        f"{layer}.{own}" for layer in ("bn1", "layer1.1", "layer2.1") for own in ("weight", "bias")
    }  # still what they began as
    assert fresh.bn1.running_mean.tolist() == [0] * 4 != model.bn1.running_mean.tolist()
    again = Draws(3).network(model, "bad teacher")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in fresh.state_dict().items())
    vit = models.build("vit_tiny", 3, size=8)
    renewed = Draws(3).network(vit, "x")
    kept = [name for name, p in renewed.named_parameters() if p.ndim > 1 and torch.equal(p, vit.get_parameter(name))]
    assert kept == [] and float(renewed.encoder.pos_embedding.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_distillation_losses_by_hand():
    teacher, student = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])

    def kl(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q))

    def softened(logits, temperature):
        weights = [math.exp(value / temperature) for value in logits]
        return [weight / sum(weights) for weight in weights]

    for temperature in (1.0, 2.5):
        expected = (
            sum(
                kl(softened(t, temperature), softened(s, temperature))
                for t, s in zip(teacher.tolist(), student.tolist())
            )
            / 2
        )
        assert float(distill.distillation(teacher, student, temperature)) == pytest.approx(expected, rel=1e-5)
    expected = sum(kl([0.5, 0.5], softened(row, 1)) for row in teacher.tolist()) / 2
    assert float(distill.from_uniform(teacher)) == pytest.approx(expected, rel=1e-5)
    assert distill.entropy(torch.tensor([[0.0, 0.0, 0.0, 0.0], [99.0, 0.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [math.log(4), 0], abs=1e-6
    )


# --- layers ---


@pytest.mark.parametrize("arch, expected", [
    ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
    ("resnet50", ["layer1", "layer2", "layer3", "layer4"]),
    ("resnet20s", ["layer1", "layer2", "layer3"]),
    ("swin_t", ["stage1", "stage2", "stage3", "stage4"]),
    ("vit_tiny", [f"encoder.layers.encoder_layer_{number}" for number in range(12)]),
    ("vgg16_bn_lth", [f"features.{number}" for number in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)]),
])  # fmt: skip
def test_blocks(arch, expected):
    model = models.blank(arch, 10, 32)
    assert layers.blocks(model) == expected
    head = {"swin_t": "mlp_head.1", "vit_tiny": "heads.head", "vgg16_bn_lth": "classifier"}.get(arch, "fc")
    last = set(layers.parameter_names(layers.tail(model, 1)))
    assert f"{head}.weight" in last and last == {
        n
        for n, _ in model.named_parameters()
        if n.startswith((f"{expected[-1]}.", "features.41.", "encoder.ln.", head.split(".")[0]))
    }
    every = set(layers.parameter_names(layers.tail(model, 99)))
    stem, _ = layers.stem(model)
    assert (f"{stem}.weight" in every) == (arch in ("swin_t", "vgg16_bn_lth")), (
        "what comes before the first block stays"
    )
    assert models.named_head(model)[0] == head


def test_blocks_of_a_model_without_numbered_parts():
    plain = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "bn": nn.BatchNorm2d(4), "fc": nn.Linear(4, 3)})
    assert layers.blocks(plain) == ["conv"] and set(layers.tail(plain, 1)) == {"conv", "bn", "fc"}
    assert set(layers.tail(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 1)) == {"1"}


def test_what_is_outside_of_the_last_blocks(model):
    blocks = layers.tail(model, 1)
    assert set(blocks) == {"layer2", "layer2.0", "layer2.1", "layer2.2", "fc"}
    assert layers.outside(model, blocks) == [model.conv1, model.bn1, model.layer1, *model.layer1]
    model.train()
    training = Training(model, Recipe(1, 0.1, batch_size=8), {}, eval_modules=layers.outside(model, blocks))
    before = copy.deepcopy(model.state_dict())
    list(training.run(SETS["retain"], 1, Classification().mean))
    same = {key for key, value in model.state_dict().items() if "running" in key and torch.equal(value, before[key])}
    assert same == {f"{layer}.running_{kind}" for layer in ("bn1", "layer1.1") for kind in ("mean", "var")}


# --- the loop ---


def test_further_step_sizes_by_hand(model):
    def sizes(epochs, schedule, size=32, **more):
        return step_sizes(Recipe(epochs, 0.6, schedule=schedule, batch_size=size, **more), model, SETS["retain"])

    assert sizes(5, "triangle") == pytest.approx([0.2, 0.4, 0.6, 0.4, 0.2])
    assert sizes(4, "triangle") == pytest.approx([0.3, 0.6, 0.4, 0.2])
    assert sizes(1, "triangle") == pytest.approx([0.6]) and sizes(2, "triangle") == pytest.approx([0.6, 0.3])
    assert sizes(10, "drops", decay=0.5) == pytest.approx([0.6] * 5 + [0.3] * 3 + [0.15] + [0.075])
    assert sizes(1, "drops") == pytest.approx([0.6])
    # half a cosine over two epochs of two steps, from 0.6 to 0.2
    assert sizes(2, "smooth", 11, floor=0.2) == pytest.approx([0.6, 0.4 + 0.2 * 0.5**0.5, 0.4, 0.4 - 0.2 * 0.5**0.5])
    assert len(sizes(3, "constant", 8, steps=7)) == 7


def test_passes_share_an_optimiser_or_have_their_own(model):
    seen = []

    def watch(name):
        def objective(model, batch):
            seen.append((name, batch.epoch, len(batch)))
            return Classification().mean(model, batch)

        return objective

    own = Recipe(2, 0.5, schedule="constant", batch_size=5)
    passes = [
        Pass(SETS["forget"], watch("a"), batch_size=9, epochs=1),
        Pass(lambda epoch: SETS["retain"].first(10 - 5 * epoch), watch("b"), own),
        Pass(SETS["retain"], watch("c"), batch_size=21),
    ]
    training = Training(model, Recipe(2, 0.1, batch_size=8), {})
    plan = training.passes(passes)
    logs = list(training.run(plan, 3))
    assert seen == [("a", 0, 9), ("b", 0, 5), ("b", 0, 5), ("c", 0, 21), ("b", 1, 5), ("c", 1, 21)]
    assert [log.lr for log in logs] == [0.1, 0.1]
    [own] = plan.state()["optimizers"]
    assert own["optimizer"]["param_groups"][0]["lr"] == 0.5
    assert not torch.equal(
        own["optimizer"]["state"][0]["momentum_buffer"], training.state()["optimizer"]["state"][0]["momentum_buffer"]
    )


# --- scores ---


def test_scores_by_hand():
    assert [closeness.indiscernibility(a) for a in (0.0, 0.25, 0.3, 0.5, 0.62, 0.9, 1.0)] == pytest.approx(
        [0, 0.5, 0.6, 1, 0.76, 0.2, 0]
    )
    assert [closeness.retention(*pair) for pair in ((0.5, 0.8), (0.91, 0.87), (1.0, 0.5))] == pytest.approx(
        [0.625, 1.0459770114942528, 2.0]
    )
    assert [closeness.sape(*pair) for pair in ((0.5, 0.8), (0.9, 0.3), (0.0, 0.2), (0.0, 0.0))] == pytest.approx(
        [0.23076923076923077, 0.5, 1.0, 0.0]
    )
    ours, retrained = (
        {"retain": 0.9, "forget": 0.5, "test": 0.4, "val": 0.1},
        {"retain": 1.0, "forget": 0.4, "test": 0.5, "val": 0.9},
    )
    assert closeness.retention_deviation(ours, retrained) == pytest.approx(0.1 + 0.25 + 0.2)
    assert closeness.retention_deviation(ours, ours) == 0


def test_the_attack_on_losses_step_by_step():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    random = np.random.default_rng(0)
    unseen, forgotten = random.exponential(1.5, 60), random.exponential(0.6, 45)
    shuffler = np.random.RandomState(123)
    parts = [unseen.copy(), forgotten.copy()]
    for part in parts:
        shuffler.shuffle(part)
    column, kind = np.concatenate([part[:45] for part in parts])[:, None], np.array([1] * 45 + [0] * 45)
    expected = []
    for train, test in StratifiedShuffleSplit(10, random_state=123).split(column, kind):
        judge = LogisticRegression().fit(column[train], kind[train])
        expected.append(float((judge.predict(column[test]) == kind[test]).mean()))
    found = deepunlearn.loss_attack(unseen, forgotten)
    assert found == pytest.approx(expected) and len(found) == 10 and 0.5 < np.mean(found) < 0.9
    assert np.mean(deepunlearn.loss_attack(unseen, unseen + 50)) == 1.0
    assert deepunlearn.loss_attack(unseen[:5], forgotten) == []


def drawn(count: int, seed: int, pull: float = 0.0) -> Predictions:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=random)
    return Predictions(torch.randn(count, 3, generator=random) + pull * F.one_hot(labels, 3), labels)


def test_the_attack_is_in_the_result_and_on_unseen_images_alone():
    outputs = {"retain": drawn(50, 0, 3.0), "forget": drawn(30, 1, 3.0), "val": drawn(25, 2), "test": drawn(5, 3)}
    found = run_scores.score(outputs, "fixed")["deepunlearn"]
    losses = [
        -F.log_softmax(outputs[name].logits, 1)[range(len(outputs[name])), outputs[name].labels].numpy()
        for name in ("val", "forget")
    ]
    mean = float(np.mean(deepunlearn.loss_attack(*losses)))
    assert found == {
        "val": {"attack": pytest.approx(mean), "indiscernibility": pytest.approx(1 - abs(2 * mean - 1))},
        "test": {"attack": None, "indiscernibility": None},
    }
    assert set(run_scores.score(outputs, "fixed", trained_on_val=True)["deepunlearn"]) == {"test"}
    assert [name for name in registry.names() if registry.get(name).trains_on_val] == ["KDE"]


# --- the command line ---


def checkpoint(path):
    torch.save({"state_dict": models.build("resnet20s", 10).state_dict()}, path)
    return path


def hyper_of(argv, capsys) -> dict:
    assert main_forget.main([*argv, "--dry_run", "json"]) == 0
    return json.loads(capsys.readouterr().out)["hyper"]


def test_presets(tmp_path, capsys):
    start = [*DIGITS, "--mask", str(checkpoint(tmp_path / "m.pt")), "--save_dir", str(tmp_path / "run")]
    plain, preset = (hyper_of([*start, "--unlearn", "FT", *more], capsys) for more in ([], ["--preset", "deepunlearn"]))
    assert {key for key in plain if plain[key] != preset[key]} == {"unlearn_epochs", "unlearn_lr", "schedule", "no_aug"}
    assert (preset["unlearn_epochs"], preset["unlearn_lr"], preset["schedule"], preset["no_aug"]) == (
        5,
        0.1,
        "cosine",
        True,
    )
    typed = hyper_of(
        [*start, "--unlearn", "FT", "--preset", "deepunlearn", "--unlearn_lr", "0.3", "--no_aug", "false"], capsys
    )
    assert (typed["unlearn_lr"], typed["no_aug"], typed["unlearn_epochs"]) == (0.3, False, 5)
    fisher = hyper_of([*start, "--unlearn", "FF", "--preset", "deepunlearn"], capsys)
    assert fisher == {"alpha": 0.2, "fisher_batch_size": 64, "keep_rows": True, "no_aug": True, "amp": False}
    assert main_forget.main([*start, "--unlearn", "FT_l1", "--preset", "deepunlearn"]) == 2
    assert "--preset deepunlearn: FT_l1 has no such preset; it has: none" in capsys.readouterr().err
    assert main_forget.main([*start, "--unlearn", "FT", "--no_aug", "maybe"]) == 2
    assert "--no_aug maybe: must be true or false" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_step_sizes_of_transformers_are_a_hundredth_and_schedules_stay(tmp_path, capsys):
    start = [*"--dataset digits --input_size 8 --arch vit_tiny --device cpu --save_dir".split(), str(tmp_path)]
    torch.save({"state_dict": models.build("vit_tiny", 10, size=8).state_dict()}, tmp_path / "m.pt")
    start += ["--mask", str(tmp_path / "m.pt")]
    fcs = hyper_of([*start, "--unlearn", "FCS"], capsys)
    assert (
        fcs["erase_lr"] == pytest.approx(5e-5)
        and fcs["contrast_lr"] == pytest.approx(3e-6)
        and fcs["optimizer"] == "adamw"
        and fcs["schedule"] == "constant"
    )
    rni = hyper_of([*start, "--unlearn", "RNI"], capsys)
    assert rni["fine_lr"][:2] == pytest.approx([2e-6, 2e-6]) and rni["weight_decay"] == 0.05
    assert hyper_of([*start, "--unlearn", "NG+"], capsys)["weight_decay"] == 0.0
    assert hyper_of([*start, "--unlearn", "FT"], capsys)["schedule"] == "cosine"
    assert hyper_of([*start, "--unlearn", "RNI", "--fine_lr", "0.1,0.2"], capsys)["fine_lr"] == [0.1, 0.2]


def test_methods_that_train_on_validation_images_need_a_part_of_their_own(tmp_path, capsys):
    command = "--dataset cifar10_no_val --arch resnet20s --device cpu".split()
    command += ["--save_dir", str(tmp_path / "run"), "--mask", str(checkpoint(tmp_path / "m.pt"))]
    assert main_forget.main([*command, "--unlearn", "KDE"]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "--unlearn KDE: trains on validation images, and --dataset cifar10_no_val has none but the test images"
        in error
    )
    assert main_forget.main([*command, "--unlearn", "CT", "--dry_run", "json"]) == 0
    assert main_backdoor.main([*command, "--unlearn", "KDE"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--unlearn KDE: trains on validation images" in error
    kde, folder, tiny = registry.get("KDE"), catalog.get("folder"), catalog.get("TinyImagenet")
    with pytest.raises(UsageError, match="--dataset folder has too few training images for a tenth of any class; give"):
        check_validation(kde, prepare.DatasetInfo(folder, tmp_path, None, [9, 9], None))
    check_validation(kde, prepare.DatasetInfo(folder, tmp_path, None, [9, 10], None))
    some = (np.array([b"a"]), np.array([0]))
    check_validation(kde, prepare.DatasetInfo(tiny, tmp_path, None, [9, 9], tree.Listing(("a", "b"), some, some, some)))
    check_validation(registry.get("CT"), prepare.DatasetInfo(folder, tmp_path, None, [9, 9], None))


def test_an_empty_list_of_numbers_is_refused(tmp_path, capsys):
    command = [
        "--dataset",
        "digits",
        "--mask",
        "m.pt",
        "--unlearn",
        "RNI",
        "--save_dir",
        str(tmp_path / "run"),
        "--fine_lr",
    ]
    for text in ("", ","):
        assert main_forget.main([*command, text]) == 2
        assert f"--fine_lr {text}: must have at least one value" in capsys.readouterr().err


def test_another_methods_hyperparameter_is_refused_and_shared_ones_are_not(tmp_path, capsys):
    command = ["--dataset", "digits", "--mask", "m.pt", "--save_dir", str(tmp_path / "run"), "--unlearn"]
    for words, message in (
        (
            ["SRL", "--saliency_mask", "nowhere.pt"],
            "--saliency_mask: --unlearn SRL does not read it; boundary_expanding, boundary_shrink, FT, ",
        ),
        (["SFRon", "--saliency_threshold", "0.5"], "--saliency_threshold: --unlearn SFRon does not read it; "),
        (["NG+", "--init_rate", "0.5"], "--init_rate: --unlearn NG+ does not read it; MSG does\n"),
    ):
        for script in (main_forget, main_backdoor):
            assert script.main([*command, *words]) == 2
            assert message in capsys.readouterr().err
    shared = [
        "--unlearn_lr",
        "0.1",
        "--alpha",
        "0.2",
        "--no_l1_epochs",
        "1",
        "--schedule",
        "cosine",
        "--max_norm",
        "1",
        "--lora_rank",
        "4",
    ]
    assert set(arg_parser.parse_forget([*command, "fisher", *shared]).unread) == {
        word for word in shared if word.startswith("--") and word != "--alpha"
    }
    assert not (tmp_path / "run").exists()


def test_help_names_the_defaults_for_transformers(capsys):
    def helped(name: str) -> str:
        with pytest.raises(SystemExit):
            main_forget.main(["--unlearn", name, "--help"])
        return " ".join(capsys.readouterr().out.split())

    assert "step size (0.01; 0.0001 for transformers)" in helped(
        "FT"
    ) and "weight decay (0.0005; 0.05 for transformers)" in helped("FT")
    assert "(step; cosine for transformers)" in helped("FT") and "--lora " in helped("FT")
    assert "weight decay (0)" in helped("NG+") and "cosine for transformers" not in helped("NG+")
    assert "step size there (0.0009; 9e-06 for transformers)" in helped("KDE") and "--lora" not in helped("KDE")
    with pytest.raises(SystemExit):
        main_imp.main(["--help", "all"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "step size (0.1; 0.001 for transformers)" in text
        and "grows linearly (0; a twentieth of --epochs for transformers)" in text
    )


@pytest.mark.parametrize("script", [main_backdoor, main_transfer])
def test_other_scripts_show_the_flags_of_one_method_too(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--unlearn", "SCRUB", "--help"])
    own = capsys.readouterr().out.split("hyper-parameters of SCRUB")[1]
    assert "--temperature FLOAT" in own and "--init_rate" not in own and "SCRUB (SCRUB, also scrubv2" in own


@pytest.mark.parametrize("argv", [["--unlearn", "kgltop2", "--help"], ["--help", "--unlearn=MSG"]])
def test_help_of_one_method_shows_its_flags_alone_and_needs_no_torch(argv):
    code = (
        f"import sys; sys.argv = ['main_forget.py', *{argv!r}]\nimport main_forget\ntry:\n    "
        "main_forget.main()\nfinally:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    usage, text = done.stdout.split("options:")
    flags = {line.split()[0].rstrip(",") for line in text.splitlines() if line.strip().startswith("--")}
    own = text[text.index("hyper-parameters of MSG") :]
    assert {line.split()[0].removeprefix("--") for line in own.splitlines() if line.startswith("  --")} == set(
        registry.get("MSG").config.__dataclass_fields__
    )
    assert (
        "--init_rate FLOAT" in own
        and "(0.3)" in own
        and "triangle)" in " ".join(own.split())
        and "--alpha" not in flags
    )
    assert "MSG (MSG, also kgltop2): masked small gradients" in own
