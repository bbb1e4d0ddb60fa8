"""Population attacks: slow twins, populations whose answer is known, degenerate and wrong input, and their files."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from bootstrap import intervals, ulira_intervals
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from evaluation.populations import roc as roc_numbers
from evaluation.populations import ulira as ulira_attack
from evaluation.populations.klom import klom
from evaluation.populations.lira import lira, lira_as_coded
from evaluation.populations.rmia import Signals, rmia, rmia_as_coded
from evaluation.populations.roc import Bootstrap, curve, roc, thinned
from evaluation.populations.scaled_logit import scaled_logit
from evaluation.populations.ulira import pooled, ulira
from utils.errors import UsageError


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


# --- Slow twins ---


def test_margin_is_the_log_odds_of_the_true_class(random):
    assert scaled_logit([[0.0, math.log(3)], [1000.0, 0.0]], [1, 0]) == pytest.approx([math.log(3), 1000])
    logits, labels = random.normal(0, 3, (20, 5)).astype(np.float32), random.integers(0, 5, 20)
    for row, label, found in zip(logits.astype(float), labels, scaled_logit(logits, labels)):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        assert found == pytest.approx(math.log(p) - math.log(1 - p), rel=1e-9)


def slow_lira(shadow_z, shadow_in, target_z, variant, fixed):
    """Image by image and query by query, after the formulas of the paper."""
    images, queries = target_z.shape[1:]
    inside = [[shadow_z[shadow_in[:, i], i, a] for a in range(queries)] for i in range(images)]
    outside = [[shadow_z[~shadow_in[:, i], i, a] for a in range(queries)] for i in range(images)]

    def spread(side, i, a):
        deviations = [z - cell.mean() for row in side for cell in row for z in cell]
        return math.sqrt(np.mean(np.square(deviations))) if fixed else side[i][a].std()

    found = np.zeros(target_z.shape[:2])
    for t, i in np.ndindex(found.shape):
        scores = []
        for a in range(queries):
            z, out = target_z[t, i, a], norm(np.median(outside[i][a]), spread(outside, i, a))
            if variant == "offline":
                scores.append(-out.logsf(z))
            else:
                scores.append(norm(np.median(inside[i][a]), spread(inside, i, a)).logpdf(z) - out.logpdf(z))
        found[t, i] = np.mean(scores)
    return found


def halves(random, models=12, images=7):
    """Which model was trained on which image, each image by exactly half of them: bool [models, images]."""
    return random.random((models, images)).argsort(0) < models // 2


@pytest.mark.parametrize("variant,fixed", [*product(("online", "offline"), (False, True))])
def test_lira_is_what_its_formulas_say(random, variant, fixed):
    inside = halves(random)
    inside[0] = True  # so that the two sides have different numbers of models
    shadow_z, target_z = random.normal(0, 2, (12, 7, 3)), random.normal(0, 2, (2, 7, 3))
    found = lira(shadow_z, inside, target_z, variant, fixed)
    assert found == pytest.approx(slow_lira(shadow_z, inside, target_z, variant, fixed), rel=1e-9)


def test_lira_as_coded_takes_one_variance_and_equal_numbers(random):
    inside = halves(random)
    shadow_z, target_z = random.normal(0, 2, (12, 7, 2)), random.normal(0, 2, (2, 7, 2))
    assert lira_as_coded(shadow_z, inside, target_z, "online") == pytest.approx(
        lira(shadow_z, inside, target_z, "online")
    )
    mean, std = np.median(shadow_z[~inside[:, 3], 3], 0), shadow_z[~inside[:, 3], 3].std(0)
    offline = lira_as_coded(shadow_z, inside, target_z, "offline")
    assert offline[:, 3] == pytest.approx(-norm.logpdf(target_z[:, 3], mean, std).mean(-1))
    fixed = lira_as_coded(shadow_z, inside, target_z, "offline", True)
    assert fixed[:, 3] == pytest.approx(-norm.logpdf(target_z[:, 3], mean, shadow_z[~inside].std()).mean(-1))
    more = np.concatenate([shadow_z, random.normal(50, 1, (1, 7, 2))])  # the last model is one IN model too many
    member = np.concatenate([inside, np.ones((1, 7), bool)])
    for fixed in (False, True):
        expected = lira_as_coded(shadow_z, inside, target_z, "online", fixed)
        assert lira_as_coded(more, member, target_z, "online", fixed) == pytest.approx(expected)
    grand = shadow_z[inside].std()
    by_hand = [
        norm.logpdf(target_z[:, 3], np.median(shadow_z[side, 3], 0), grand) for side in (inside[:, 3], ~inside[:, 3])
    ]
    assert expected[:, 3] == pytest.approx((by_hand[0] - by_hand[1]).mean(-1))


@pytest.mark.parametrize("variant,gamma", [("online", 2.0), ("offline", 2.0), ("offline", 1.0)])
def test_rmia_counts_the_population_that_an_image_exceeds(random, variant, gamma):
    inside, a = halves(random, 8, 9), 0.3
    images = Signals(random.random(9), random.random((8, 9)), inside)
    population = Signals(random.random(40), random.random((8, 40)), np.zeros((8, 40), bool))
    population.trained[:3, 5] = variant == "online"

    def ratio(signals, i):
        column, member = signals.references[:, i], signals.trained[:, i]
        out = column[~member].mean()
        both = variant == "online" and member.any()
        marginal = (column[member].mean() + out) / 2 if both else ((1 + a) * out + 1 - a) / 2
        return signals.target[i] / marginal

    expected = [np.mean([ratio(images, i) >= gamma * ratio(population, z) for z in range(40)]) for i in range(9)]
    assert rmia(images, population, variant, gamma, a) == pytest.approx(expected)


def test_rmia_as_coded_takes_the_largest_half(random):
    inside, a = halves(random, 8, 9), 0.3
    images = Signals(random.random(9), random.random((8, 9)), inside)
    population = Signals(random.random(40), random.random((8, 40)), np.zeros((8, 40), bool))

    def ratio(target, kept):
        return target / (((1 + a) * np.mean(sorted(kept)[-4:]) + 1 - a) / 2)

    bounds = [ratio(population.target[z], population.references[:, z]) for z in range(40)]
    own = [ratio(images.target[i], images.references[~inside[:, i], i]) for i in range(9)]
    assert rmia_as_coded(images, population, a) == pytest.approx([np.mean([r > b for b in bounds]) for r in own])


@pytest.mark.parametrize("variant", ["default", "easydub", "data_unlearning_bench"])
def test_klom_is_the_divergence_of_histograms(random, variant):
    unlearned, oracle = random.normal(3, 2, (30, 6)), random.normal(0, 2, (40, 6))
    unlearned[0, 2] = 500.0  # clipped
    expected = []
    for left, right in zip(unlearned.T.clip(-100, 100), oracle.T.clip(-100, 100)):
        edges = np.linspace(min(left.min(), right.min()), max(left.max(), right.max()), 21)
        shares = []
        for group in (left, right):
            kept = group if variant == "default" else group[group < edges[-1]]
            shares.append(np.histogram(kept, edges)[0] / len(kept))
        p, q = shares[::-1] if variant == "data_unlearning_bench" else shares
        q = [max(b, 1e-5) if a > 0 else b for a, b in zip(p, q)]
        q = np.array(q) / (1 if variant == "easydub" else sum(q))
        expected.append(sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0))
    assert klom(unlearned, oracle, variant) == pytest.approx(expected, rel=1e-9)


def slow_ulira(unlearned, held_out, split, small):
    """Model by model, image by image: the ratio of densities fitted to the splits of the other parity."""
    found = [np.full(unlearned.shape, np.nan) for _ in range(2)]

    def fit(side, odd, image):
        cell = [z for z, s in zip(side[:, image], split) if s % 2 == odd and not np.isnan(z)]
        columns = [
            [z for z, s in zip(column, split) if s % 2 == odd and not np.isnan(z)] for column in side.T
        ]  # of all images, for the pooled deviation
        deviations = [z - np.mean(column) for column in columns for z in column]
        return (
            len(cell),
            np.mean(cell or [0]),
            np.std(cell) if len(cell) >= small else np.sqrt(np.mean(np.square(deviations))),
        )

    for model, image in np.ndindex(unlearned.shape):
        (n, mean, std), (m, other, spread) = (fit(side, 1 - split[model] % 2, image) for side in (unlearned, held_out))
        for target, side in zip(found, (unlearned, held_out)):
            if min(n, m) >= 2 and not np.isnan(side[model, image]):
                target[model, image] = norm.logpdf(side[model, image], mean, std) - norm.logpdf(
                    side[model, image], other, spread
                )
    return found


@pytest.mark.parametrize("small", [16, 4])
def test_ulira_is_what_its_definition_says(random, small):
    split, role = np.arange(20) // 2, random.random((20, 6))
    z = random.normal(0, 2, (20, 6))
    unlearned, held_out = np.where(role < 0.4, z, np.nan), np.where(role > 0.6, z, np.nan)
    unlearned[:, 5] = np.nan  # never forgotten
    found, (forgot, never) = ulira(unlearned, held_out, split, small), slow_ulira(unlearned, held_out, split, small)
    np.testing.assert_allclose(found["unlearned"], forgot, rtol=1e-9)
    np.testing.assert_allclose(found["held_out"], never, rtol=1e-9)
    for image in range(5):
        right = [forgot[~np.isnan(forgot[:, image]), image] > 0, never[~np.isnan(never[:, image]), image] <= 0]
        assert found["per_sample"][image] == pytest.approx((right[0].mean() + right[1].mean()) / 2)
    assert np.isnan(found["per_sample"][5])
    kept = forgot[~np.isnan(forgot)], never[~np.isnan(never)]
    assert found["balanced_accuracy"] == pytest.approx(((kept[0] > 0).mean() + (kept[1] <= 0).mean()) / 2)
    assert found["auc"] == pytest.approx(roc_auc_score(np.repeat([1, 0], list(map(len, kept))), np.concatenate(kept)))
    scores, members, splits = pooled(found["unlearned"], found["held_out"], split)
    assert scores[members] == pytest.approx(kept[0]) and scores[~members] == pytest.approx(kept[1])
    assert splits[members].tolist() == split[np.nonzero(~np.isnan(forgot))[0]].tolist()


@pytest.mark.parametrize("distinct", [10**6, 12])
def test_roc_agrees_with_scikit_learn(random, distinct):
    scores = np.round(random.normal(0, 1, 2000) * distinct) / distinct
    members = random.random(2000) < norm.cdf(scores - 1)
    fpr, tpr, _ = roc_curve(members, scores, drop_intermediate=False)
    for found, expected in zip(curve(scores, members), (fpr, tpr)):
        np.testing.assert_allclose(found, expected)
    found = roc(scores, members, threshold=0.5)
    assert found["auc"] == pytest.approx(roc_auc_score(members, scores))
    assert found["accuracy"] == pytest.approx((1 + tpr - fpr).max() / 2)
    for rate in (0.0, 0.001, 0.01, 0.1):
        assert found[f"tpr@{rate}"] == pytest.approx(max(t for f, t in zip(fpr, tpr) if f <= rate))
    above = scores > 0.5
    assert found["balanced_accuracy"] == pytest.approx((above[members].mean() + (~above)[~members].mean()) / 2)


def test_roc_by_hand():
    found = roc([3, 2, 2, 1, -np.inf], [True, True, False, False, False], threshold=2)
    assert found == pytest.approx(
        {"auc": 5.5 / 6, "accuracy": 5 / 6, "balanced_accuracy": 0.75}
        | {"tpr@0.0": 0.5, "tpr@0.001": 0.5, "tpr@0.01": 0.5, "tpr@0.1": 0.5}
    )


def test_intervals_draw_whole_splits(random):
    scores, members, splits = random.normal(0, 1, 300), random.random(300) < 0.5, random.integers(0, 6, 300)
    found, twin = intervals(scores, members, splits, threshold=0.0, drawn=4, bootstrap=Bootstrap(200, seed=3)), []
    draw = np.random.default_rng(3)
    for _ in range(200):
        times = draw.multinomial(4, [1 / 6] * 6)
        rows = np.concatenate([np.flatnonzero(splits == s) for s in range(6) for _ in range(times[s])])
        twin.append(roc(scores[rows], members[rows], threshold=0.0))
    for key, (low, high) in found.items():
        assert (low, high) == pytest.approx(tuple(np.percentile([one[key] for one in twin], [2.5, 97.5])))


def test_intervals_of_many_scores_follow_the_curve_through_fewer_points(random, monkeypatch):
    members, splits = random.random(30_000) < 0.3, random.integers(0, 8, 30_000)
    scores = random.normal(0, 1, 30_000) + 0.8 * members
    fewer = intervals(scores, members, splits, threshold=0.3, bootstrap=Bootstrap(100))
    monkeypatch.setattr(roc_numbers, "POINTS", 10**6)
    every = intervals(scores, members, splits, threshold=0.3, bootstrap=Bootstrap(100))
    for key, edges in every.items():
        assert fewer[key] == pytest.approx(edges, abs=1e-5 if key == "auc" else 2e-3), key
    assert fewer["balanced_accuracy"] == pytest.approx(every["balanced_accuracy"], abs=1e-12)
    fpr, tpr = curve(scores, members)
    some = thinned(fpr, tpr)
    assert len(some[0]) < 400 < len(fpr) and set(zip(*some)) <= set(zip(fpr, tpr))
    assert np.trapezoid(some[1], some[0]) == pytest.approx(np.trapezoid(tpr, fpr), abs=2e-4)


def test_a_wider_level_gives_a_wider_interval(random):
    scores, members, splits = random.normal(0, 1, 300), random.random(300) < 0.5, random.integers(0, 6, 300)
    half, most = (intervals(scores, members, splits, bootstrap=Bootstrap(300, level))["auc"] for level in (0.5, 0.99))
    assert most[0] < half[0] < half[1] < most[1]


# --- Populations whose answer is known ---

APART = 1.5  # standard deviations between the two means
AUC = norm.cdf(APART / math.sqrt(2))


def population(random, splits=32, per_split=6, images=60, apart=APART):
    """Normal margins, of other mean and spread for every image, ``apart`` spreads higher where it was forgotten."""
    models = splits * per_split
    z = random.normal(0, 5, images) + (spread := random.uniform(0.5, 3, images)) * random.normal(0, 1, (models, images))
    role = random.random((models, images))
    return (
        np.where(role < 0.4, z + apart * spread, np.nan),
        np.where(role > 0.6, z, np.nan),
        np.repeat(np.arange(splits), per_split),
    )


def test_ulira_finds_the_analytic_numbers(random):
    unlearned, held_out, split = population(random, splits=64, per_split=16, images=12)
    found = ulira(unlearned, held_out, split)
    sure = ulira_intervals(found, split)
    exact = {"auc": AUC, "balanced_accuracy": norm.cdf(APART / 2), "tpr@0.01": norm.sf(norm.isf(0.01) - APART)}
    for key, value in exact.items():
        low, high = sure[key]
        assert low <= value <= high and high - low < 0.1, key
        assert low <= found[key] <= high


def test_lira_finds_the_analytic_auc(random):
    spread, inside = random.uniform(0.5, 3, 300), halves(random, 128, 300)
    target_in = random.random((8, 300)) < 0.5
    centre = random.normal(0, 5, 300)

    def margins(member):
        return (centre + spread * (random.normal(0, 1, member.shape) + APART * member))[..., None]

    shadow_z, target_z = margins(inside), margins(target_in)
    splits = np.broadcast_to(np.arange(8)[:, None], target_in.shape).ravel()
    for variant in ("online", "offline"):
        scores = lira(shadow_z, inside, target_z, variant).ravel()
        low, high = intervals(scores, target_in.ravel(), splits)["auc"]
        assert low <= AUC <= high and high - low < 0.06, variant


def test_intervals_hold_the_truth_as_often_as_they_say(random):
    """Exactly unlearned populations: an attack is worth one half, and 95 % intervals say so about 95 times in 100."""
    held = 0
    for _ in range(40):
        unlearned, held_out, split = population(random, splits=16, per_split=3, images=20, apart=0)
        low, high = ulira_intervals(ulira(unlearned, held_out, split), split, bootstrap=Bootstrap(200))["auc"]
        held += low <= 0.5 <= high
    assert 35 <= held <= 40


def test_no_model_takes_part_in_its_own_score(random):
    """What peeks, an attack fitted on what it scores, changes where only the scored model's split changes."""
    unlearned, held_out, split = population(random, splits=6, per_split=2, images=8)
    before = ulira(unlearned, held_out, split)
    for folds, same in ((2, split % 2 == split[4] % 2), (6, split == split[4])):
        before = ulira(unlearned, held_out, split, folds=folds)
        after = ulira(
            *(side + 7.0 * (np.arange(12) == 4)[:, None] for side in (unlearned, held_out)), split, folds=folds
        )
        same = same & (np.arange(12) != 4)
        for side in ("unlearned", "held_out"):
            np.testing.assert_array_equal(after[side][same], before[side][same])
            assert not np.array_equal(after[side][~same], before[side][~same], equal_nan=True)


def test_an_attack_that_peeks_is_seen_where_there_is_nothing_to_find(random):
    unlearned, held_out, split = population(random, splits=10, per_split=1, images=400, apart=0)
    honest = ulira_intervals(ulira(unlearned, held_out, split), split)["auc"]
    ratio = ulira_attack._fit(unlearned, held_out, 16)
    peeking = ulira_intervals({"unlearned": ratio(unlearned), "held_out": ratio(held_out)}, split)["auc"]
    assert honest[0] <= 0.5 <= honest[1] and peeking[0] > 0.6


def test_klom_of_equal_and_of_disjoint_populations(random):
    oracle, moved = random.normal(0, 1, (200, 30)), random.normal(60, 1, (200, 30))
    floor = klom(oracle[::2], oracle[1::2])  # not 0 for finitely many models
    assert 0 < floor.mean() < 0.7
    assert abs(klom(random.normal(0, 1, (100, 30)), oracle[::2]).mean() - floor.mean()) < 0.15
    assert klom(moved, oracle).min() > 10 and klom(moved, oracle).max() <= math.log(1e5) + 1e-3


# --- All models agree, and wrong input ---


def test_agreement_gives_numbers_not_nan():
    same = np.full((8, 5), 20.0)
    inside = np.arange(8)[:, None] % 2 == np.zeros(5)
    for variant, fixed in product(("online", "offline"), (False, True)):
        assert np.isfinite(lira(same[..., None], inside, np.full((1, 5, 1), 25.0), variant, fixed)).all()
    assert lira(same[..., None], inside, same[:1, :, None], "online").tolist() == [[0] * 5]
    agreed = ulira(same, same, np.arange(8))
    assert agreed["auc"] == agreed["balanced_accuracy"] == 0.5 and agreed["per_sample"].tolist() == [0.5] * 5
    assert not np.isnan(agreed["unlearned"]).any()
    assert klom(same, same).tolist() == [0] * 5 and klom(same, same, "data_unlearning_bench").tolist() == [0] * 5
    for p in (0.0, 1.0):
        images = Signals(np.full(5, p), np.full((8, 5), p), inside)
        assert np.isfinite(rmia(images, replace(images, trained=~inside), "online")).all()
        assert rmia(images, images, "offline", gamma=1.0).tolist() == [1] * 5
        assert rmia(images, images, "offline", gamma=2.0).tolist() == [0] * 5


def half(*shape):
    return np.arange(math.prod(shape)).reshape(shape) % 2 == 0


SIGNALS = Signals(np.full(3, 0.5), np.full((4, 3), 0.5), np.array([[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]))
MARGINS, SIDE = np.zeros((4, 3, 1)), np.array(SIGNALS.trained)
WRONG = {
    "one class": (lambda: scaled_logit(np.zeros((2, 1)), [0, 0]), "K >= 2"),
    "no such class": (lambda: scaled_logit(np.zeros((2, 3)), [0, 3]), "none of the 3 classes; give"),
    "infinite logit": (lambda: scaled_logit([[0, np.inf]], [0]), "leave out models that diverged"),
    "lira variant": (lambda: lira(MARGINS, SIDE, MARGINS, "both"), "choose from online, offline"),
    "lira shapes": (lambda: lira(MARGINS, SIDE, np.zeros((1, 2, 1)), "online"), "same images"),
    "lira NaN": (lambda: lira(MARGINS * np.nan, SIDE, MARGINS, "online"), "leave out models that diverged"),
    "lira empty": (lambda: lira(MARGINS[:0], SIDE[:0], MARGINS, "online"), "at least one image, 2 shadow models"),
    "lira too few": (
        lambda: lira(MARGINS, SIDE & (np.arange(4) < 1)[:, None], MARGINS, "online"),
        "needs 2 shadow models that were trained on it, and there are 1; train more",
    ),
    "lira none outside": (lambda: lira(MARGINS, SIDE | True, MARGINS, "offline"), "not trained on it, and there are 0"),
    "lira as coded": (lambda: lira_as_coded(MARGINS, SIDE | True, MARGINS, "online"), "on either side; give more"),
    "rmia variant": (lambda: rmia(SIGNALS, SIGNALS, "as_coded"), "choose from online, offline"),
    "rmia gamma": (lambda: rmia(SIGNALS, SIGNALS, "online", gamma=0.5), "gamma >= 1"),
    "rmia shapes": (lambda: Signals(np.zeros(3), np.zeros((4, 2)), SIDE), r"needs signals \[images\]"),
    "rmia logits": (lambda: Signals(np.full(3, 2.0), MARGINS[..., 0], SIDE), "give softmax outputs"),
    "rmia NaN": (lambda: Signals(np.full(3, np.nan), MARGINS[..., 0], SIDE), "give softmax outputs"),
    "rmia none out": (
        lambda: rmia(replace(SIGNALS, trained=SIDE | True), SIGNALS, "offline"),
        "image 0 needs 1 reference model that was not trained on it",
    ),
    "rmia none in": (lambda: rmia(replace(SIGNALS, trained=SIDE & False), SIGNALS, "online"), "or take the offline"),
    "klom variant": (lambda: klom(MARGINS[..., 0], MARGINS[..., 0], "dub"), "choose from default, easydub"),
    "klom few": (lambda: klom(MARGINS[:1, :, 0], MARGINS[..., 0]), "needs at least 2 unlearned and 2 retrained"),
    "klom images": (lambda: klom(MARGINS[:, :2, 0], MARGINS[..., 0]), "of the same images"),
    "klom NaN": (lambda: klom(MARGINS[..., 0] * np.nan, MARGINS[..., 0]), "leave out models that diverged"),
    "roc one side": (lambda: roc([1.0, 2.0], [True, True]), "not 2 and 0"),
    "roc NaN": (lambda: roc([1.0, np.nan], [True, False]), "leave out what an attack could not score"),
    "roc lengths": (lambda: roc([1.0, 2.0], [True]), "of one length"),
    "one split": (lambda: intervals([1.0, 2.0], [True, False], [0, 0]), "at least 2 splits, and there is 1"),
    "ulira shapes": (lambda: ulira(np.zeros((4, 2)), np.zeros((4, 3)), np.arange(4)), "a split per model"),
    "ulira infinite": (lambda: ulira(np.full((4, 2), np.inf), np.zeros((4, 2)), np.arange(4)), "diverged"),
    "ulira one fold": (lambda: ulira(np.zeros((4, 2)), np.zeros((4, 2)), np.arange(4) * 2), "give more splits"),
    "ulira few": (
        lambda: ulira(np.zeros((2, 2)), np.zeros((2, 2)), np.arange(2)),
        "2 models that forgot an image and 2 that never saw it are needed .* at most 2 forgot .* give more splits",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_one_line(case):
    attack, message = WRONG[case]
    with pytest.raises(UsageError, match=message) as error:
        attack()
    assert "\n" not in str(error.value)
