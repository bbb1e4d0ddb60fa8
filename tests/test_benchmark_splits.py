"""Deep Unlearn's splits: the benchmark's own index vectors, what holds of its populations, and runs on them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from conftest import DIGITS

import main_forget
import main_imp
from dataset import prepare, split_file
from dataset.schemes.fixed import deepunlearn
from dataset.schemes.lira_populations import lira, population_numbers
from utils.errors import UsageError

TOTAL = 1438  # of scikit-learn's digits


def md5(indices: np.ndarray) -> str:
    """The golden values' own hash: of little-endian int64."""
    return hashlib.md5(indices.astype("<i8").tobytes()).hexdigest()[:12]


FIXED = {  # by the number of training images: the first five of each set, and the digest of all
    50_000: {
        "retain": ([30833, 48150, 4831, 11184, 46104], "dc40e2d58394", 38_250),
        "forget": ([33810, 44208, 6639, 25856, 49484], "1a3836218989", 4_250),
        "val": ([11872, 40828, 36400, 5166, 30273], "a309d6d4196d", 7_500),
    },
    60_000: {
        "retain": ([2793, 8582, 56864, 20678, 49784], "58fcfd597536", 45_900),
        "forget": ([12238, 20118, 23825, 29798, 10974], "503f0fb1adb7", 5_100),
        "val": ([29561, 26640, 24498, 24594, 24249], "c4eac2ae4e82", 9_000),
    },
    18_967: {
        "retain": ([2889, 9919, 10588, 11798, 4090], "7009a49552ef", 14_508),
        "forget": ([1216, 11795, 8470, 3484, 12603], "a7b620217ce2", 1_613),
        "val": ([3182, 12626, 11357, 2735, 18462], "16a85e85dc53", 2_846),
    },
}


@pytest.mark.parametrize("total", FIXED)
def test_the_fixed_split_is_the_benchmarks(total):
    found = deepunlearn("", total)
    for name, (first, digest, count) in FIXED[total].items():
        assert found[name][:5].tolist() == first and md5(found[name]) == digest and len(found[name]) == count, name
    assert np.array_equal(np.sort(np.concatenate(list(found.values()))), np.arange(total))


def test_the_populations_are_the_benchmarks():
    found = lira("0:0", 50_000)
    assert found["val"][:5].tolist() == [34049, 9776, 1945, 32806, 30294] and md5(found["val"]) == "cd2ac476834d"
    assert found["forget"][:5].tolist() == [16130, 45508, 17503, 27113, 43050]
    assert md5(found["forget"]) == "aebb4410f87f"
    train = np.concatenate([found["retain"], found["forget"]])
    # The order in which split 0 was drawn, before the forget set was.
    drawn = np.empty_like(train)
    drawn[np.random.default_rng(0).permutation(23_750)] = train
    assert drawn[:5].tolist() == [36369, 29992, 32971, 43725, 42648] and md5(drawn) == "6dac29a6123d"
    assert {name: len(array) for name, array in found.items()} == {"retain": 21_375, "forget": 2_375, "val": 2_500}


def test_how_often_an_image_is_forgotten_and_never_seen():
    forgotten, never, of_split = np.zeros(50_000, int), np.zeros(50_000, int), set()
    val = lira("0:0", 50_000)["val"]
    for split in range(64):
        for forget_set in range(10):
            found = lira(f"{split}:{forget_set}", 50_000)
            forgotten[found["forget"]] += 1
            of_split |= set(found["forget"].tolist()) if split == 0 else set()
        assert np.array_equal(found["val"], val)
        unseen = np.ones(50_000, bool)
        for name in found:
            unseen[found[name]] = False
        never += 10 * unseen
    everyone = np.setdiff1d(np.arange(50_000), val)
    assert forgotten[everyone].mean() == 32.0 and (forgotten[everyone].min(), forgotten[everyone].max()) == (8, 64)
    assert never[everyone].mean() == 320 and (never[everyone].min(), never[everyone].max()) == (160, 470)
    assert len(of_split) == 15_378 and not forgotten[val].any() and not never[val].any()


@pytest.mark.parametrize("total", [21, 200, TOTAL])
def test_the_same_fractions_divide_fewer_images(total):
    found = lira("3:9", total)
    apart, half = total // 20, (total - total // 20) // 2
    assert {name: len(array) for name, array in found.items()} == {
        "retain": half - half // 10, "forget": half // 10, "val": apart
    }  # fmt: skip
    assert len(np.unique(np.concatenate(list(found.values())))) == apart + half
    same = lira("3:0", total)
    both = (np.sort(np.concatenate([each["retain"], each["forget"]])) for each in (found, same))
    assert np.array_equal(*both)


def test_the_numbers_of_a_population_can_be_read():
    assert population_numbers("lira:63:9") == (63, 9) and population_numbers("lira:0:0") == (0, 0)
    assert [population_numbers(name) for name in (None, "seeds", "deepunlearn", "runs/lira:1:2.npz")] == [None] * 4


LIRA = "must be lira:S:J, split S from 0 to 63 and forget set J from 0 to 9"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("lira", LIRA),
        ("lira:3", LIRA),
        ("lira:64:0", LIRA),
        ("lira:0:10", LIRA),
        ("lira:-1:0", LIRA),
        ("lira:1:2:3", LIRA),
        ("lira:a:b", LIRA),
        ("deepunlearn:123", "deepunlearn takes no argument; it is one fixed split"),
    ],
)
def test_what_is_no_split_is_refused_before_any_image_is_read(typed, said, tmp_path, capsys):
    words = [*DIGITS, "--split", typed, "--save_dir", str(tmp_path / "run"), "--dry_run"]
    assert main_imp.main(words) == 2
    assert capsys.readouterr().err == f"main_imp.py: error: --split {typed}: {said}\n"


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match="--split lira:0:0: 20 training images are too few; it takes 21 or more"):
        split_file.read_split("lira:0:0", 20)
    with pytest.raises(UsageError, match="--split deepunlearn: 2 training images are too few to divide"):
        split_file.read_split("deepunlearn", 2)


def test_sizes_are_known_before_any_image_is_read():
    info = prepare.find("cifar10", None, None, given="lira:5:7")
    assert (info.train_total, info.val_total, len(info.given.forget)) == (23_750, 2_500, 2_375)
    assert info.notes["split from"] == "lira:5:7; left out: 23,750 training images, in none of its sets"
    assert info.identity["split"] == "lira:5:7"


def result(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of the fixed split and one of a population's, by the value of ``--split``."""
    folders = {}
    for given in ("deepunlearn", "lira:3:0"):
        folders[given] = tmp_path_factory.mktemp("population") / "model"
        words = [*DIGITS, "--split", given, "--epochs", "1", "--batch_size", "256"]
        assert main_imp.main([*words, "--save_dir", str(folders[given])]) == 0
    return folders


@pytest.mark.parametrize(("given", "model"), [("deepunlearn", "deepunlearn"), ("lira:3:4", "lira:3:0")])
def test_a_model_is_trained_and_unlearned_on_them(trained, given, model, tmp_path):
    """One training serves all forget sets of its split."""
    words = [*DIGITS, "--mask", str(trained[model] / "0model_SA_best.pth.tar"), "--split", given]
    words += ["--unlearn", "FT", "--unlearn_epochs", "1", "--save_dir", str(tmp_path / "FT")]
    assert main_forget.main(words) == 0
    kind, _, argument = given.partition(":")
    wanted = {"deepunlearn": deepunlearn, "lira": lira}[kind](argument, TOTAL)
    with np.load(tmp_path / "FT" / "split.npz") as left, np.load(trained[model] / "split.npz") as whole:
        assert np.array_equal(whole["train"], np.sort(np.concatenate([wanted["retain"], wanted["forget"]])))
        assert np.array_equal(left["train"], whole["train"])
        for name in ("retain", "forget"):
            assert np.array_equal(left[name], np.sort(wanted[name])), name
        assert np.array_equal(left["val"], wanted["val"]) and left["test"].tolist() == list(range(359))
    found, before = result(tmp_path / "FT"), result(trained[model])
    assert found["split"]["base_digest"] == before["split"]["digest"]
    assert found["config"]["split"] == given and found["split"]["forget"] == len(wanted["forget"])


def test_a_model_of_another_split_is_refused(trained, tmp_path, capsys):
    mask = ["--mask", str(trained["lira:3:0"] / "0model_SA_best.pth.tar")]
    words = [*DIGITS, *mask, "--split", "lira:4:0", "--unlearn", "FT", "--save_dir", str(tmp_path / "x")]
    assert main_forget.main(words) == 2
    assert "was trained on split" in capsys.readouterr().err
    assert (
        main_forget.main([*words[:-4], "--split", "lira:3:0", "--split_seed", "1", "--unlearn", "FT", *words[-2:]]) == 2
    )
    assert "--split lira:3:0 and --split_seed 1 both say who validates; give one" in capsys.readouterr().err
