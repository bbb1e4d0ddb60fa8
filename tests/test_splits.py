"""Index sets: the golden draws of the reference, and what must hold for any labels and seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset import catalog, prepare, sources
from dataset.scenario import Scenario
from dataset.split import BaseSplit, choose_forget, digest, split_base, split_for_unlearning, train_counts
from utils.errors import UsageError

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def cyclic(classes):
    """Label i mod K over 50,000 images: the vector behind the golden hashes."""
    return np.arange(50_000, dtype=np.int64) % classes


def plain_hash(indices):
    """The golden values' own hash; the project's digest also holds each array's length."""
    return hashlib.sha256(np.asarray(indices, dtype="<i8").tobytes()).hexdigest()[:16]


def forget_cyclic(classes, seed, scenario):
    labels = cyclic(classes)
    base = split_base(labels, seed)
    return split_for_unlearning(labels, labels[:10_000], base, scenario, seed)


def uneven():
    """Classes of 20, 40 and 31 training images (2, 4 and 3 validate), 6, 7 and 8 test images, shuffled."""
    shuffle = np.random.RandomState(5)
    return shuffle.permutation(np.repeat([0, 1, 2], [20, 40, 31])), shuffle.permutation(np.repeat([0, 1, 2], [6, 7, 8]))


def split_uneven(scenario, seed=3):
    train_labels, test_labels = uneven()
    base = split_base(train_labels, seed)
    return split_for_unlearning(train_labels, test_labels, base, scenario, seed)


# ---- golden values: what the reference draws ------------------------------------------------------


@pytest.mark.parametrize(
    "classes, seed, train_hash, val_hash, val_first",
    [
        (10, 1, "ac7026a6e39cae88", "ae8f2cf0c1846880", [27640, 47670, 38140, 34990, 27350, 39220]),
        (10, 2, "2cda7810a5ec75aa", "0e652e6c135c8db0", [35660, 42520, 19180, 41110, 14710, 9290]),
        (100, 1, "0192e57119aa28a9", "5068fbe8eee3b509", [30400, 34000, 4700]),
        (100, 2, "3b1d537bcec1590c", "8e0f4c09a40d28f0", [12900, 28000, 44000]),
    ],
)
def test_base_split_draws_what_the_reference_draws(classes, seed, train_hash, val_hash, val_first):
    found = split_base(cyclic(classes), seed)
    assert (len(found.train), len(found.val)) == (45_000, 5_000)
    assert found.val[: len(val_first)].tolist() == val_first
    assert (plain_hash(found.train), plain_hash(found.val)) == (train_hash, val_hash)


def test_validation_indices_end_as_the_reference_s_do():
    assert split_base(cyclic(10), 1).val[-3:].tolist() == [15949, 28989, 42699]


@pytest.mark.parametrize(
    "classes, seed, scenario, forget_hash, retain_hash, count, first",
    [
        (10, 2, Scenario((0,), 4500), "74cdd7062f895af6", "71e9e8dace0b8c6b", 4500, []),
        (10, 2, Scenario((0,), None), "74cdd7062f895af6", "71e9e8dace0b8c6b", 4500, []),
        (10, 2, Scenario(None, 4500), "7f8bf3438e2d05e5", "a5517cbaa60500e4", 4500, [10, 44, 46, 72, 89, 92]),
        (10, 1, Scenario(None, 4500), "1b1d1cbc669d5b3e", "6a84f5925d10cbd9", 4500, [3, 19, 25, 29, 36, 55]),
        (10, 2, Scenario((3,), 200), "81a6fc65097a590e", "86442a1671b4f2d1", 200, [173, 213, 323, 413]),
        (100, 2, Scenario((0,), 450), "9e1ca1f791f56367", "8b021bd9d6f93b9f", 450, []),
        (100, 2, Scenario(None, 4500), "64f9434d6da22ec4", "7a0167bc770d8111", 4500, [11, 50, 52, 80]),
    ],
)
def test_forget_and_retain_are_those_of_the_reference(classes, seed, scenario, forget_hash, retain_hash, count, first):
    found = forget_cyclic(classes, seed, scenario)
    assert (len(found.forget), len(found.retain)) == (count, 45_000 - count)
    assert found.forget[: len(first)].tolist() == first
    assert (plain_hash(found.forget), plain_hash(found.retain)) == (forget_hash, retain_hash)


def test_a_number_can_say_all_images_of_the_classes():
    every = [Scenario((0,), None), Scenario((0, 2), None), Scenario((1,), 5), Scenario((0, 1), 9)]
    some = [Scenario((1,), 4), Scenario((0, 1), 5), Scenario(None, 9)]
    assert [each.takes_all([4, 5, 6]) for each in every + some] == [True] * 4 + [False] * 3


def test_only_the_labels_tell_whether_a_list_of_images_is_a_class():
    unknown = [Scenario(None, None, (0, 1)), Scenario((1,), 5)]
    assert [each.takes_all(None) for each in [*unknown, Scenario((1,))]] == [None, None, True]


def test_validation_and_training_counts_of_svhn():
    # The constants of the reference: class 0 keeps 4,454 of 4,948.
    left = train_counts(list(catalog.get("svhn").official), True)
    assert left == [4454, 12475, 9527, 7648, 6713, 6194, 5155, 5036, 4541, 4194]
    assert sum(list(catalog.get("svhn").official)) == 73_257 and sum(left) == 65_937
    assert train_counts(list(catalog.get("svhn").official), False) == list(catalog.get("svhn").official)


# ---- properties of a split ------------------------------------------------------------------------


@PROPERTY
@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.integers(0, 2**40))
def test_base_split_equals_its_definition(labels, seed):
    # Twin: one generator for all classes; of each class the first tenth of a permutation validates.
    random, val = np.random.RandomState(seed % 2**32), []
    for label in range(max(labels) + 1):
        members = [i for i, y in enumerate(labels) if y == label]
        val += [members[rank] for rank in random.permutation(len(members))[: len(members) // 10]]
    found = split_base(np.array(labels), seed)
    assert found.val.tolist() == val
    assert found.train.tolist() == [i for i in range(len(labels)) if i not in val]
    assert (found.train.dtype, found.val.dtype) == (np.int64, np.int64)
    official = np.bincount(labels, minlength=5).tolist()
    assert np.bincount(np.array(labels)[found.train], minlength=5).tolist() == train_counts(official, True)


@PROPERTY
@given(st.integers(0, 2), st.one_of(st.none(), st.integers(1, 18)), st.booleans(), st.integers(0, 2**33))
def test_parts_are_disjoint_ascending_and_cover_the_training_set(label, count, everywhere, seed):
    scenario = Scenario(None, count or 18) if everywhere else Scenario((label,), count)
    labels, _ = uneven()
    found = split_uneven(scenario, seed)
    assert sorted([*found.retain, *found.forget, *found.val]) == list(range(len(labels)))
    assert found.forget.tolist() == sorted(found.forget) and found.retain.tolist() == sorted(found.retain)
    if not everywhere:
        assert set(labels[found.forget]) == {label}
    assert len(found.forget) == (scenario.count or {0: 18, 1: 36, 2: 28}[label])


@PROPERTY
@given(st.integers(0, 2**33), st.integers(1, 18), st.sampled_from([None, 0, 1, 2]))
def test_forget_set_equals_its_definition(seed, count, label):
    # Twin: the first ``count`` of a permutation of the candidates, by a fresh generator of seed - 1.
    labels, _ = uneven()
    train = split_base(labels, 3).train
    candidates = [i for i in train if label is None or labels[i] == label]
    order = np.random.RandomState((seed - 1) % 2**32).permutation(len(candidates))
    expected = sorted(candidates[rank] for rank in order[:count])
    assert choose_forget(labels, train, Scenario(None if label is None else (label,), count), seed).tolist() == expected


def test_same_seed_gives_the_same_digest_and_other_seeds_give_others():
    labels, _ = uneven()
    digests = [split_base(labels, seed).digest for seed in range(8)]
    assert digests == [split_base(labels.copy(), seed).digest for seed in range(8)]
    assert len(set(digests)) == 8
    unlearning = [split_uneven(Scenario(None, 9), seed).digest for seed in range(8)]
    assert unlearning == [split_uneven(Scenario(None, 9), seed).digest for seed in range(8)]
    assert len(set(unlearning)) == 8


def test_the_digest_covers_each_part_of_a_split():
    # Other images forgotten, or another test set, on the same base: another digest, the same base_digest.
    first, second = split_uneven(Scenario((0,), 5)), split_uneven(Scenario((1,), 5))
    assert first.digest != second.digest
    assert first.digest == digest(first.retain, first.forget, first.val, first.test)
    assert first.base_digest == second.base_digest == split_base(uneven()[0], 3).digest
    labels, test_labels = uneven()
    base = split_base(labels, 3)
    shorter = split_for_unlearning(labels, test_labels[:-1], base, Scenario((0,), 5), 3)
    assert shorter.digest != first.digest
    assert digest(base.train, base.val) != digest(base.train, base.val[::-1])


def test_the_digest_is_the_written_recipe():
    # Each array as 8 bytes of length, then its values as little-endian int64: 2 values are 16 = 0x10 bytes.
    content = b"\x10" + bytes(7) + b"\x01" + bytes(7) + b"\x02" + bytes(7) + bytes(8)
    expected = hashlib.sha256(content).hexdigest()[:16]
    assert digest(np.array([1, 2]), None) == expected
    assert digest(np.array([1, 2], dtype=np.int32), None) == expected
    assert digest([1, 2], [3]) != digest([1], [2, 3])


def test_seed_zero_is_a_seed():
    labels, _ = uneven()
    found = split_uneven(Scenario((0,), 5), 0)
    # The draw's own seed, 0 - 1, wraps to the largest one; the reference stopped here with an error.
    train = split_base(labels, 0).train
    of_class = train[labels[train] == 0]
    order = np.random.RandomState(2**32 - 1).permutation(len(of_class))
    assert found.forget.tolist() == sorted(of_class[order[:5]])
    assert found.digest == split_uneven(Scenario((0,), 5), 0).digest != split_uneven(Scenario((0,), 5), 1).digest


def test_without_validation_everything_trains():
    labels, test_labels = uneven()
    base = split_base(labels, 2, with_validation=False)
    assert base.val is None and base.train.tolist() == list(range(91))
    found = split_for_unlearning(labels, test_labels, base, Scenario((1,), None), 2)
    assert found.val is None
    assert len(found.forget) == 40 and len(found.retain) == 51
    # The digest names what was trained on, not the seed that had no say in it.
    assert base.digest == split_base(labels, 7, with_validation=False).digest != split_base(labels, 2).digest


# ---- scenarios ------------------------------------------------------------------------------------


def training_images_of(label):
    labels, _ = uneven()
    return tuple(int(i) for i in split_base(labels, 3).train if labels[i] == label)


@pytest.mark.parametrize("label, size, tests_left", [(0, 18, 15), (1, 36, 14), (2, 28, 13)])
def test_a_class_forgotten_whole_leaves_the_test_set_whatever_its_size(label, size, tests_left):
    # By name, by the number that happens to be all of it, and by a list of its images.
    _, test_labels = uneven()
    for scenario in (
        Scenario((label,), None),
        Scenario((label,), size),
        Scenario(None, None, training_images_of(label)),
    ):
        found = split_uneven(scenario)
        assert found.whole_classes == (label,)
        assert len(found.forget) == size
        assert len(found.test) == tests_left
        assert found.test.tolist() == [i for i, y in enumerate(test_labels) if y != label]


@pytest.mark.parametrize(
    "scenario", [Scenario((1,), 35), Scenario(None, 36), Scenario(None, None, training_images_of(1)[:-1])]
)
def test_the_test_set_stays_whole_while_some_of_the_class_is_retained(scenario):
    found = split_uneven(scenario)
    assert found.whole_classes == ()
    assert found.test.tolist() == list(range(21))


def test_part_of_a_class_is_drawn_from_that_class_alone():
    labels, _ = uneven()
    found = split_uneven(Scenario((2,), 7))
    assert len(found.forget) == 7 and set(labels[found.forget]) == {2}
    assert len(found.retain) == 18 + 36 + 28 - 7


def test_listed_indices_are_forgotten_as_listed():
    train = split_base(uneven()[0], 3).train.tolist()
    wanted = [train[40], train[3], train[3], train[17]]  # unordered, one of them twice
    found = split_uneven(Scenario(None, None, tuple(wanted)))
    assert found.forget.tolist() == [train[3], train[17], train[40]]
    assert found.retain.tolist() == [i for i in train if i not in wanted]


@pytest.mark.parametrize(
    "scenario, counts, message",
    [
        (Scenario((3,), None), [9, 18, 27], r"--class_to_replace 3: the classes are 0 to 2 \(-1 draws from all\)"),
        (Scenario((1,), 19), [9, 18, 27], r"--num_indexes_to_replace 19: class 1 has 18 training images"),
        (Scenario(None, 55), [9, 18, 27], r"--num_indexes_to_replace 55: the training set has 54 training images"),
        (Scenario((1,), 0), [9, 18, 27], r"nothing to forget"),
        (Scenario((1,), 0.01), [9, 18, 27], r"nothing to forget"),  # 0.18 of an image
        (Scenario((1,), None), [9, 0, 27], r"nothing to forget"),
        (Scenario(None, 54), [9, 18, 27], r"would leave none of the 54 training images to retain"),
        (Scenario(None, None), [9, 18, 27], r"would leave none of the 54 training images to retain"),
        (Scenario((1,), None), [0, 18, 0], r"would leave none of the 18 training images to retain"),
    ],
)
def test_impossible_scenarios_are_refused_in_words(scenario, counts, message):
    with pytest.raises(UsageError, match=message):
        scenario.resolve(counts)


def test_errors_name_the_flag_that_was_typed():
    with pytest.raises(UsageError, match="^--forget class:5: the classes are 0 to 1"):
        Scenario((5,), None, None, "--forget class:5").resolve([4, 4])
    with pytest.raises(UsageError, match="^--forget random:0.1: nothing to forget"):
        Scenario(None, 0.1, None, "--forget random:0.1").resolve([2, 2])


@pytest.mark.parametrize(
    "scenario, expected",
    [
        (Scenario((2,), None), Scenario((2,), None)),  # the whole class stays "the whole class"
        (Scenario((2,), 27), Scenario((2,), 27)),
        (Scenario(None, 53), Scenario(None, 53)),  # one image is left to retain
        (Scenario(None, 0.1), Scenario(None, 5)),  # 5.4 of 54
        (Scenario((1,), 0.25), Scenario((1,), 4)),  # 4.5 of 18, to even
        (Scenario(None, None, (5, 2)), Scenario(None, None, (5, 2))),
    ],
)
def test_resolve_turns_the_count_into_a_number(scenario, expected):
    assert scenario.resolve([9, 18, 27]) == expected


def test_indices_that_are_not_training_images_are_refused():
    labels, _ = uneven()
    base = split_base(labels, 3)
    held_out, absent = int(base.val.min()), len(labels)
    listed = Scenario(None, None, (int(base.train[0]), held_out, absent, int(base.train[1])))
    message = rf"--indexes_to_replace: 2 of 4 are not training images \(first: {held_out}\)"
    with pytest.raises(UsageError, match=message):
        choose_forget(labels, base.train, listed, 3)
    with pytest.raises(UsageError, match=r"1 of 1 are not training images \(first: -1\)"):
        choose_forget(labels, base.train, Scenario(None, None, (-1,)), 3)


def test_something_must_be_left_to_retain():
    everything = tuple(split_base(uneven()[0], 3).train.tolist())
    with pytest.raises(UsageError, match="nothing is left to retain"):
        split_uneven(Scenario(None, None, everything))


def test_several_classes():
    labels, test_labels = np.repeat([0, 1, 2, 3], 20), np.repeat([0, 1, 2, 3], 5)
    base = split_base(labels, 3)
    found = split_for_unlearning(labels, test_labels, base, Scenario((0, 2), None), 5)
    assert found.whole_classes == (0, 2)
    assert sorted(set(labels[found.forget])) == [0, 2] and sorted(set(labels[found.retain])) == [1, 3]
    assert (len(found.forget), len(found.retain)) == (36, 36)
    assert found.test.tolist() == [*range(5, 10), *range(15, 20)]
    part = split_for_unlearning(labels, test_labels, base, Scenario((0, 2), 10), 5)
    assert (
        part.whole_classes == ()
        and len(part.forget) == 10
        and set(labels[part.forget]) == {0, 2}
        and len(part.test) == 20
    )
    assert Scenario((0, 2), 0.5).resolve([18] * 4).count == 18
    with pytest.raises(UsageError, match="--num_indexes_to_replace 37: classes 0,2 have 36 training images"):
        Scenario((0, 2), 37).resolve([18] * 4)
    with pytest.raises(UsageError, match="--class_to_replace 1,4: the classes are 0 to 3"):
        Scenario((1, 4), None).resolve([18] * 4)
    with pytest.raises(UsageError, match="no test image is left"):
        split_for_unlearning(labels, test_labels[:5], base, Scenario((0,), None), 5)
    words = Scenario((0, 2), None).words(36, 72, 36, ["cat", "dog", "emu", "fox"])
    assert words == "all 36 training images of classes 0 (cat), 2 (emu) (50.0 % of 72)"
    assert (
        Scenario((0, 2), None).facts() == {"class": [0, 2], "count": None}
        and Scenario((0, 2), None).kind(2) == "classes"
    )


def test_the_scenario_in_words():
    assert Scenario((0,), None).words(45, 450, 45, ["cat"]) == "all 45 training images of class 0 (cat) (10.0 % of 450)"
    assert Scenario((0,), 9).words(9, 4500, 4050, ["cat"]) == (
        "9 of the 4,050 training images of class 0 (cat), drawn at random (0.2 % of 4,500)"
    )
    assert Scenario(None, 4500).words(4500, 45_000, None, []) == (
        "4,500 training images drawn at random from all classes (10.0 % of 45,000)"
    )
    assert Scenario(None, None, (1, 2)).words(2, 8, None, []) == "2 listed training images (25.0 % of 8)"


def test_the_scenario_s_kind_is_told_by_what_happened():
    assert Scenario((0,), 4500).kind(1) == "class"
    assert Scenario((0,), 45).kind(0) == "part of a class"
    assert Scenario(None, 45).kind(0) == "random"
    assert Scenario(None, None, (1, 2)).kind(0) == "indices"
    assert Scenario(None, None, (1, 2)).kind(1) == "class"


def test_the_scenario_s_facts_name_listed_indices_by_digest():
    assert Scenario((4,), 10).facts() == {"class": 4, "count": 10}
    expected = {"indices": 3, "indices_digest": hashlib.sha256(b"1,5,30").hexdigest()[:16]}
    assert Scenario(None, None, (30, 1, 5, 1)).facts() == expected


# ---- the two modes of compatibility ---------------------------------------------------------------


def cifar_like(with_validation=True):
    pixel = np.zeros((50_000, 1, 1, 3), dtype=np.uint8)
    names = tuple("abcdefghij")
    labels, statistics = cyclic(10), (0.5,) * 3
    return sources.Dataset(
        "cifar10", names, pixel, labels, pixel[:100], labels[:100], statistics, statistics, 4, True, with_validation
    )


def test_fixed_mode_has_one_split_for_training_and_forgetting():
    data = cifar_like()
    base = prepare.base_split(data, 2, None, "fixed")
    assert base.seed == 2 and plain_hash(base.train) == "2cda7810a5ec75aa"
    assert base.forget_split is base
    apart = prepare.base_split(data, 2, 1, "fixed")  # --split_seed 1 overrides --seed 2
    assert apart.seed == 1 and plain_hash(apart.train) == "ac7026a6e39cae88"
    assert apart.forget_split is apart
    assert prepare.base_split(data, 5, 0, "fixed").seed == 0  # 0 is a seed, not "none given"


def test_reference_mode_trains_on_split_1_and_forgets_from_another():
    # The numbers follow from class sizes alone: 459 of 4,500 class-0 images, 462 of 4,500 drawn from
    # all, were never trained on, and 4,488 of the 5,000 validation images are in the other's training part.
    data = cifar_like()
    base = prepare.base_split(data, 2, None, "reference")
    marked = base.forget_split
    assert (plain_hash(base.train), plain_hash(marked.train)) == ("ac7026a6e39cae88", "2cda7810a5ec75aa")
    unseen = {}
    for name, scenario in (("class", Scenario((0,), None)), ("random", Scenario(None, 4500))):
        found = split_for_unlearning(data.train_labels, data.test_labels, base, scenario, 2)
        unseen[name] = np.setdiff1d(found.forget, base.train).size
        assert found.val is base.val and found.base_digest == base.digest
        assert np.union1d(found.forget, found.retain).tolist() == marked.train.tolist()
    assert unseen == {"class": 459, "random": 462}
    assert np.intersect1d(base.val, marked.train).size == 4488


def test_reference_mode_obeys_a_split_seed_that_was_given():
    data = cifar_like()
    base = prepare.base_split(data, 2, 2, "reference")
    assert base.seed == 2
    assert base.forget_split.digest == base.digest


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_no_val_data_sets_train_on_everything_in_both_modes(compat):
    data = cifar_like(with_validation=False)
    base = prepare.base_split(data, 2, None, compat)
    marked = base.forget_split
    for split in (base, marked):
        assert isinstance(split, BaseSplit) and split.val is None
        assert split.train.tolist() == list(range(50_000))
