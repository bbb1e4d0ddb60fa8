"""A few kills of each script; ``make torture`` makes many, see ``torture.py``."""

from __future__ import annotations

import os
import shutil

import pytest
import torture
from torture import Moment


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return torture.tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def mask(data, tmp_path_factory):
    return torture.victim("main_imp", tmp_path_factory.mktemp("imp") / "home", data)


SHORT = ("main_imp", "main_forget")


@pytest.mark.parametrize(
    "name", [*SHORT, *(pytest.param(name, marks=pytest.mark.torture) for name in torture.COMMANDS if name not in SHORT)]
)
def test_a_killed_run_ends_in_the_bytes_of_an_undisturbed_one(name, data, mask, tmp_path):
    found = (
        mask
        if name == "main_imp"
        else torture.victim(name, tmp_path / "home", data, mask.home / "undisturbed" / "1model_SA_best.pth.tar")
    )
    survived = torture.torture(found, 3, seed=3)
    assert survived.total() == 3 and len(survived) >= 2


def test_a_difference_of_one_bit_would_be_seen(mask, tmp_path):
    expected, found = mask.home / "undisturbed", tmp_path / "found"
    shutil.copytree(expected, found)
    assert torture.differences(expected, found) == []
    weights = found / "1checkpoint.pth.tar"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert torture.differences(expected, found) == ["1checkpoint.pth.tar has other bytes"]
    shutil.copy(expected / weights.name, weights)
    text = (found / "result.json").read_text()
    (found / "result.json").write_text(text.replace('"best_val": 0.', '"best_val": 0.0'))
    assert torture.differences(expected, found) == ["result.json holds other numbers"]
    (found / ".x.unfinished").touch()
    assert torture.differences(expected, found) == [".x.unfinished is there in one of the two"]


def test_a_run_that_loses_its_place_would_be_seen(mask, tmp_path, monkeypatch):
    """Kill it while it writes its last checkpoint, and let the resumed run draw other numbers."""
    from utils import seeds

    folder = mask.home / "astray"
    assert mask.attempt(folder, Moment("writing", mask.whole.places["replace"] - 2, 0.0, "replace")) == -9
    derive = seeds.derive
    monkeypatch.setattr(seeds, "derive", lambda seed, *purpose: derive(seed + 1, *purpose))
    assert mask.attempt(folder, None) == 0
    assert torture.differences(mask.home / "undisturbed", folder) != []
    assert not os.path.exists(folder / ".run.lock")
