"""Scores and membership attacks: hand-worked cases, and slow twins of what is fast."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC
from torch import nn

import models
from dataset.images import Augment, ImageSet
from evaluation import mia, run_scores
from evaluation.predict import Predictions, accuracy_on, predict
from report import text

pytestmark = pytest.mark.numeric

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None)
LOG2 = math.log(2)


def predictions(probs, labels):
    """Predictions whose softmax is ``probs`` (a zero becomes 1e-38)."""
    logits = torch.tensor(np.asarray(probs), dtype=torch.float32).clamp_min(1e-38).log()
    return Predictions(logits, torch.tensor(np.asarray(labels), dtype=torch.int64))


def drawn(count, classes=4, seed=0, sharpness=1.0, pool=None):
    """Random outputs that favour the true class; ``pool`` distinct rows drawn with repetition."""
    random = torch.Generator().manual_seed(seed)
    distinct = pool or count
    labels = torch.randint(0, classes, (distinct,), generator=random)
    logits = torch.randn((distinct, classes), generator=random)
    logits[torch.arange(distinct), labels] += sharpness
    rows = torch.arange(count) if pool is None else torch.randint(0, pool, (count,), generator=random)
    return Predictions(logits[rows], labels[rows])


def rows(found, wanted):
    """The listed rows, one by one."""
    return Predictions(torch.stack([found.logits[i] for i in wanted]), torch.stack([found.labels[i] for i in wanted]))


# ---- features -------------------------------------------------------------------------------------

PROBS = np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
LABELS = np.array([0, 2, 0, 1])


def test_correctness_by_hand():
    # Largest: 0 (right), 1 (not 2), 0 (right), 0 (not 1).
    assert mia.correctness(PROBS, LABELS).tolist() == [1, 0, 1, 0]


def test_confidence_by_hand():
    assert mia.confidence(PROBS, LABELS).tolist() == [0.5, 0.1, 1.0, 0.0]


def test_entropy_by_hand():
    # 1/2 log 2 + 2 * 1/4 log 4 = 3/2 log 2;  0.2 log 5 + 0.7 log 10/7 + 0.1 log 10;  0 log 0 counts as 0.
    expected = [1.5 * LOG2, 0.2 * math.log(5) + 0.7 * math.log(10 / 7) + 0.1 * math.log(10), 0, 0]
    found = mia.entropy(PROBS, LABELS)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[1] == pytest.approx(0.8018, abs=5e-5)


def test_modified_entropy_by_hand():
    # p = (.5, .25, .25), y = 0:  .5 log 2 + 2 * .25 log 4/3 = 0.3466 + 0.1438 = 0.4904.
    # p = (.2, .7, .1), y = 2:  .9 log 10 + .2 log 1/.8 + .7 log 1/.3 = 2.0723 + 0.0446 + 0.8428 = 2.9597.
    # Sure and right: 0.  Sure and wrong: both logarithms are of 0, floored at 1e-30: 2 * 30 log 10 = 138.155.
    found = mia.modified_entropy(PROBS, LABELS)
    assert found == pytest.approx([0.4904, 2.9597, 0, 138.1551], abs=5e-5)


def test_modified_entropy_stays_finite_in_float32():
    found = mia.modified_entropy(PROBS.astype(np.float32), LABELS)
    assert found.dtype == np.float32
    assert found == pytest.approx([0.4904, 2.9597, 0, 138.1551], abs=1e-3)


def test_the_reference_s_variant_by_hand():
    # Row 0 among labels {0}: class 0 gives (1 - .5) log 2, classes 1 and 2 each .25 log 4 = .5 log 2.
    assert mia.modified_entropy_of_reference(PROBS[:1], LABELS[:1]) == pytest.approx([1.5 * LOG2])
    # The same row among labels {0, 1, 2}: .5 log 2 + 2 * .75 log 4 = 3.5 log 2.
    all_present = mia.modified_entropy_of_reference(PROBS[[0, 0, 0]], np.array([0, 1, 2]))
    assert all_present == pytest.approx([3.5 * LOG2] * 3)


@pytest.mark.parametrize("present", [(2,), (0, 1, 3), (0, 1, 2, 3)])
def test_the_reference_s_variant_equals_its_definition(present):
    # -sum over classes in S of (1 - p) l, -sum over the others of p l; l = log p, or log 1e-30 for p = 0.
    probs = drawn(12, seed=3).probs.numpy().astype(np.float64)
    probs[0] = [1, 0, 0, 0]
    labels = np.array([present[i % len(present)] for i in range(12)])
    expected = []
    for row in probs:
        total = 0.0
        for c, p in enumerate(row):
            logarithm = math.log(p) if p > 0 else math.log(1e-30)
            total -= ((1 - p) if c in labels else p) * logarithm
        expected.append(total)
    assert mia.modified_entropy_of_reference(probs, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("key", mia.KEYS)
def test_an_image_s_feature_does_not_depend_on_the_others(key):
    found = drawn(20, seed=1)
    probs, labels = found.probs.numpy(), found.labels.numpy()
    feature = mia.features("fixed")[key]
    together = feature(probs, labels)
    alone = np.concatenate([feature(probs[i : i + 1], labels[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together)) > 1


def test_features_by_mode():
    assert tuple(mia.features("fixed")) == tuple(mia.features("reference")) == mia.KEYS
    assert mia.KEYS == ("correctness", "confidence", "entropy", "m_entropy", "prob")
    # Only m_entropy differs between the modes: 0.4904 as published, 3/2 log 2 as the reference computes it.
    for key in mia.KEYS:
        fixed, reference = (mia.features(mode)[key](PROBS[:1], LABELS[:1]) for mode in ("fixed", "reference"))
        assert np.array_equal(fixed, reference) == (key != "m_entropy")
    assert mia.features("fixed")["m_entropy"](PROBS[:1], LABELS[:1]) == pytest.approx([0.4904], abs=5e-5)


# ---- the attack by support vectors ----------------------------------------------------------------


def plain_svc(shadow_members, shadow_others, target_members, target_others, m_entropy):
    """The attack as its definition reads: every row is given to the classifier, repeated or not."""
    looks = {
        "correctness": mia.correctness,
        "confidence": mia.confidence,
        "entropy": mia.entropy,
        "m_entropy": m_entropy,
        "prob": lambda p, y: p,
    }
    result = {}
    for key, look in looks.items():

        def column(found, look=look):
            return np.array(look(found.probs.numpy(), found.labels.numpy()), dtype=np.float64).reshape(len(found), -1)

        judge = SVC(C=3, kernel="rbf", gamma="auto")
        judge.fit(
            np.concatenate([column(shadow_members), column(shadow_others)]),
            [1] * len(shadow_members) + [0] * len(shadow_others),
        )
        right = [np.mean(judge.predict(column(target_others)) == 0)]
        if target_members is not None:
            right.append(np.mean(judge.predict(column(target_members)) == 1))
        result[key] = float(np.mean(right))
    return result


@pytest.mark.parametrize("pool", [None, 40])
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_svc_attack_equals_a_plain_classifier_on_all_rows(compat, pool):
    # 250 rows; with a pool of 40 most are repeated, so the weight of a merged row matters.
    members, others = drawn(130, 10, 1, 3.0, pool), drawn(120, 10, 2, 1.5, pool)
    target_members, target_others = drawn(90, 10, 3, 3.0), drawn(200, 10, 4, 1.5)
    m_entropy = mia.modified_entropy if compat == "fixed" else mia.modified_entropy_of_reference
    for some in (None, target_members):
        found = mia.svc_mia(members, others, some, target_others, compat)
        assert tuple(found) == mia.KEYS
        assert found == pytest.approx(plain_svc(members, others, some, target_others, m_entropy), abs=1e-12)
        assert len(set(found.values())) >= 4  # the features do tell different things
        assert all(type(value) is float for value in found.values())


def test_svc_attack_on_what_anyone_can_tell_apart():
    # Members are sure and right, others are undecided; every target looks like what it is.
    sure, unsure = [[0.9, 0.05, 0.05]] * 4, [[0.3, 0.3, 0.4]] * 4
    labels = [0, 0, 0, 0]
    told = mia.svc_mia(
        predictions(sure, labels), predictions(unsure, labels), predictions(sure, labels), predictions(unsure, labels)
    )
    assert told == dict.fromkeys(mia.KEYS, 1.0)
    # Targets that look like the opposite are all misjudged; non-members alone: three of four unsure.
    crossed = mia.svc_mia(
        predictions(sure, labels), predictions(unsure, labels), predictions(unsure, labels), predictions(sure, labels)
    )
    assert crossed == dict.fromkeys(mia.KEYS, 0.0)
    mixed = predictions(unsure[:3] + sure[:1], labels)
    alone = mia.svc_mia(predictions(sure, labels), predictions(unsure, labels), None, mixed)
    assert alone == dict.fromkeys(mia.KEYS, 0.75)


# ---- protocols: who is shadow, who is target ------------------------------------------------------

# Retain and test images; in the last three there are more test images.
SIZES = [(9, 4), (9, 5), (12, 7), (5, 5), (5, 8), (4, 9), (6, 11)]


@pytest.mark.parametrize("n_retain, n_test", SIZES)
def test_forget_efficacy_learns_from_the_first_retain_images_and_the_test_set(n_retain, n_test):
    # With so few rows, one row more or less changes some score in some of the draws.
    for seed in range(6):
        retain, test, forget = (drawn(n, 3, 10 * seed + i) for i, n in enumerate((n_retain, n_test, 16)))
        count = n_test if n_test < n_retain else n_retain
        members, others = [], []
        for i in range(count):
            members.append(i)
            others.append(i)
        expected = mia.svc_mia(rows(retain, members), rows(test, others), None, forget, "fixed")
        assert mia.forget_efficacy(retain, test, forget, "fixed") == expected


@pytest.mark.parametrize("n_retain, n_test", SIZES)
def test_training_privacy_learns_from_half_the_test_set_and_judges_the_rest(n_retain, n_test):
    for seed in range(6):
        retain, test = (drawn(n, 3, 10 * seed + i) for i, n in enumerate((n_retain, n_test)))
        half = min(n_test // 2, n_retain // 2)
        parts = {"shadow members": [], "targets in": [], "shadow others": [], "targets out": []}
        for i in range(n_retain):
            parts["shadow members" if i < half else "targets in"].append(i)
        for i in range(n_test):
            parts["shadow others" if i < half else "targets out"].append(i)
        expected = mia.svc_mia(
            rows(retain, parts["shadow members"]),
            rows(test, parts["shadow others"]),
            rows(retain, parts["targets in"]),
            rows(test, parts["targets out"]),
            "fixed",
        )
        assert mia.training_privacy(retain, test, "fixed") == expected


def test_the_protocols_pass_the_mode_on():
    retain, test, forget = drawn(60, 4, 0, 3.0), drawn(40, 4, 1), drawn(50, 4, 2)
    forget = Predictions(forget.logits, torch.zeros_like(forget.labels))  # one class, as when a class is forgotten
    expected = mia.svc_mia(retain[:40], test, None, forget, "reference")
    assert mia.forget_efficacy(retain, test, forget, "reference") == expected
    efficacy = [mia.forget_efficacy(retain, test, forget, mode) for mode in ("fixed", "reference")]
    privacy = [mia.training_privacy(retain, test, mode) for mode in ("fixed", "reference")]
    for fixed, reference in (efficacy, privacy):
        assert fixed["m_entropy"] != reference["m_entropy"]
        assert {key: fixed[key] for key in mia.KEYS if key != "m_entropy"} == {
            key: reference[key] for key in mia.KEYS if key != "m_entropy"
        }


# ---- the attack by thresholds ---------------------------------------------------------------------


def slow_threshold(members, others):
    """Every score tried in turn, in exact fractions; the first of the best wins."""
    best, found = Fraction(-1), None
    for t in [*members, *others]:
        kept = Fraction(sum(m >= t for m in members), len(members))
        left_out = Fraction(sum(o < t for o in others), len(others))
        if kept + left_out > best:
            best, found = kept + left_out, t
    return found


def test_best_threshold_by_hand():
    # t = 3 keeps both members and leaves out both others.
    assert mia.best_threshold(np.array([4.0, 3.0]), np.array([1.0, 2.0])) == 3.0
    # t = 5: members 1/2, others 1 (sum 3/2); t = 1: 1 and 0; t = 3 (an other): 1/2 and 2/3.
    assert mia.best_threshold(np.array([1.0, 5.0]), np.array([3.0, 2.0, 2.0])) == 5.0
    # All equal: each t gives 1 + 0, and the first is a member.
    assert mia.best_threshold(np.array([2.0, 2.0]), np.array([2.0])) == 2.0
    # A tie between t = 4 and t = 2 (1/2 + 1 and 1 + 1/2): the member that comes first wins, either way round.
    assert mia.best_threshold(np.array([4.0, 2.0]), np.array([1.0, 3.0])) == 4.0
    assert mia.best_threshold(np.array([2.0, 4.0]), np.array([1.0, 3.0])) == 2.0


@PROPERTY
@given(st.lists(st.floats(-9, 9), min_size=1, max_size=12), st.lists(st.floats(-9, 9), min_size=1, max_size=12))
def test_best_threshold_of_any_scores_is_as_good_as_the_best(members, others):
    # Without a rule for ties: nothing among all the scores is better.
    def quality(t):
        return Fraction(sum(m >= t for m in members), len(members)) + Fraction(sum(o < t for o in others), len(others))

    found = mia.best_threshold(np.array(members), np.array(others))
    assert found in [*members, *others]
    assert quality(found) == max(quality(t) for t in [*members, *others])


@PROPERTY
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
# 1 is as good as 5 (6/8 + 2/6 = 2/8 + 5/6 = 13/12) and comes first; rounding must not decide between them.
@example([2, 1, 2, 4, 5, 0, 0, 5], [2, 5, 2, 0, 0, 4])
def test_of_equally_good_thresholds_the_first_wins(members, others):
    found = mia.best_threshold(np.array(members, dtype=float), np.array(others, dtype=float))
    assert found == slow_threshold(members, others)


def test_best_threshold_of_float32_scores_keeps_the_very_score():
    # Members are judged by ">=", so a threshold that was rounded up would lose the member it came from.
    members = np.array([0.1, 0.7], dtype=np.float32)
    found = mia.best_threshold(members, np.array([0.05, 0.01], dtype=np.float32))
    assert found == members[0] and (members >= found).all()


def test_threshold_attacks_equal_a_slow_twin():
    # Class sizes are powers of two, so that the fast sums of fractions are exact and ties are ties.
    labels = torch.tensor([0] * 4 + [1] * 8 + [2] * 4)
    found = [drawn(16, 3, seed, 0.0) for seed in range(2)]
    members, others = (
        Predictions(f.logits + sharp * nn.functional.one_hot(labels, 3), labels) for f, sharp in zip(found, (2.0, 0.5))
    )
    targets = drawn(25, 3, 5, 2.0), drawn(30, 3, 6, 0.5)

    def score(key, p, y):
        if key == "confidence":
            return p[y]
        if key == "entropy":
            return sum(q * np.log(q) for q in p)
        return (1 - p[y]) * np.log(p[y]) + sum(q * np.log(1 - q) for c, q in enumerate(p) if c != y)

    expected = {
        "correctness": tuple(
            float(np.mean([(p.argmax() == y) == member for p, y in zip(t.probs.numpy(), t.labels.tolist())]))
            for t, member in zip(targets, (True, False))
        )
    }
    for key in ("confidence", "entropy", "m_entropy"):
        by_class = {}
        for c in range(3):
            shadows = [
                [score(key, p, y) for p, y in zip(s.probs.double().numpy(), s.labels.tolist()) if y == c]
                for s in (members, others)
            ]
            by_class[c] = slow_threshold(*shadows) - 1e-6  # below the gap that float32 leaves
        judged = [
            [score(key, p, y) >= by_class[y] for p, y in zip(t.probs.double().numpy(), t.labels.tolist())]
            for t in targets
        ]
        expected[key] = (float(np.mean(judged[0])), 1 - float(np.mean(judged[1])))
    result = mia.threshold_attacks(members, others, *targets)
    assert list(result) == ["correctness", "confidence", "entropy", "m_entropy"]
    for key, pair in expected.items():
        assert result[key] == pytest.approx(pair, abs=1e-7), key  # means of float32 ones and zeros
    assert len(set(result.values())) > 1


def two_way(confidences, label):
    """Two-class outputs with the given confidence in the true class."""
    return [[c, 1 - c] if label == 0 else [1 - c, c] for c in confidences]


@pytest.mark.parametrize("one_sided", [False, True])
def test_a_class_that_the_shadows_lack_is_judged_by_the_threshold_of_all(one_sided):
    # Shadow members of class 0 at 0.8 and 0.9, non-members at 0.6 and 0.7: the threshold is 0.8. Class 1 was
    # forgotten whole and is not among the test images; its confidences 0.75, 0.85, 0.79 judged by 0.8: two of
    # three are non-members. By a threshold of 0 none would be, by one of 1 all.
    members = predictions(two_way([0.9, 0.8], 0), [0, 0])
    if one_sided:
        # A member of class 1 at 0.95, and none among the others: still the threshold over all scores.
        members = predictions(two_way([0.9, 0.8], 0) + two_way([0.95], 1), [0, 0, 1])
    others = predictions(two_way([0.6, 0.7], 0), [0, 0])
    forgotten = predictions(two_way([0.75, 0.85, 0.79], 1), [1, 1, 1])
    result = mia.threshold_attacks(members, others, predictions(two_way([0.9, 0.7], 0), [0, 0]), forgotten)
    for key in ("confidence", "entropy", "m_entropy"):
        assert result[key] == pytest.approx((1 / 2, 2 / 3)), key
    assert result["correctness"] == (1.0, 0.0)  # all are right, so all look like members


def test_each_class_has_its_own_threshold():
    # Class 0 splits at 0.9, class 1 at 0.6; one threshold for both would misjudge 0.85 of class 0 or 0.65 of class 1.
    members = predictions(two_way([0.9, 0.95], 0) + two_way([0.6, 0.65], 1), [0, 0, 1, 1])
    others = predictions(two_way([0.85, 0.8], 0) + two_way([0.55, 0.52], 1), [0, 0, 1, 1])
    result = mia.threshold_attacks(members, others, members, others)
    assert result["confidence"] == result["entropy"] == result["m_entropy"] == (1.0, 1.0)


# ---- the report -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_retain, n_test", [(50, 20), (31, 20), (30, 31)])
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_score_holds_every_score_of_a_run(n_retain, n_test, compat):
    outputs = {
        "retain": drawn(n_retain, 3, 0, 3.0),
        "forget": drawn(12, 3, 1, 2.0),
        "val": drawn(9, 3, 2),
        "test": drawn(n_test, 3, 3),
    }
    found = run_scores.score(outputs, compat)
    assert set(found) == {
        "accuracy",
        "SVC_MIA_forget_efficacy",
        "SVC_MIA_training_privacy",
        "threshold_attacks",
        "entropy_attack",
        "deepunlearn",
    }
    for name, output in outputs.items():
        right = sum(int(row.argmax()) == y for row, y in zip(output.logits, output.labels.tolist()))
        assert found["accuracy"][name] == pytest.approx(right / len(output))
    retain, test, forget = outputs["retain"], outputs["test"], outputs["forget"]
    assert found["SVC_MIA_forget_efficacy"] == mia.forget_efficacy(retain, test, forget, compat)
    assert found["SVC_MIA_training_privacy"] == mia.training_privacy(retain, test, compat)
    # Thresholds: as many retain as test images are shadows, and at least half of the retain images are targets.
    shadows = min(n_test, n_retain // 2)
    pairs = mia.threshold_attacks(
        rows(retain, range(shadows)), rows(test, range(shadows)), rows(retain, range(shadows, n_retain)), forget
    )
    assert found["threshold_attacks"] == {key: list(pair) for key, pair in pairs.items()}
    assert found["entropy_attack"] == mia.entropy_attack(retain, test, forget)


def class_by_class(count, seed):
    found = drawn(count, 10, seed)
    order = torch.argsort(found.labels, stable=True)
    return Predictions(found.logits[order], found.labels[order])


def test_shadows_are_of_all_classes_where_images_lie_class_by_class():
    lying = class_by_class(400, 0)
    assert len(lying.labels[:40].unique()) <= 2
    found = mia.mixed(lying)
    assert len(found.labels[:40].unique()) >= 8
    assert sorted(found.logits.tolist()) == sorted(lying.logits.tolist())
    place = {tuple(row): label for row, label in zip(lying.logits.tolist(), lying.labels.tolist())}
    assert [place[tuple(row)] for row in found.logits.tolist()] == found.labels.tolist()
    assert torch.equal(mia.mixed(lying).labels, found.labels)
    official = drawn(400, 10, 0)
    assert mia.mixed(official) is official  # in the order of the official files, as the reference

    outputs = {"retain": lying, "test": class_by_class(100, 1), "val": drawn(30, 10, 2), "forget": drawn(40, 10, 3)}
    efficacy = {
        compat: run_scores.score(outputs, compat)["SVC_MIA_forget_efficacy"] for compat in ("fixed", "reference")
    }
    assert efficacy["fixed"] == mia.forget_efficacy(found, mia.mixed(outputs["test"]), outputs["forget"], "fixed")
    assert efficacy["reference"] == mia.forget_efficacy(lying, outputs["test"], outputs["forget"], "reference")
    assert efficacy["fixed"]["confidence"] != efficacy["reference"]["confidence"]


SCORES = {
    "accuracy": {"retain": 0.95, "forget": 0.25, "val": 0.5, "test": 0.875},
    "SVC_MIA_forget_efficacy": dict(zip(mia.KEYS, (0.75, 0.625, 0.5, 0.375, 0.25))),
    "SVC_MIA_training_privacy": dict(zip(mia.KEYS, (0.51, 0.52, 0.53, 0.54, 0.55))),
    "threshold_attacks": {
        "correctness": [0.9, 0.1],
        "confidence": [0.8, 0.2],
        "entropy": [0.7, 0.3],
        "m_entropy": [0.6, 0.4],
    },
    "entropy_attack": 0.125,
}


def test_the_paper_s_scores():
    # UA = 1 - accuracy on what is forgotten; MIA-Efficacy is the confidence attack; RTE in minutes.
    assert run_scores.paper_scores(SCORES, 90.0) == {
        "UA": 0.75,
        "RA": 0.95,
        "TA": 0.875,
        "MIA-Efficacy": 0.625,
        "RTE": 1.5,
    }
    assert run_scores.paper_scores(SCORES, 0.0)["RTE"] == 0.0
    assert run_scores.paper_scores(SCORES, None)["RTE"] is None


def test_the_reference_s_result_holds_per_cent_and_fractions():
    found = run_scores.reference_result(SCORES)
    assert list(found) == ["accuracy", "SVC_MIA_forget_efficacy", "SVC_MIA_training_privacy"]
    assert found["accuracy"] == pytest.approx({"retain": 95, "forget": 25, "val": 50, "test": 87.5})
    assert found["SVC_MIA_forget_efficacy"] == SCORES["SVC_MIA_forget_efficacy"]
    assert found["SVC_MIA_training_privacy"] == SCORES["SVC_MIA_training_privacy"]


@pytest.mark.parametrize(("retain", "test"), [(1, 1), (1, 4), (4, 1), (2, 1), (2, 2)])
def test_attacks_that_lack_images_are_left_out_and_named(retain, test):
    counts = {"retain": retain, "forget": 1, "test": test}
    outputs = {name: drawn(count, seed=number) for number, (name, count) in enumerate(counts.items())}
    for compat in ("fixed", "reference"):
        found = run_scores.score(outputs, compat)
        there = {"SVC_MIA_training_privacy": min(retain, test) > 1, "threshold_attacks": retain > 1}
        assert {name: name in found for name in there} == there
        assert found["SVC_MIA_forget_efficacy"]["confidence"] in (0, 1)
        lacking = ", ".join(name for name, present in there.items() if not present)
        assert run_scores.left_out(found) == (
            f"left out, as they need two retain and two test images: {lacking}" if lacking else ""
        )
        assert ("SVC_MIA_training_privacy" in run_scores.reference_result(found)) == there["SVC_MIA_training_privacy"]
        shown = "\n".join(text.attacks(found))
        assert ("SVC, members told" in shown, "threshold, forget unseen" in shown) == tuple(there.values())


def test_the_printed_block_shows_each_number_in_its_row():
    assert text.accuracies(SCORES) == ["retain acc: 95.00", "forget acc: 25.00", "val acc: 50.00", "test acc: 87.50"]
    lines = "\n".join(text.attacks(SCORES)).splitlines()
    numbers = [row.split()[-5:] for row in lines]
    assert ["75.00", "62.50", "50.00", "37.50", "25.00"] in numbers
    assert ["51.00", "52.00", "53.00", "54.00", "55.00"] in numbers
    assert ["10.00", "20.00", "30.00", "40.00", "-"] in numbers  # there is no threshold on the whole output
    assert lines[-1] == "entropy attack: 12.50 % of forget judged members"


# ---- prediction -----------------------------------------------------------------------------------


class Tiny(nn.Module):
    """Batch norm and dropout, so that training mode would show."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.norm, self.drop, self.head = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(48, 5)
        self.norm.running_mean.copy_(torch.tensor([0.2, 0.4, 0.6]))

    def forward(self, images):
        assert float(images.sum()) >= 0  # depends on values, so torch.fx cannot trace it and hooks stay in place
        return self.head(self.drop(self.norm(images)).flatten(1))


def tensors(count, seed):
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=random, dtype=torch.uint8)
    return images, torch.randint(0, 5, (count,), generator=random)


def seen_by(model):
    """A list that grows by one entry per batch: the images the model was given."""
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    return seen


def test_predict_sees_each_image_once_and_gives_what_a_direct_call_gives():
    model = Tiny().train()
    train, test = tensors(300, 0), tensors(40, 1)
    order = np.random.RandomState(0).permutation(300)
    sets = {
        "retain": ImageSet(*train, order[:250], Augment()),
        "test": ImageSet(*test),
        "forget": ImageSet(*train, order[250:280], Augment()),
        "val": ImageSet(*train, order[240:260]),  # overlaps both
        "everything": ImageSet(*test, np.array([3, 3, 39])),  # even one image twice
    }
    seen = seen_by(model)
    found = predict(model, sets)
    assert sum(len(batch) for batch in seen) == 280 + 40
    assert len(torch.unique(torch.cat(seen).flatten(1), dim=0)) == 280 + 40
    assert not model.training
    assert list(found) == list(sets)
    for name, images in sets.items():
        with torch.no_grad():
            direct = model(images.images[images.indices].float() / 255)
        assert torch.allclose(found[name].logits, direct, atol=1e-5), name
        assert found[name].labels.tolist() == images.labels.tolist()
        assert len(found[name]) == len(images)


def test_folding_batch_norm_changes_no_output_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = models.build("resnet20s", 10)
    model(torch.rand(16, 3, 32, 32))  # statistics other than 0 and 1
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = ImageSet(*tensors(20, 2))
    side = torch.nn.functional.interpolate(images.images.float(), (32, 32)).to(torch.uint8)
    large = ImageSet(side, images.labels)
    found = predict(model, {"test": large})["test"].logits
    with torch.no_grad():
        assert torch.allclose(found, model.eval()(side.float() / 255), rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_predictions_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [1.0, 1.0 - math.log(4)], [5.0, 5.0]])
    found = Predictions(logits, torch.tensor([1, 1, 0]))
    # 1 : 3, 4 : 1, 1 : 1.
    assert torch.allclose(found.probs, torch.tensor([[0.25, 0.75], [0.8, 0.2], [0.5, 0.5]]))
    assert found.accuracy == pytest.approx(2 / 3)  # right, wrong, and of equals the first
    part = found[1:]
    assert len(part) == 2 and part.labels.tolist() == [1, 0] and torch.equal(part.logits, logits[1:])
    assert math.isnan(found[:0].accuracy)


def test_accuracy_on_counts_the_right_ones():
    model = Tiny().train()
    images = ImageSet(*tensors(300, 4), np.arange(0, 300, 2), Augment(pad=2))
    with torch.no_grad():
        right = (model.eval()(images.images[::2].float() / 255).argmax(1) == images.labels).sum()
    assert 0 < right < 150
    seen = seen_by(model.train())
    assert accuracy_on(model, images) == pytest.approx(int(right) / 150)
    assert sum(len(batch) for batch in seen) == 150 and not model.training
    # With a seed the images are cropped and flipped, in the same order, the same way each time.
    torch.cat(seen)
    plain, first = torch.cat(seen), len(seen)
    augmented = accuracy_on(model, images, 3)
    assert augmented == accuracy_on(model, images, 3)
    passes = torch.cat(seen[first : 2 * first]), torch.cat(seen[2 * first :])
    assert torch.equal(*passes) and not torch.equal(passes[0], plain)
    with torch.no_grad():
        assert augmented == pytest.approx(float((model(passes[0]).argmax(1) == images.labels).double().mean()))
