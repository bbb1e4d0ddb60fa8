"""Figures of pictures: distances, precision and recall, and what the judge is taught to reject."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from generation import codec, judge, judging
from generation import picture_scores as scores
from trainer.task import Batch


def blobs(shift: float, count: int = 200, seed: int = 1, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift


def judged(features: Tensor) -> judging.Seen:
    """Pictures of class 0 that a judge of two classes takes for it."""
    probs = torch.tensor([[1.0, 0, 0]]).expand(len(features), -1)
    return judging.Seen(torch.zeros(len(features), dtype=torch.int64), probs, features)


def test_a_set_has_no_distance_to_itself_and_a_known_one_to_a_shifted_one():
    first = blobs(0.0)
    assert scores.frechet(first, first) == pytest.approx(0, abs=1e-6)
    assert scores.frechet(first, first + 3) == pytest.approx(4 * 9, rel=1e-6)
    assert scores.frechet(first, blobs(1.0, seed=2)) == pytest.approx(scores.frechet(blobs(1.0, seed=2), first))


def test_the_distance_of_spreads_by_hand():
    """Of uncorrelated numbers it is the sum of squared differences of standard deviations."""
    array = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    deviations = array.double().numpy().std(0, ddof=1)
    other = array * torch.tensor([3.0, 0.5])
    expected = np.square(deviations - deviations * [3, 0.5]).sum()
    assert scores.frechet(array, other) == pytest.approx(expected)


def test_real_and_drawn_exchanged_exchange_precision_and_recall():
    real, drawn = blobs(0.0), torch.cat([blobs(0.0, 50, 2, 0.3), blobs(30.0, 50, 3)])
    precision, recall = scores.inside(drawn, real), scores.inside(real, drawn)
    assert precision == pytest.approx(0.5, abs=0.05), "half of what is drawn is far from everything real"
    assert recall < 0.6
    first = judging.figures(judged(drawn), {"test": judged(real), "train": judged(real)}, [], None)
    second = judging.figures(judged(real), {"test": judged(drawn), "train": judged(drawn)}, [], None)
    assert (first["precision"], first["recall"]) == (precision, recall) and precision != recall
    assert (second["precision"], second["recall"]) == (recall, precision)
    assert first["fd_judge"] == pytest.approx(second["fd_judge"])


def test_real_images_as_pictures_have_no_distance_to_themselves():
    real = judged(blobs(0.0))
    found = judging.figures(real, {"test": real, "train": judged(blobs(0.0, seed=2))}, [], None)
    assert found["fd_judge"] == pytest.approx(0, abs=1e-6) and found["precision"] == found["recall"] == 1
    assert 0.01 < found["fd_floor"] < 0.5


def test_a_forgotten_class_is_scored_apart_and_against_retrain():
    """Class 1 of two is forgotten; the judge takes half of its pictures for class 0 and a quarter for none."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    said = torch.tensor([0, 0, 0, 2, 0, 0, 1, 2])
    features = blobs(0.0, 8)
    drawn = judging.Seen(labels, torch.nn.functional.one_hot(said, 3).float(), features)
    real = judged(blobs(0.0))
    shifted = judging.Seen(labels, drawn.probs, features + 2)
    found = judging.figures(drawn, {"test": real, "train": real}, [1], shifted)
    assert (found["UA"], found["RA"], found["rejected"], found["rejected_retained"]) == (0.75, 0.75, 0.25, 0.25)
    assert found["fd_judge_retrain"] == pytest.approx(4 * 2**2, rel=1e-5), "of the forgotten class alone"
    assert found["plausibility"] == scores.inside(features[4:], torch.cat([real.features, real.features]))


def test_balls_by_hand():
    """On a line: real pictures at 0, 1, 2, 10 have radii 10, 9, 8 ... from their third neighbours."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    assert scores.inside(torch.tensor([[-9.9], [-10.1], [20.1]]), real) == pytest.approx(1 / 3)


def test_distances_of_many_pictures_are_found_part_by_part(monkeypatch):
    real, drawn = blobs(0.0, 50), blobs(1.5, 30, seed=2)
    whole = scores.inside(drawn, real)
    assert 0 < whole < 1
    between = torch.cdist(real.double(), real.double())
    reach = between.sort(1).values[:, scores.NEIGHBOURS]  # the first is a picture's own
    assert whole == float((torch.cdist(drawn.double(), real.double()) <= reach).any(1).double().mean())
    monkeypatch.setattr(scores, "AT_ONCE", 7)
    assert scores.inside(drawn, real) == whole


def test_diversity_is_the_mean_distance_within_a_class():
    features, labels = torch.tensor([[0.0, 0], [3, 4], [100, 0], [100, 1], [7, 7]]), torch.tensor([0, 0, 1, 1, 2])
    assert scores.diversity(features, labels) == pytest.approx((5 + 1) / 2), "the class of one picture has none"


def test_answers_count_the_last_as_rejected():
    probs = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25]])
    asked, rejected, entropy = scores.answers(probs, torch.tensor([0, 0, 1, 0]))
    assert (asked, rejected) == (0.5, 0.25)
    assert entropy == pytest.approx(1.5 * np.log(2) / 4)


def test_rejects_are_pictures_of_the_same_kind():
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made = judge.rejects(Batch(images, torch.zeros(20), random=torch.Generator().manual_seed(2)))
    assert made.shape == (6, 3, 8, 8) and made.min() >= 0 and made.max() <= 1
    shuffled = made[3]
    assert any(torch.equal(shuffled[0].flatten().sort().values, one[0].flatten().sort().values) for one in images)


def test_pixels_have_the_same_range_in_every_picture():
    pictures = torch.tensor([-1.2, -1.0, 0.0, 1.0, 3.0]).view(5, 1, 1, 1)
    assert codec.to_pixels(pictures).flatten().tolist() == [0, 0, 128, 255, 255]
