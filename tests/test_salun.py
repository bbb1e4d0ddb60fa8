"""SalUn's family and SFR-on against slow and obvious versions of themselves; saliency masks; distances to the
retrained model.
"""

from __future__ import annotations

import copy
import itertools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, RUN_FILES, recorded
from test_methods import CLASSES, SETS, Tiny, close, context, images, mask, model  # noqa: F401  (two are fixtures)
from torch import nn

import arg_parser
import main_forget
import main_saliency
import models
import pruner
from dataset.combined import Chain, endless, union
from dataset.images import Augment, ImageSet
from evaluation import closeness, divergence, mia
from evaluation.predict import Predictions
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Batch, Classification
from unlearn import fast_slow, registry, saliency, wrong_targets
from unlearn.apply import apply
from unlearn.context import Progress
from unlearn.methods import boundary_shrink
from utils import files
from utils.errors import RunError, UsageError

pytestmark = pytest.mark.numeric

FAMILY = ["RL", "SalUn", "boundary_shrink", "boundary_expanding", "SFRon"]
SALIENT = ["FT", "FT_l1", "FT_prune", "GA", "GA_l1", "RL", "SalUn", "boundary_shrink", "boundary_expanding"]


def run(name, model, where, **hyper):
    method = registry.get(name)
    return apply(
        method, model, SETS, method.config(**{"unlearn_epochs": 2, "batch_size": 8, "unlearn_lr": 0.05, **hyper}), where
    ).model


def parameters(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def half(model, seed=0):
    """A saliency mask with about half of the weights of every tensor, and at least one either way."""
    torch.manual_seed(seed)
    only = {name: torch.rand(value.shape) < 0.5 for name, value in parameters(model).items()}
    for value in only.values():
        value.view(-1)[0], value.view(-1)[-1] = True, False
    return only


# ---- labels and sets ------------------------------------------------------------------------------


def test_random_labels_are_uniform_over_all_classes_or_over_the_others():
    true, task = torch.arange(30_000) % 5, Classification(5)
    drawn, wrong = task.wrong_targets(true, 1, exclude_true=False), task.wrong_targets(true, 1)
    assert drawn.dtype == wrong.dtype == torch.int64
    assert torch.allclose(
        torch.bincount(drawn, minlength=5) / 30_000, torch.full((5,), 0.2), atol=0.012
    )  # 5 standard deviations
    assert abs(float((drawn == true).double().mean()) - 0.2) < 0.012
    assert not bool((wrong == true).any())
    for label in range(5):
        others = torch.bincount(wrong[true == label], minlength=5) / 6000
        assert torch.allclose(others, torch.where(torch.arange(5) == label, 0.0, 0.25), atol=0.028)
    assert torch.equal(wrong, task.wrong_targets(true, 1)) and not torch.equal(wrong, task.wrong_targets(true, 2))


def test_relabelling_leaves_the_store_alone():
    store = images(6, 4)
    part = store.at([4, 1, 5])
    before = store.labels.clone()
    changed = part.relabelled(torch.tensor([7, 8, 9]))
    assert changed.labels.tolist() == [7, 8, 9] and changed.images is store.images
    assert torch.equal(store.labels, before) and torch.equal(part.labels, before[[4, 1, 5]])
    assert [labels.tolist() for _, labels in changed.batches(2)] == [[7, 8], [9]]


def test_a_chain_passes_over_one_set_after_the_other():
    first, second = images(5, 1), images(3, 2)
    chain = Chain(first.relabelled(torch.arange(5)), second.relabelled(torch.arange(10, 13)))
    assert len(chain) == 8 and chain.sizes(2) == [2, 2, 1, 2, 1]
    labels = [batch.tolist() for _, batch in chain.batches(2, 9)]
    assert [len(batch) for batch in labels] == chain.sizes(2)
    assert sorted(sum(labels[:3], [])) == [0, 1, 2, 3, 4] and sorted(sum(labels[3:], [])) == [10, 11, 12]


@pytest.mark.parametrize("one_store", [True, False])
def test_a_union_holds_the_images_and_labels_of_both(one_store):
    store = images(8, 1)
    first, second = store.at([6, 0]), store.at([3, 7, 1]) if one_store else images(4, 2).at([2, 0, 3])
    both = union(first.relabelled(torch.tensor([11, 12])), second)
    assert both.labels.tolist() == [11, 12, *second.labels.tolist()]
    pixels = next(both.batches(9))[0]
    assert torch.equal(pixels, torch.cat([next(first.batches(9))[0], next(second.batches(9))[0]]))
    assert (both.images is store.images) == one_store


def test_endless_batches_can_be_taken_up_anywhere():
    numbered = images(5, 1).relabelled(torch.arange(5))
    whole = list(itertools.islice(endless(numbered, 2, 3), 9))
    assert [count for _, _, count in whole] == [2, 2, 1] * 3
    passes = [sum((labels.tolist() for _, labels, _ in whole[start : start + 3]), []) for start in (0, 3, 6)]
    assert all(sorted(found) == [0, 1, 2, 3, 4] for found in passes) and len(set(map(tuple, passes))) == 3
    for start in (1, 3, 5):
        assert [labels.tolist() for _, labels, _ in itertools.islice(endless(numbered, 2, 3, start), 3)] == [
            labels.tolist() for _, labels, _ in whole[start : start + 3]
        ]


# ---- saliency -------------------------------------------------------------------------------------


def slow_gradients(model, batches):
    """Gradients of every batch's mean loss, one flat vector for each batch."""
    found = []
    for pixels, labels in batches:
        model.zero_grad()
        F.cross_entropy(model.eval()(pixels), labels).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(found)


def flat(tensors):
    return torch.cat([value.flatten() for value in tensors.values()])


def test_gradient_saliency_is_that_of_the_whole_set_and_in_the_reference_of_batch_means(model):
    whole = slow_gradients(model, SETS["forget"].batches(9))[0].abs()
    assert torch.allclose(flat(saliency.gradient(model, SETS["forget"], 4, False, context({}))) / 9, whole, atol=1e-6)
    summed = (
        slow_gradients(model, SETS["forget"].batches(4)).sum(0).abs()
    )  # 4, 4 and 1 image: the last counts like the others
    found = flat(saliency.gradient(model, SETS["forget"], 4, False, context({}, "reference")))
    assert torch.allclose(found, summed, atol=1e-6)
    assert float((found / found.norm() - whole / whole.norm()).abs().max()) > 1e-3


def test_the_largest_are_counted_over_all_weights_that_are_not_pruned(model, mask):
    scores = saliency.gradient(model, SETS["forget"], 9, False, context(mask))
    weights = sum(p.numel() for p in model.parameters()) - 54
    before = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in scores.items()}
    for density in saliency.DENSITIES:
        only = saliency.largest(scores, density, mask)
        free = flat(only)
        assert int(free.sum()) == math.floor(density * weights)
        assert not bool((only["conv.weight"] & ~mask["conv.weight"]).any())
        assert all(bool(only[name][before[name]].all()) for name in only), "a higher density only adds"
        threshold = flat(scores)[free].min()
        assert int((flat(scores) > threshold).sum()) < int(free.sum()) + 1
        before = only
    assert all(torch.equal(only[name], mask.get(name, torch.ones_like(only[name]))) for name in only)
    dense = saliency.gradient(model, SETS["forget"], 9, False, context({}))
    ranked = flat(dense).argsort(descending=True)[:20]
    top = saliency.largest(dense, 20.5 / flat(dense).numel(), {})
    assert sorted(flat(top).nonzero().flatten().tolist()) == sorted(ranked.tolist())


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_fisher_ratio(compat, model):
    size = 1 if compat == "fixed" else 8
    above, below = (slow_gradients(model, SETS[name].batches(size)).square().mean(0) for name in ("forget", "retain"))
    found = flat(saliency.fisher_ratio(model, SETS["forget"], SETS["retain"], 8, False, context({}, compat)))
    expected = (above + 1e-15) / (below + 1e-15)
    assert torch.allclose(found, expected, rtol=2e-3)
    only = saliency.at_least(
        saliency.fisher_ratio(model, SETS["forget"], SETS["retain"], 8, False, context({}, compat)), 1.0, {}
    )
    assert torch.equal(flat(only), found >= 1) and 0 < int(flat(only).sum()) < found.numel()


def test_weights_without_any_information_have_ratio_one_and_pruned_ones_are_not_salient(model, mask):
    with torch.no_grad():
        model.fc.weight.zero_()  # nothing reaches the convolution
    ratio = saliency.fisher_ratio(model, SETS["forget"], SETS["retain"], 8, False, context(mask))
    assert torch.equal(ratio["conv.weight"], mask["conv.weight"].float())
    assert torch.equal(saliency.at_least(ratio, 1.0, mask)["conv.weight"], mask["conv.weight"])
    assert torch.equal(saliency.at_least(ratio, 0.0, mask)["conv.weight"], mask["conv.weight"])


def test_masks_go_through_a_file_and_others_are_refused(model, tmp_path):
    only = half(model)
    saliency.write(tmp_path / "ours.pt", only)
    stored = torch.load(tmp_path / "ours.pt")
    assert list(stored) == list(parameters(model)) and all(value.dtype == torch.bool for value in stored.values())
    torch.save(
        {name: value.long() for name, value in only.items()}, tmp_path / "theirs.pt"
    )  # the reference's are int64
    for name in ("ours.pt", "theirs.pt"):
        found = saliency.read(tmp_path / name, model)
        assert all(torch.equal(found[key], only[key]) for key in only)
    torch.save({name: value for name, value in only.items() if name != "bn.bias"}, tmp_path / "short.pt")
    with pytest.raises(
        UsageError,
        match=r"--saliency_mask .*short.pt: is no saliency mask of this model \(1 parameters differ; first: bn.bias\)",
    ):
        saliency.read(tmp_path / "short.pt", model)
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(UsageError, match="holds no tensors by name"):
        saliency.read(tmp_path / "list.pt", model)
    with pytest.raises(UsageError, match="nowhere.pt: no such file"):
        saliency.read(tmp_path / "nowhere.pt", model)


# ---- training under a saliency mask ---------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", SALIENT)
def test_weights_outside_are_held_to_the_bit_and_pruned_ones_stay_zero(name, optimizer, model, mask):
    where = context(mask)
    where.update_mask = half(model)
    lr = 0.05 if optimizer == "sgd" else 0.01
    after = parameters(run(name, model, where, unlearn_lr=lr, optimizer=optimizer, weight_decay=0.1))
    for key, start in parameters(model).items():
        start = start * mask[key] if key in mask else start
        free = where.update_mask[key] & mask.get(key, torch.ones_like(where.update_mask[key]))
        assert torch.equal(after[key][~free], start[~free]), key
        assert bool((after[key][free] != start[free]).all()), key


@pytest.mark.parametrize("outside", ["held", "drift", None])
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_what_becomes_of_the_other_weights(compat, outside, model):
    where = context({}, compat)
    where.update_mask = half(model)
    after = parameters(run("FT", model, where, weight_decay=0.1, saliency_outside=outside))
    key, start = "conv.weight", model.conv.weight.detach()
    rest = start[~where.update_mask[key]]
    if outside == "held" or (outside is None and compat == "fixed"):
        assert torch.equal(after[key][~where.update_mask[key]], rest)
        return
    # two epochs of three batches, no gradient: weight decay through momentum alone
    speed, size = 0.0, 1.0
    for _ in range(6):
        speed = 0.9 * speed + 0.1 * size
        size -= 0.05 * speed
    assert torch.allclose(after[key][~where.update_mask[key]], rest * size, rtol=1e-5)


def test_a_threshold_and_the_mask_it_stands_for_do_the_same(model, mask):
    scores = saliency.gradient(model_under(model, mask), SETS["forget"], 8, False, context(mask))
    where = context(mask)
    where.update_mask = saliency.largest(scores, 0.3, mask)
    by_file = run("GA", model, where, unlearn_lr=0.01)
    by_threshold = run("GA", model, context(mask), unlearn_lr=0.01, saliency_threshold=0.3)
    assert all(torch.equal(value, by_threshold.state_dict()[key]) for key, value in by_file.state_dict().items())
    plain = run("GA", model, context(mask), unlearn_lr=0.01)
    assert not torch.equal(plain.conv.weight, by_file.conv.weight)


def model_under(model, mask):
    twin = copy.deepcopy(model)
    pruner.MaskEnforcer(twin, mask)
    return twin


def test_salun_is_rl_under_the_mask_of_half_of_the_weights(model):
    salun = run("SalUn", model, context({})).state_dict()
    masked = run("RL", model, context({}), saliency_threshold=0.5).state_dict()
    plain = run("RL", model, context({})).state_dict()
    assert all(torch.equal(salun[key], masked[key]) for key in salun)
    assert any(not torch.equal(salun[key], plain[key]) for key in salun)


def test_clipping_and_eval_mode(model, mask):
    pixels, labels = next(SETS["retain"].batches(21))
    twin = model_under(model, mask).eval()
    F.cross_entropy(twin(pixels), labels).backward()
    gradients = {name: p.grad * mask[name] if name in mask else p.grad for name, p in twin.named_parameters()}
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    after = run(
        "FT",
        model,
        context(mask),
        unlearn_epochs=1,
        batch_size=21,
        momentum=0.0,
        weight_decay=0.0,
        max_norm=norm / 3,
        eval_mode=True,
    )
    for name, p in twin.named_parameters():
        assert torch.allclose(dict(after.named_parameters())[name], p - 0.05 * gradients[name] / 3, atol=1e-6), name
    assert torch.equal(after.bn.running_mean, model.bn.running_mean) and torch.equal(
        after.bn.num_batches_tracked, model.bn.num_batches_tracked
    )


# ---- random labels --------------------------------------------------------------------------------


def slow_training(model, mask, only, batches_of_epoch, epochs, objective, lr=0.05):
    """One SGD; gradients masked; after every step pruned weights go to zero and others outside of ``only`` back."""
    twin = model_under(model, mask)
    start = parameters(copy.deepcopy(twin))
    optimizer = torch.optim.SGD(twin.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        twin.train()
        for pixels, labels in batches_of_epoch(epoch):
            optimizer.zero_grad()
            objective(twin, pixels, labels).backward()
            optimizer.step()
            with torch.no_grad():
                for name, p in twin.named_parameters():
                    p.copy_(torch.where(only[name], p, start[name]) if only else p)
                    p.mul_(mask.get(name, torch.ones(1)))
    return twin.state_dict()


def cross_entropy(twin, pixels, labels):
    return F.cross_entropy(twin(pixels), labels)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("compat", "order"), [("fixed", None), ("reference", None), ("fixed", "alternate"), ("reference", "joint")]
)
def test_random_labels(compat, order, masked, model, mask, monkeypatch):
    joint = order == "joint" or (order is None and compat == "fixed")

    where = context(mask, compat)
    where.update_mask = half(model) if masked else None
    made = recorded(monkeypatch, ImageSet, "relabelled")
    found = run("RL", model, where, order=order, saliency_outside="held").state_dict()
    wrong = [one.labels[:9] for one in made[-2:]]  # the forget set's come first, whether the sets are joined or not
    true = SETS["forget"].labels
    assert not torch.equal(*wrong) and (compat == "reference" or not any(bool((one == true).any()) for one in wrong))

    def batches(epoch):
        relabelled = SETS["forget"].relabelled(wrong[epoch])
        if joint:
            yield from union(relabelled, SETS["retain"]).batches(8)
        else:
            yield from relabelled.batches(8)
            yield from SETS["retain"].batches(8)

    close(found, slow_training(model, mask, where.update_mask, batches, 2, cross_entropy))


def test_labels_are_drawn_anew_for_every_epoch_or_once(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        wrong_targets,
        "train",
        lambda model, sets, config, context, wrong: seen.append([wrong(epoch).tolist() for epoch in range(3)]),
    )
    for how in ("epoch", "once"):
        run("RL", model, context({}), relabel=how)
    assert len({tuple(labels) for labels in seen[0]}) == 3 and len({tuple(labels) for labels in seen[1]}) == 1
    assert seen[1][0] == seen[0][0]


def test_given_labels_are_learned(model):
    where = context({})
    given = (SETS["forget"].labels + 1) % CLASSES
    twin = copy.deepcopy(model)
    sets = type("Sets", (), SETS)
    config = registry.get("RL").config(unlearn_epochs=120, batch_size=30, unlearn_lr=0.2)

    @torch.no_grad()
    def loss():
        return float(F.cross_entropy(twin.eval()(next(SETS["forget"].batches(9))[0]), given))

    before = loss()
    wrong_targets.train(twin, sets, config, where, lambda epoch: given)
    assert loss() < before - 0.1


# ---- boundary shrink and expanding ----------------------------------------------------------------


class Linear(nn.Module):
    """Logits (2x, 2 - 2x, -9) of the mean pixel x: the boundary between the first two classes is at 1/2."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([2 * mean, 2 - 2 * mean, 0 * mean - 9], 1)


def grey(*values):
    return torch.stack([torch.full((3, 2, 2), value) for value in values])


def test_the_neighbour_across_the_boundary_by_hand():
    pixels, labels = grey(0.55, 0.45, 0.95, 0.02), torch.tensor([0, 1, 0, 1])
    # steps of 0.1 go to 0.45, 0.55, 0.85 and 0.12: the last two cross nothing
    assert boundary_shrink.neighbours(Linear(), pixels, labels, 0.1, "reference").tolist() == [1, 0, 0, 1]
    assert boundary_shrink.neighbours(Linear(), pixels, labels, 0.1, "fixed").tolist() == [1, 0, 1, 0]
    # an image that is misclassified at first stays a neighbour's
    assert boundary_shrink.neighbours(Linear(), grey(0.2), torch.tensor([0]), 0.1, "fixed").tolist() == [1]


def test_attacked_pixels_stay_pixels():
    seen = []

    class Watch(Linear):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    for compat in ("fixed", "reference"):
        boundary_shrink.neighbours(Watch(), grey(0.05, 0.503), torch.tensor([0, 0]), 0.1, compat)
    assert torch.allclose(seen[1], grey(0.0, 0.403)) and torch.equal(seen[3], (grey(0.0, 0.403) * 255).round() / 255)
    assert float((seen[3] - seen[1]).abs().max()) > 1e-4
    assert torch.equal(seen[0], grey(0.05, 0.503)), "the caller's images are not moved"


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_boundary_shrink(compat, model, mask):
    start = model_under(model, mask).eval()

    def objective(twin, pixels, labels):
        x = pixels.clone().requires_grad_()
        F.cross_entropy(start(x), labels).backward()
        moved = (pixels + 0.3 * x.grad.sign()).clamp(0, 1)
        logits = start(torch.round(moved * 255) / 255 if compat == "reference" else moved).detach()
        if compat == "fixed":
            logits[range(len(labels)), labels] = -1e9
        return F.cross_entropy(twin(pixels), logits.argmax(1))

    expected = slow_training(model, mask, None, lambda epoch: SETS["forget"].batches(4), 3, objective)
    found = run("boundary_shrink", model, context(mask, compat), unlearn_epochs=3, batch_size=4, attack_radius=0.3)
    close(found.state_dict(), expected)


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_boundary_expanding(compat, model, mask, monkeypatch):
    twin, drawn = model_under(model, mask), recorded(monkeypatch, torch, "rand")
    after = run("boundary_expanding", model, context(mask, compat), unlearn_epochs=3, batch_size=4)
    row, bias = ((2 * uniform - 1) / 2 for uniform in drawn[:2])  # 1 / sqrt(4 inputs)
    wide = nn.Linear(4, CLASSES + 1)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([twin.fc.weight, row]))
        wide.bias.copy_(torch.cat([twin.fc.bias, bias]))
    twin.fc = wide
    expected = slow_training(
        twin,
        mask,
        None,
        lambda epoch: ((x, torch.full_like(y, CLASSES)) for x, y in SETS["forget"].batches(4)),
        3,
        cross_entropy,
    )
    rows = CLASSES if compat == "fixed" else CLASSES + 1
    assert after.fc.out_features == rows and after.eval()(torch.rand(2, 3, 6, 6)).shape == (2, rows)
    close(
        after.state_dict(),
        expected | {"fc.weight": expected["fc.weight"][:rows], "fc.bias": expected["fc.bias"][:rows]},
    )
    assert model.fc.out_features == CLASSES


def test_a_new_class_is_free_under_a_saliency_mask(model, monkeypatch):
    drawn = recorded(monkeypatch, torch, "rand")
    where = context({}, "reference")
    where.update_mask = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in parameters(model).items()}
    after = run("boundary_expanding", model, where, unlearn_epochs=1, saliency_outside="held")
    start = parameters(model)
    assert torch.equal(after.fc.weight[:CLASSES], start["fc.weight"]) and torch.equal(
        after.conv.weight, start["conv.weight"]
    )
    row = (2 * drawn[0] - 1) / 2
    assert float((after.fc.weight.detach()[CLASSES:] - row).abs().min()) > 1e-5


def test_heads_grow_and_shrink_to_what_they_were():
    wide = models.build("vit_tiny", 4, size=8)
    before = copy.deepcopy(wide.state_dict())
    models.add_class(wide, torch.ones(1, models.head(wide).in_features), torch.ones(1))
    assert wide(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    stored = copy.deepcopy(wide.state_dict())
    models.keep_classes(wide, 4)
    assert all(torch.equal(value, before[key]) for key, value in wide.state_dict().items())
    models.widen_to(wide, stored)
    wide.load_state_dict(stored)
    models.widen_to(wide, stored)
    assert models.head(wide).out_features == 5


# ---- SFR-on ---------------------------------------------------------------------------------------


def slow_sfron(
    model,
    mask,
    only,
    compat,
    iterations=7,
    freq=3,
    alpha=2.0,
    power=0.5,
    max_norm=0.7,
    lr=0.05,
    slow=1.0,
    joint=False,
    size=8,
    decay=None,
):
    """The loop as it is told, with every batch's gradient taken apart by hand."""
    twin = model_under(model, mask)
    seen = F.cross_entropy(
        twin.eval()(next(SETS["forget"].batches(9))[0]), SETS["forget"].labels, reduction="none"
    ).detach()
    twin.train()
    shared = compat == "reference" or joint
    down = torch.optim.SGD(twin.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    up = down if shared else torch.optim.SGD(twin.parameters(), lr, momentum=0.9)
    forget = itertools.cycle(SETS["forget"].relabelled(torch.arange(9)).batches(size))
    retain = itertools.cycle(SETS["retain"].batches(size))
    before = None
    for t in range(iterations):
        done = t / iterations
        for optimizer in (up, down):
            optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * done)) / 2
        if t % (1 if compat == "reference" else freq) == 0:
            before = parameters(copy.deepcopy(twin))
        held = None
        if t % freq == 0:
            pixels, positions = next(forget)
            losses = F.cross_entropy(twin(pixels), SETS["forget"].labels[positions], reduction="none")
            if compat == "reference":
                c = 1 / (losses.detach() ** power + 1e-15)
                weighted = (c / c.sum() * losses).sum()
            else:
                seen[positions] = losses.detach()
                c = seen**-power
                weighted = (9 * c / c.sum())[positions] @ losses / len(losses)
            fall = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "quadratic": (1 - done) ** 2}
            twin.zero_grad()
            (-alpha * fall[decay or ("cosine" if compat == "reference" else "linear")] * weighted).backward()
            for name, p in twin.named_parameters():
                p.grad *= (only[name] if only else 1) * mask.get(name, torch.ones(1))
            norm = math.sqrt(sum(float(p.grad.square().sum()) for p in twin.parameters()))
            for p in twin.parameters():
                p.grad *= min(1.0, max_norm / norm)
            if joint:
                held = [p.grad.clone() for p in twin.parameters()]
            else:
                up.step()
                pruner.MaskEnforcer(twin, mask)
        pixels, labels = next(retain)
        twin.zero_grad()
        F.cross_entropy(twin(pixels), labels).backward()
        for p, upward in zip(twin.parameters(), held or []):
            p.grad += upward
        down.step()
        pruner.MaskEnforcer(twin, mask)
        if compat == "reference" or (t + 1) % freq == 0 or t + 1 == iterations:
            with torch.no_grad():
                for name, p in twin.named_parameters():
                    p.copy_((1 - slow) * before[name] + slow * p)
    return twin.state_dict()


def sfron(model, mask, compat="fixed", only=None, **hyper):
    where = context(mask, compat)
    where.update_mask = only
    hyper = {"iterations": 7, "forget_freq": 3, "forget_alpha": 2.0, "max_norm": 0.7, **hyper}
    return run("SFRon", model, where, **hyper).state_dict()


@pytest.mark.parametrize(("twin", "flags"), [
    ({}, {}),
    ({"slow": 0.6}, {"slow_rate": 0.6}),
    ({"joint": True}, {"no_fast_slow": True, "slow_rate": 0.6}),
    ({"power": 0.0, "decay": "quadratic"}, {"no_adaptive": True, "forget_decay": "quadratic"}),
    ({"power": 1.0, "freq": 1, "max_norm": 1e9}, {"adaptive_power": 1.0, "forget_freq": 1, "max_norm": 0.0}),
])  # fmt: skip
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_sfron(compat, twin, flags, model, mask):
    only = half(model)
    expected = slow_sfron(model, mask, only, compat, **twin)
    close(sfron(model, mask, compat, only, **flags), expected, 1e-5)
    if not twin:  # masks, momentum and weights all matter here
        assert not torch.allclose(
            expected["conv.weight"], slow_sfron(model, mask, None, compat)["conv.weight"], atol=1e-3
        )
        assert not torch.allclose(
            expected["conv.weight"], slow_sfron(model, mask, only, compat, power=0.0)["conv.weight"], atol=1e-4
        )


@pytest.mark.parametrize(("subset", "size"), [(0, 9), (5, 5), (99, 21)])
def test_sfron_repairs_on_a_subset_of_the_retain_images(subset, size, model, monkeypatch):
    repaired = []
    original = fast_slow.FastSlow.__init__

    def remember(self, model, ascent, retain, *more):
        repaired.append(retain)
        original(self, model, ascent, retain, *more)

    monkeypatch.setattr(fast_slow.FastSlow, "__init__", remember)
    for _ in range(2):
        sfron(model, {}, retain_subset=subset, iterations=2, no_saliency=True)
    retain = SETS["retain"]
    places = [images.indices.tolist() for images in repaired]
    assert places[0] == places[1] and len(places[0]) == len(set(places[0])) == size  # drawn from the seed, none twice
    assert set(places[0]) <= set(retain.indices.tolist()) and (size == 21 or sorted(places[0]) != places[0])
    assert repaired[0].augment is retain.augment
    flipped = ImageSet(retain.source, retain._labels, retain.indices, Augment(0, True))
    some = flipped.first(2, torch.arange(len(retain)).flip(0))
    assert some.augment is flipped.augment and some.indices.tolist() == retain.indices.tolist()[:-3:-1]


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_sfron_finds_its_mask_unless_told_not_to(compat, model, mask):
    held = model_under(model, mask)
    ratio = saliency.fisher_ratio(held, SETS["forget"], SETS["retain"], 8, False, context(mask, compat))
    found = sfron(model, mask, compat)
    given = sfron(model, mask, compat, saliency.at_least(ratio, 1.0, mask))
    assert all(torch.equal(found[key], given[key]) for key in found)
    close(sfron(model, mask, compat, no_saliency=True), slow_sfron(model, mask, None, compat), 1e-5)


def test_without_ascent_repair_alone_is_left(model):
    twin = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(twin.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    for pixels, labels in itertools.islice(itertools.cycle(SETS["retain"].batches(8)), 6):
        optimizer.zero_grad()
        F.cross_entropy(twin(pixels), labels).backward()
        optimizer.step()
    found = sfron(model, {}, forget_alpha=0.0, iterations=6, schedule="constant", no_saliency=True)
    close({key: value for key, value in found.items() if key in parameters(model)}, parameters(twin))


def test_epochs_are_passes_over_the_retain_set_and_one_ascent_is_the_least(model, monkeypatch):
    taken = []
    original = fast_slow.FastSlow._climb
    monkeypatch.setattr(
        fast_slow.FastSlow,
        "_climb",
        lambda self, iteration, *rest: (taken.append(iteration), original(self, iteration, *rest))[1],
    )
    sfron(model, {}, iterations=None, unlearn_epochs=2, forget_freq=99)
    assert taken == [0]
    taken.clear()
    after = sfron(model, {}, iterations=None, unlearn_epochs=3, forget_freq=2)  # 21 images in batches of 8: 9 steps
    assert taken == [0, 2, 4, 6, 8]
    assert int(after["bn.num_batches_tracked"]) - int(model.bn.num_batches_tracked) == 9 + 5


def test_in_fixed_mode_forgetting_moves_salient_weights_alone(model):
    """One ascent and a repair of no length: momentum and weight decay move nothing else."""
    only = half(model)
    where = context({})
    where.update_mask = only
    config = registry.get("SFRon").config(iterations=1, batch_size=8, unlearn_lr=0.05)
    ascent = fast_slow.Ascent(model, where, SETS["forget"], 0.5, "set", 8)
    plan = fast_slow.FastSlow(model, ascent, SETS["retain"], only, config, where)
    start = parameters(copy.deepcopy(model))
    for iteration in range(3):
        step = plan._climb(iteration, 0, *next(endless(ascent.images, 8, 1, iteration)))
        step.schedule.set_lr(0.05)
        plan.training.gradients(step)
        plan.training.advance(step.schedule)
    for name, value in parameters(model).items():
        assert torch.equal(value[~only[name]], start[name][~only[name]]) and bool(
            (value[only[name]] != start[name][only[name]]).any()
        )


def test_adaptive_weights_by_hand(model):
    # over the batch: 1/sqrt of 1/4, 1, 4 are 2, 1, 1/2; of sum 7/2, times 3 images
    batch = fast_slow.Ascent(model, context({}), SETS["forget"], 0.5, "batch", 8)
    losses, positions = torch.tensor([0.25, 1.0, 4.0]), torch.tensor([0, 4, 8])
    assert batch.weights(losses, positions).tolist() == pytest.approx([12 / 7, 6 / 7, 3 / 7])
    # over the set: the other six losses are those seen before
    over = fast_slow.Ascent(model, context({}), SETS["forget"], 0.5, "set", 8)
    logits = model.eval()(next(SETS["forget"].batches(9))[0])
    assert torch.allclose(
        over.state()["seen"], F.cross_entropy(logits, SETS["forget"].labels, reduction="none"), atol=1e-6
    )
    over.restore({"seen": torch.full((9,), 1.0)})
    total = 6 + 2 + 1 + 0.5
    assert over.weights(losses, positions).tolist() == pytest.approx([9 * 2 / total, 9 / total, 4.5 / total])
    assert over.state()["seen"].tolist() == [0.25, 1, 1, 1, 1, 1, 1, 1, 4] or over.state()["seen"].tolist() == [
        0.25,
        1,
        1,
        1,
        1.0,
        1,
        1,
        1,
        4,
    ]
    assert fast_slow.Ascent(model, context({}), SETS["forget"], 0.0, "set", 8).weights(losses, positions).tolist() == [
        1,
        1,
        1,
    ]


def test_an_image_without_loss_does_not_take_all_of_the_weight_and_weights_are_constants(model):
    losses = torch.tensor([0.0, 1.0])
    over, batch = (fast_slow.Ascent(model, context({}), SETS["forget"], 0.5, how, 8) for how in ("set", "batch"))
    over.restore({"seen": torch.ones(9)})
    assert over.weights(losses, torch.tensor([0, 1])).tolist() == pytest.approx(
        [9000 / 1008, 9 / 1008]
    )  # 1e-6 ** -0.5 = 1000
    assert batch.weights(losses, torch.tensor([0, 1])).tolist() == pytest.approx(
        [2.0, 0.0], abs=1e-12
    )  # the reference's
    batch.restore({"seen": None})
    pixels, positions = next(batch.images.batches(9))
    loss, _ = batch.objective(3.0, model.eval(), Batch(pixels, positions))
    losses = F.cross_entropy(model(pixels), SETS["forget"].labels, reduction="none")
    expected = -3 * (losses.detach() ** -0.5 / (losses.detach() ** -0.5).sum() * losses).sum()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    ours, theirs = (torch.autograd.grad(value, model.fc.weight, retain_graph=True)[0] for value in (loss, expected))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_decays():
    assert [fast_slow.DECAYS["linear"](x) for x in (0, 0.25, 1)] == [1, 0.75, 0]
    assert [fast_slow.DECAYS["cosine"](x) for x in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [fast_slow.DECAYS["quadratic"](x) for x in (0, 0.5, 1)] == [1, 0.25, 0]


def test_a_diverging_ascent_stops_the_run(model):
    with pytest.raises(RunError, match="the loss became nan in epoch 1"):
        sfron(model, {}, unlearn_lr=1e30)


# ---- after a kill ---------------------------------------------------------------------------------


class Killed(BaseException):
    """As abrupt as a signal."""


@pytest.mark.parametrize("compat", ["fixed", "reference"])
@pytest.mark.parametrize("name", FAMILY)
def test_a_killed_run_ends_in_the_same_bytes(name, compat, model, mask, tmp_path, monkeypatch):
    method = registry.get(name)
    hyper = {"unlearn_epochs": 4, "batch_size": 8, "unlearn_lr": 0.02}
    if name == "SFRon":
        hyper |= {"forget_freq": 2, "slow_rate": 0.7, "forget_alpha": 1.0}
    config, path = method.config(**hyper), tmp_path / "progress.pt"
    whole = apply(method, model, SETS, config, context(mask, compat)).model.state_dict()
    original, count = files.write_bytes, itertools.count()

    def dies(target, content):
        if next(count) == 2:
            raise Killed
        original(target, content)

    where = context(mask, compat)
    where.progress = Progress(path, "x")
    monkeypatch.setattr(files, "write_bytes", dies)
    with pytest.raises(Killed):
        apply(method, model, SETS, config, where)
    monkeypatch.setattr(files, "write_bytes", original)
    again = context(mask, compat)
    again.progress = Progress(path, "x")
    assert again.progress.state["epoch"] == 2
    resumed = apply(method, model, SETS, config, again).model.state_dict()
    assert resumed.keys() == whole.keys() and all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", FAMILY)
def test_each_method_moves_its_own_objective(name, model):
    """After unlearning, a model that had learned the forget set is less sure of its classes."""

    @torch.no_grad()
    def forget_loss(after):
        pixels, labels = next(SETS["forget"].batches(9))
        return float(F.cross_entropy(after.eval()(pixels), labels))

    learned = copy.deepcopy(model)
    list(
        Training(learned, Recipe(60, 0.2, batch_size=10), {}).run(
            union(SETS["forget"], SETS["retain"]), 1, Classification().mean
        )
    )
    assert forget_loss(learned) < 0.7
    hyper = {"forget_freq": 1} if name == "SFRon" else {}
    assert forget_loss(run(name, learned, context({}), unlearn_epochs=10, **hyper)) > forget_loss(learned) + 0.1


# ---- distances to the retrained model -------------------------------------------------------------


def test_divergences_by_hand():
    p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert divergence.kullback_leibler(p, q) == pytest.approx((0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2)
    assert divergence.kullback_leibler(q, p) == pytest.approx((0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2)
    middle = [0.375, 0.625]
    js = sum(0.5 * x * math.log(x / m) for row in ((0.5, 0.5), (0.25, 0.75)) for x, m in zip(row, middle))
    assert divergence.jensen_shannon(p, q) == pytest.approx(js / 2) == pytest.approx(divergence.jensen_shannon(q, p))
    assert divergence.kullback_leibler(p, p) == divergence.jensen_shannon(p, p) == 0
    apart = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert divergence.jensen_shannon(*apart) == pytest.approx(math.log(2))
    assert divergence.kullback_leibler(*apart) == pytest.approx(20 * math.log(10))  # finite: the logarithm of 1e-20


def test_tug_of_war_by_hand():
    unlearned, retrained = (
        {"forget": 0.9, "retain": 1.0, "test": 0.8, "val": 0.1},
        {"forget": 0.7, "retain": 0.9, "test": 0.85},
    )
    assert closeness.tug_of_war(unlearned, retrained) == pytest.approx(0.8 * 0.9 * 0.95)
    assert closeness.tug_of_war(retrained, retrained) == 1


def outputs(seed, count=6, classes=3):
    random = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(count, classes, generator=random), torch.randint(0, classes, (count,), generator=random)
    )


def test_comparison_with_the_retrained_model():
    unlearned, retrained = ({name: outputs(seed + i) for i, name in enumerate(divergence.SETS)} for seed in (0, 10))
    found = divergence.compare(unlearned, retrained)
    assert set(found) == {"KL", "JS", "AD", "agreement", "privacy_score", "accuracy", "ToW", "RD", "SAPE"}
    for name in divergence.SETS:
        assert found["KL"][name] == divergence.kullback_leibler(
            retrained[name].probs, unlearned[name].probs
        )  # retrained comes first
        assert found["JS"][name] == divergence.jensen_shannon(retrained[name].probs, unlearned[name].probs)
        assert found["accuracy"][name] == retrained[name].accuracy
    wide = {
        name: Predictions(torch.cat([found.logits, torch.full((6, 1), 5.0)], 1), found.labels)
        for name, found in unlearned.items()
    }
    assert divergence.compare(wide, retrained)["KL"] == found["KL"]


def test_the_entropy_attack_counts_members():
    def sure(share, count):  # two-class outputs of one confidence
        return Predictions(
            torch.tensor([[math.log(share), math.log(1 - share)]] * count), torch.zeros(count, dtype=torch.int64)
        )

    def mix(*parts):
        return Predictions(torch.cat([part.logits for part in parts]), torch.cat([part.labels for part in parts]))

    members, others = sure(0.999, 50), sure(0.6, 5)  # ten times as many members: classes are weighted alike
    assert mia.entropy_attack(members, others, sure(0.99, 4)) == 1.0
    assert mia.entropy_attack(members, others, sure(0.55, 4)) == 0.0
    assert mia.entropy_attack(members, others, mix(sure(0.99, 1), sure(0.55, 3))) == 0.25
    between = sure(
        0.9, 4
    )  # entropies 0.008, 0.673 and, halfway, 0.325: on the members' side only of an unbalanced judge
    assert (
        mia.entropy_attack(members, others, between) == 1.0
        and mia.entropy_attack(members, others, sure(0.87, 4)) == 0.0
    )


# ---- the scripts ----------------------------------------------------------------------------------


def test_saliency_from_the_command_line(few, few_run, tmp_path, capsys):
    model, where = str(few_run / "1model_SA_best.pth.tar"), ["--forget", "random:0.1"]
    for kind in ("gradient", "fisher"):
        assert (
            main_saliency.main(
                [*DIGITS, *few, "--model_path", model, *where, "--saliency", kind, "--save_dir", str(tmp_path)]
            )
            == 0
        )
    names = {f"with_{n / 10}.pt" for n in range(1, 11)} | {f"fisher_{n / 10}.pt" for n in (*range(1, 11), 30, 50, 100)}
    fishers = set(saliency.FISHERS)
    assert {path.name for path in tmp_path.iterdir()} == RUN_FILES - {"log.jsonl"} | names | fishers | {"earlier"}
    stored = checkpoints.read(few_run / "1model_SA_best.pth.tar", "")
    weights = sum(v.numel() for k, v in stored.weights.items() if k.endswith(("weight", "bias"))) - sum(
        int((~m).sum()) for m in stored.mask.values()
    )
    sizes = {name: sum(int(part.sum()) for part in torch.load(tmp_path / name).values()) for name in names}
    assert all(sizes[f"with_{n / 10}.pt"] == math.floor(n / 10 * weights) for n in range(1, 11))
    ratios = [sizes[f"fisher_{n / 10}.pt"] for n in (*range(1, 11), 30, 50, 100)]
    assert ratios == sorted(ratios, reverse=True) and 0 < ratios[-1] < ratios[0] < weights
    text = capsys.readouterr().out
    assert f"with_0.5.pt   50.00 % of {weights:,} weights may change" in text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert (
        main_saliency.main(
            [*DIGITS, *few, "--mask", model, *where, "--saliency", "fisher", "--save_dir", str(tmp_path)]
        )
        == 0
    )
    assert "done already" in capsys.readouterr().out and before == {
        path: path.stat().st_mtime_ns for path in tmp_path.iterdir()
    }

    quick = [*DIGITS, *few, "--mask", model, *where, "--unlearn_epochs", "1", "--batch_size", "256", "--unlearn", "RL"]
    for name, more in (
        ("file", ["--mask_path", str(tmp_path / "with_0.5.pt")]),
        ("threshold", ["--saliency_threshold", "0.5"]),
    ):
        assert main_forget.main([*quick, *more, "--save_dir", str(tmp_path / name)]) == 0
    one, two = (
        checkpoints.read(tmp_path / name / "RLcheckpoint.pth.tar", "").weights for name in ("file", "threshold")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    only = torch.load(tmp_path / "with_0.5.pt")
    assert all(torch.equal(one[key][~free], stored.weights[key][~free]) for key, free in only.items())
    assert sum(int((one[key] != stored.weights[key]).sum()) for key in only) > 0.9 * math.floor(0.5 * weights)


def test_a_stored_mask_and_no_saliency_contradict_each_other(few, few_run, tmp_path, capsys):
    command = [*DIGITS, *few, "--mask", str(few_run / "0model_SA_best.pth.tar")]
    command += "--unlearn SFRon --no_saliency --saliency_mask m.pt".split()
    assert main_forget.main([*command, "--save_dir", str(tmp_path / "run")]) == 2
    assert "--saliency_mask and --no_saliency: each says" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_distances_to_the_retrained_model_from_the_command_line(few, few_run, tmp_path, capsys):
    model = str(few_run / "0model_SA_best.pth.tar")
    quick = [*DIGITS, *few, "--mask", model, "--unlearn_epochs", "1", "--batch_size", "256"]
    assert main_forget.main([*quick, "--unlearn", "retrain", "--save_dir", str(tmp_path / "retrain")]) == 0
    assert "to_retrained" not in json.loads((tmp_path / "retrain" / "result.json").read_text())
    reference = ["--reference_model", str(tmp_path / "retrain" / "retraincheckpoint.pth.tar")]
    assert main_forget.main([*quick, *reference, "--unlearn", "retrain", "--save_dir", str(tmp_path / "same")]) == 0
    same = json.loads((tmp_path / "same" / "result.json").read_text())["to_retrained"]
    assert (
        same["ToW"] == 1
        and same["RD"] is None
        and same["SAPE"] == 0
        and set(same["KL"].values()) == set(same["JS"].values()) == {0.0}
    )
    capsys.readouterr()
    assert (
        main_forget.main(
            [
                *quick,
                *reference,
                "--unlearn",
                "boundary_expanding",
                "--verbose",
                "--compat",
                "reference",
                "--allow_split_mismatch",
                "--save_dir",
                str(tmp_path / "BE"),
            ]
        )
        == 0
    )
    result = json.loads((tmp_path / "BE" / "result.json").read_text())
    assert 0 <= result["entropy_attack"] <= 1 and all(
        0 < value < math.log(2) for value in result["to_retrained"]["JS"].values()
    )
    lines = capsys.readouterr().out.splitlines()
    assert f"entropy attack: {100 * result['entropy_attack']:.2f} % of forget judged members" in lines
    [line] = [line for line in lines if line.startswith("to the retrained model: KL retain ")]
    ours, theirs = result["accuracy"], result["to_retrained"]["accuracy"]
    apart = [
        abs(ours[name] - theirs[name]) / (ours[name] + theirs[name])
        for name in ("retain", "forget", "test")
        if ours[name] + theirs[name]
    ]
    assert result["to_retrained"]["SAPE"] == pytest.approx(sum(apart) / 3) and sum(apart) > 0
    assert line.endswith(f"nats  ToW {result['to_retrained']['ToW']:.4f}")
    # scored again from its file, whose head has one row more than the model it came from
    stored = checkpoints.read(tmp_path / "BE" / "boundary_expandingcheckpoint.pth.tar", "")
    assert stored.weights["fc.weight"].shape == (11, 64)
    again = [
        *quick,
        *reference,
        "--unlearn",
        "BE",
        "--compat",
        "reference",
        "--allow_split_mismatch",
        "--resume",
        "--seed",
        "2",
    ]
    (tmp_path / "BE" / "result.json").unlink()
    assert main_forget.main([*again, "--save_dir", str(tmp_path / "BE")]) == 0
    assert json.loads((tmp_path / "BE" / "result.json").read_text())["to_retrained"] == result["to_retrained"]
    # a model that was retrained without other images
    assert (
        main_forget.main(
            [*quick, *reference, "--unlearn", "raw", "--forget", "class:1", "--save_dir", str(tmp_path / "other")]
        )
        == 2
    )
    assert "was retrained on retain and forget sets of digest" in capsys.readouterr().err


def test_the_ablation_is_three_flags(capsys):
    flags = ["--no_saliency", "--no_adaptive", "--no_fast_slow"]
    words = ["--unlearn", "SFR-on", "--mask", "x", "--save_dir", "y"]
    for chosen in itertools.product((False, True), repeat=3):
        hyper = arg_parser.parse_forget([*words, *itertools.compress(flags, chosen)]).hyper
        assert (hyper.no_saliency, hyper.no_adaptive, hyper.no_fast_slow) == chosen
    assert arg_parser.parse_forget([*words, "--arch", "vit_tiny"]).hyper.unlearn_lr == 1e-4
