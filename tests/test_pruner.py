"""Masks: which weights go, how many, and that they stay at zero."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import models
import pruner
from pruner import passage
from utils.errors import RunError

pytestmark = pytest.mark.numeric

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)

# Convolution weights of each architecture at any number of classes; swin has no convolution.
PRUNABLE = {
    "resnet18": (20, 11_159_232),
    "resnet50": (53, 23_447_232),
    "resnet20s": (19, 267_696),
    "resnet44s": (43, 654_768),
    "resnet56s": (55, 848_304),
    "vgg16_bn": (13, 14_710_464),
    "vgg16_bn_lth": (13, 14_710_464),
}


def on_paper(name, imagenet_stem=False):
    """A model's shapes without its numbers."""
    with torch.device("meta"):
        return models.build(name, 10, imagenet_stem=imagenet_stem)


def kept(mask):
    return sum(int(m.sum()) for m in mask.values())


def bits(mask):
    return {name: m.flatten().tolist() for name, m in mask.items()}


class Small(nn.Module):
    """Two convolutions with biases, batch norm and a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.second = nn.Conv2d(2, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x)).relu()).relu().mean((2, 3)))


def small():
    torch.manual_seed(0)
    return Small()


# ---- choose ---------------------------------------------------------------------------------------


def test_choose_prunes_the_lowest_scores_of_all_layers_together():
    # 8 weights, half of them go: 1, 2, 3, 4. Per layer it would have been 1, 2 and 5, 6.
    scores = {"a": torch.tensor([[4.0, 1.0], [3.0, 2.0]]), "b": torch.tensor([8.0, 5.0, 7.0, 6.0])}
    mask = pruner.choose(scores, 0.5)
    assert bits(mask) == {"a": [False] * 4, "b": [True] * 4}
    assert mask["a"].shape == (2, 2) and mask["a"].dtype == torch.bool
    # A quarter: 1 and 2.
    assert bits(pruner.choose(scores, 0.25)) == {"a": [True, False, True, False], "b": [True] * 4}


def test_among_equal_scores_the_first_in_module_order_go():
    # round(0.5 * 6) = 3 go: the 1, and the first two of the four 2s, across the layers' border.
    scores = {"a": torch.tensor([3.0, 2.0, 1.0]), "b": torch.tensor([2.0, 2.0, 2.0])}
    assert bits(pruner.choose(scores, 0.5)) == {"a": [True, False, False], "b": [False, True, True]}
    even = {"a": torch.ones(2), "b": torch.ones(3)}
    assert bits(pruner.choose(even, 0.6)) == {"a": [False, False], "b": [False, True, True]}


def test_a_mask_is_only_ever_narrowed():
    # 8 are left of 10; round(0.25 * 8) = 2 more go. The two already gone score lowest and are not counted
    # again; of those that remain 3 and 4 are lowest.
    scores = {"w": torch.arange(1.0, 11.0)}
    before = {"w": torch.arange(1, 11) > 2}
    after = pruner.choose(scores, 0.25, before)
    assert bits(after) == {"w": [False] * 4 + [True] * 6}
    assert bits(before) == {"w": [False] * 2 + [True] * 8}  # the old mask is left as it was
    # A pruned weight does not come back because it scores high now.
    high_first = pruner.choose({"w": torch.arange(10.0, 0.0, -1.0)}, 0.25, before)
    assert bits(high_first) == {"w": [False] * 2 + [True] * 6 + [False] * 2}


def test_rate_zero_prunes_nothing():
    scores = {"a": torch.zeros(3), "b": torch.zeros(2, 2)}
    assert bits(pruner.choose(scores, 0.0)) == {"a": [True] * 3, "b": [True] * 4}
    mask = {"a": torch.tensor([True, False, True]), "b": torch.ones(2, 2, dtype=torch.bool)}
    assert bits(pruner.choose(scores, 0.0, mask)) == bits(mask)


def test_an_empty_mask_means_that_everything_is_kept():
    scores = {"w": torch.arange(4.0)}
    assert bits(pruner.choose(scores, 0.5, {})) == {"w": [False, False, True, True]}


@pytest.mark.parametrize(
    "size, rate, gone", [(1, 0.5, 0), (3, 0.5, 2), (5, 0.5, 2), (7, 0.5, 4), (9, 0.5, 4), (10, 0.24, 2), (10, 0.26, 3)]
)
def test_the_number_pruned_is_rounded_half_to_even(size, rate, gone):
    # 0.5, 1.5, 2.5, 3.5, 4.5 round to 0, 2, 2, 4, 4.
    assert size - kept(pruner.choose({"w": torch.rand(size)}, rate)) == gone


@PROPERTY
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=4),
    st.floats(0, 0.99),
    st.floats(0, 0.99),
)
def test_choose_equals_a_sort(layers, first_rate, second_rate):
    # Twin: sort the kept weights by score (stably: earlier first) and take off the right number. Few
    # different scores make many ties.
    scores = {str(i): torch.tensor([float(s) for s in layer]) for i, layer in enumerate(layers)}
    flat = [s for layer in layers for s in layer]
    alive, mask = list(range(len(flat))), None
    for rate in (first_rate, second_rate):
        gone = sorted(alive, key=lambda i: flat[i])[: round(rate * len(alive))]
        alive = [i for i in alive if i not in gone]
        mask = pruner.choose(scores, rate, mask)
        assert [i for i, bit in enumerate(sum(bits(mask).values(), [])) if bit] == alive


@pytest.mark.parametrize("kind", ["magnitude", "random"])
def test_no_pruned_weight_scores_above_a_kept_one(kind):
    model = models.build("resnet20s", 10)
    scores = pruner.scores.get(kind).run(model, pruner.Sample(4))
    mask = pruner.choose(scores, 0.7)
    flat = torch.cat([s.flatten() for s in scores.values()])
    chosen = torch.cat([m.flatten() for m in mask.values()])
    assert flat[~chosen].max() <= flat[chosen].min()
    assert kept(mask) == 267_696 - round(0.7 * 267_696)


def test_kept_counts_of_resnet18():
    # The reference's counts for one-shot pruning (0.95, 0.9) and for 0.2 iterated one to five times.
    shapes = {name: weight.shape for name, weight in pruner.prunable(on_paper("resnet18")).items()}
    random = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(shape, generator=random) for name, shape in shapes.items()}
    assert kept(pruner.choose(scores, 0.95)) == 557_962
    assert kept(pruner.choose(scores, 0.9)) == 1_115_923
    mask, counts = None, []
    for _ in range(5):
        smaller = pruner.choose(scores, 0.2, mask)
        assert mask is None or all(bool((mask[name] | ~smaller[name]).all()) for name in mask)  # nested
        mask = smaller
        counts.append(kept(mask))
    assert counts == [8_927_386, 7_141_909, 5_713_527, 4_570_822, 3_656_658]
    assert {name: m.shape for name, m in mask.items()} == shapes


# ---- scores and scope -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRUNABLE)
def test_only_convolution_weights_can_be_pruned(name):
    model = on_paper(name)
    found = pruner.prunable(model)
    assert (len(found), sum(weight.numel() for weight in found.values())) == PRUNABLE[name]
    # A convolution's weight is the only kind of parameter with four dimensions.
    assert list(found) == [key for key, value in model.named_parameters() if value.ndim == 4]
    assert all(found[key] is value for key, value in model.named_parameters() if key in found)


def test_the_imagenet_stem_is_prunable_too():
    assert sum(w.numel() for w in pruner.prunable(on_paper("resnet18", True)).values()) == 11_166_912
    assert sum(w.numel() for w in pruner.prunable(on_paper("resnet50", True)).values()) == 23_454_912


def test_magnitude_is_the_absolute_value_whatever_the_seed():
    model = small()
    with torch.no_grad():
        model.second.weight.copy_(torch.tensor([[-3.0, 2.0], [0.0, -0.5], [1.0, -1.0]]).view(3, 2, 1, 1))
    scores = pruner.scores.get("l1").run(model, pruner.Sample(7))
    assert list(scores) == ["first.weight", "second.weight"]
    assert scores["second.weight"].flatten().tolist() == [3.0, 2.0, 0.0, 0.5, 1.0, 1.0]
    assert not scores["second.weight"].requires_grad
    assert torch.equal(scores["first.weight"], pruner.scores.get("l1").run(model, pruner.Sample(8))["first.weight"])


def test_random_scores_depend_on_the_seed_alone():
    model = small()
    uniform = pruner.scores.get("random").run
    first = uniform(model, pruner.Sample(3))
    torch.manual_seed(99)
    torch.rand(5)  # neither the global generator
    with torch.no_grad():
        model.first.weight.mul_(17)  # nor the weights have a say
    again, other = uniform(model, pruner.Sample(3)), uniform(model, pruner.Sample(4))
    assert list(first) == ["first.weight", "second.weight"]
    for name, weight in pruner.prunable(model).items():
        assert first[name].shape == weight.shape
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    # 36 + 6 different numbers: the layers do not repeat each other.
    assert len(set(torch.cat([s.flatten() for s in first.values()]).tolist())) == 42


# ---- holding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_held_weights_are_zero_at_once_and_after_each_step(layout):
    model = small().to(memory_format=layout)
    mask = pruner.prune(model, "random", 0.5, pruner.Sample(1))
    start = {name: weight.detach().clone() for name, weight in pruner.prunable(model).items()}
    hold = pruner.MaskEnforcer(model, mask)
    for name, weight in pruner.prunable(model).items():
        assert torch.equal(weight, torch.where(mask[name], start[name], 0.0))
    # Momentum and weight decay push pruned weights even where the gradient is zero.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    random = torch.Generator().manual_seed(0)
    left_alone = 0
    for _ in range(6):
        images = torch.rand((8, 2, 5, 5), generator=random)
        loss = nn.functional.cross_entropy(model(images), torch.tensor([0, 1] * 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        left_alone += sum(int(torch.count_nonzero(w[~mask[n]])) for n, w in pruner.prunable(model).items())
        hold()
        for name, weight in pruner.prunable(model).items():
            assert int(torch.count_nonzero(weight[~mask[name]])) == 0
        pruner.check_held(model, mask, "SGD")
    assert left_alone > 0  # the optimiser did revive some; else this test would prove nothing
    for name, weight in pruner.prunable(model).items():
        assert bool((weight != start[name])[mask[name]].all()), "kept weights were trained"


def test_holding_with_an_empty_mask_changes_nothing():
    model = small()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    pruner.MaskEnforcer(model, {})()
    pruner.check_held(model, {}, "nobody")
    assert all(torch.equal(start[name], value) for name, value in model.named_parameters())


def test_a_revived_weight_is_told_by_name_and_number():
    model = small()
    mask = pruner.prune(model, "magnitude", 0.5, pruner.Sample(0))
    pruner.MaskEnforcer(model, mask)
    pruner.check_held(model, mask, "FT")
    gone = torch.nonzero(~mask["second.weight"])
    assert len(gone) >= 2
    with torch.no_grad():
        for row in gone[:2]:
            model.second.weight[tuple(row)] = 1e-30  # tiny is not zero
    with pytest.raises(RunError, match=r"^FT revived 2 pruned weights of second\.weight$"):
        pruner.check_held(model, mask, "FT")


# ---- amounts --------------------------------------------------------------------------------------


def test_density_and_sparsity_are_fractions_of_all_prunable_weights():
    # 1 of 2 and 5 of 6 are 6 of 8; the mean of the layers' densities would be 2/3.
    mask = {"a": torch.tensor([True, False]), "b": torch.tensor([True] * 5 + [False])}
    assert math.isclose(pruner.density(mask), 6 / 8)
    assert math.isclose(pruner.sparsity(mask), 2 / 8)
    assert (pruner.density({}), pruner.sparsity({})) == (1.0, 0.0)


def test_layers_that_lost_everything_are_named():
    mask = {"a": torch.tensor([False, True]), "b": torch.tensor([False] * 3), "c": torch.tensor([True])}
    assert pruner.empty_layers(mask) == ["b"]
    assert pruner.empty_layers({}) == []


class Shortcut(nn.Module):
    """Two convolutions, of which the second has a shortcut, and a head."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = (
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.Conv2d(2, 2, 3, padding=1, bias=False),
        )
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        x = self.norm(self.a(x)).relu()
        return self.fc((x + self.b(x)).mean((2, 3)))


def only(shape, *kept):
    mask = torch.zeros(shape, dtype=torch.bool)
    for place in kept:
        mask[place] = True
    return mask


A, B = (2, 1, 3, 3), (2, 2, 3, 3)
PASSAGES = {
    "no shortcut is needed": (only(A, (0, 0, 1, 1)), only(B, (1, 0, 1, 1)), 4, True),
    "an empty layer with a shortcut": (only(A, (0, 0, 1, 1)), only(B), 4, True),
    "an empty layer without": (only(A), only(B, (1, 0, 1, 1)), 4, False),
    "a corner of the filter sees the border alone": (only(A, (0, 0, 0, 0)), only(B, (1, 0, 1, 1)), 1, False),
    "but pixels of larger images": (only(A, (0, 0, 0, 0)), only(B, (1, 0, 1, 1)), 2, True),
}


@pytest.mark.parametrize("a, b, side, reached", PASSAGES.values(), ids=PASSAGES)
def test_whether_a_path_leads_to_the_output(a, b, side, reached):
    model = Shortcut()
    with torch.no_grad():
        model.a.bias.fill_(1.0)  # signal of its own, not the image's
        model.norm.running_mean.fill_(1e6)
    before = copy.deepcopy(model.state_dict())
    mask = {"a.weight": a, "b.weight": b}
    assert passage.reaches_output(model, mask, (1, side, side)) is reached
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    pruner.MaskEnforcer(model, mask)
    model.train()  # by the twin: whether any pixel moves the output
    image = torch.rand(8, 1, side, side, requires_grad=True)
    model(image).square().sum().backward()
    assert bool(image.grad.any()) is reached


def test_channels_that_do_not_meet_cut_the_network_without_an_empty_layer():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1))
    mask = {"0.weight": only((2, 1, 1, 1), (0, 0, 0, 0)), "1.weight": only((1, 2, 1, 1), (0, 1, 0, 0))}
    assert passage.reaches_output(model, mask, (1, 2, 2)) is False
    cut = "no path leads from the image to the output, which is the same for all images; prune less (a smaller --rate)"
    assert passage.warning(mask, False) == f"warning: {cut}"
    empty = {**mask, "2.in_proj_weight": only((3, 3)), "3.weight": only((2, 2))}
    named = "warning: no weight is left in 2.in_proj, 3 (2 of 4 layers): "
    assert passage.warning(empty, False) == named + cut
    assert passage.warning(empty, True) == (
        f"{named}nothing passes them, but the signal passes by their shortcuts; prune less (a smaller "
        "--rate) to keep them"
    )
    assert passage.warning(empty, None) == f"{named}nothing passes them; prune less (a smaller --rate) to keep them"
    assert passage.warning(mask, True) is passage.warning(mask, None) is None


def test_deep_networks_and_transformers():
    model = models.build("resnet50", 10)
    mask = {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in pruner.prunable(model).items()}
    assert passage.reaches_output(model, mask, (3, 32, 32)) is True
    mask["layer2.0.conv2.weight"].zero_()
    assert passage.reaches_output(model, mask, (3, 32, 32)) is True
    mask["layer2.0.downsample.0.weight"].zero_()
    assert passage.reaches_output(model, mask, (3, 32, 32)) is False
    assert passage.reaches_output(models.build("vit_tiny", 10, size=32), {}, (3, 32, 32)) is None
