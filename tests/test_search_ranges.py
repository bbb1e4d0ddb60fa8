"""Every number that a search may try changes what its method does: otherwise trials are wasted on it."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from test_deepunlearn import SETS, Tiny, context, learn, quick, searched

from dataset.scenario import Scenario
from unlearn import registry
from unlearn.apply import apply


def other_values(field: dataclasses.Field, present: object) -> list:
    """Values of the field's range but the present one, of which one must matter; batches that these images fill."""
    choices = field.metadata["search"]
    if isinstance(choices, list):
        return [next(value for value in [16, *choices] if value != present)]
    low, high, _ = choices
    if isinstance(present, tuple):
        return [(0.02,)]
    if isinstance(present, int):
        return [present + 1]
    return [value for value in (low, (low + high) / 2, high) if not math.isclose(value, present)]


@functools.cache
def trained() -> Tiny:
    torch.manual_seed(3)
    model = Tiny()
    learn(model, 6)
    return model


def outcome(name: str, **hyper) -> dict[str, torch.Tensor]:
    """Weights after a method, on few images."""
    method, where = registry.get(name), context()
    if name == "UNSIR":  # which forgets whole classes alone
        where.scenario, where.whole_classes = Scenario((0,)), (0,)
    found = apply(method, trained(), SETS, method.config(**hyper), where).model.state_dict()
    # Whatever SCRUB would go back to.
    return where.memory["students"][-1] if name == "SCRUB" else found


OWN = {
    "JiT": {"unlearn_lr": 1e-4},
    "NG+": {"unlearn_lr": 1e-3},
    "UNSIR": {"noise_copies": 2, "noise_steps": 25},
    **dict.fromkeys(("SSD", "LFSSD"), {"alpha": 1.2}),
}  # finite, short, selective


def base_of(name: str) -> dict:
    return quick(name) | OWN.get(name, {})


@functools.cache
def undisturbed(name: str) -> dict[str, torch.Tensor]:
    return outcome(name, **base_of(name))


NUMBERS = [(name, field.name) for name in registry.names() for field in searched(name)]
THIRD = [pytest.param(*pair, marks=[pytest.mark.torture] * (place % 3 > 0)) for place, pair in enumerate(NUMBERS)]


@pytest.mark.parametrize(("name", "number"), THIRD)
def test_every_number_that_is_searched_does_something(name, number, monkeypatch):
    monkeypatch.setattr("unlearn.methods.rni.SELECTED", 3)
    base = base_of(name)
    [field] = [field for field in searched(name) if field.name == number]
    present = base.get(number, field.default)
    tried = (outcome(name, **{**base, number: value}) for value in other_values(field, present))
    assert any(not torch.equal(after[key], value) for after in tried for key, value in undisturbed(name).items())


def test_every_method_but_the_untouched_model_has_a_range():
    assert {name for name in registry.names() if not searched(name)} == {"raw"}
    assert len(NUMBERS) > 140


def test_a_number_without_effect_is_found():
    """What the test itself sees: momentum of Adam, which BT takes, moves nothing."""
    base = base_of("BT")
    after = outcome("BT", **{**base, "momentum": 0.5})
    assert all(torch.equal(after[key], value) for key, value in undisturbed("BT").items())
