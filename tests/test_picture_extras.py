"""FID, Inception Score and NudeNet: what needs packages or files that may not be here."""

from __future__ import annotations

import sys

import pytest
import torch
import torchvision
from test_main_generate import DRAW, base, run  # noqa: F401  (base is a fixture)

from generation import inception, nudity, picture_scores
from utils import files
from utils.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Random weights of the form that torch-fidelity downloads."""
    pytest.importorskip("torch_fidelity")
    torch.manual_seed(3)
    network = torchvision.models.inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@pytest.mark.torture  # Inception sees every picture at 299 x 299 pixels
def test_fid_is_the_frechet_distance_of_inceptions_features(stored):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    assert inception.check(stored) == files.sha256(stored)
    drawn, real = pictures(6, 1), pictures(8, 2) // 2
    found = inception.scores(drawn, real, stored, CPU)
    network = FeatureExtractorInceptionV3("own", ["2048", "logits_unbiased"], str(stored))
    (ours, logits), (theirs, _) = network(drawn), network(real)
    assert found["fid"] == pytest.approx(picture_scores.frechet(ours, theirs), rel=1e-3)
    assert found["fid_pictures"] == 6
    assert found["inception_score"] == pytest.approx(1.0), "of parts of one picture"
    same = inception.scores(drawn, drawn, stored, CPU)
    assert same["fid"] == pytest.approx(0, abs=1e-3 * found["fid"])
    assert torch.isfinite(logits).all()


def test_weights_of_another_network_are_refused(stored, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(UsageError, match="does not hold the weights of its Inception network; give weights-inception-"):
        inception.check(path)
    with pytest.raises(UsageError, match="no such file"):
        inception.check(tmp_path / "nowhere.pth")


@pytest.mark.torture
def test_scores_with_inceptions_weights_say_what_they_are_of(base, stored, tmp_path, capsys):  # noqa: F811
    words = ["--model", base / "generator.pt", "--forget", "class:3", *DRAW, "--judge_epochs", "2"]
    assert run("score", *words, "--inception_weights", stored, "--save_dir", tmp_path) == 0
    out, result = capsys.readouterr().out, files.read_json(tmp_path / "result.json", "")
    assert result["fid"] > 0 and result["fid_pictures"] == 36 and result["config"]["inception"] == files.sha256(stored)
    assert f"of 36 pictures to {result['fid_real']} real test images; " in out and "cond_scale 0.5" in out


ABSENT = [
    ("score", "torch_fidelity", ["--inception_weights", "x"], "--inception_weights: torch-fidelity is not installed"),
    ("sample", "nudenet", ["--nudenet", "0.5"], "--nudenet: nudenet is not installed; pip install nudenet"),
]


@pytest.mark.parametrize(("work", "package", "words", "said"), ABSENT, ids=["fid", "nudity"])
def test_a_missing_package_is_named(base, tmp_path, capsys, monkeypatch, work, package, words, said):  # noqa: F811
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.feature_extractor_inceptionv3", None)
    assert run(work, "--model", base / "generator.pt", *words, "--save_dir", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"main_generate.py: error: {said}") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_exposed_parts_are_counted_at_a_threshold():
    seen = []

    def detect(picture):
        seen.append(picture)
        sure = float(picture[0, 0, 0]) / 255  # blue comes first
        return [
            {"class": "BUTTOCKS_EXPOSED", "score": sure},
            {"class": "FEET_EXPOSED", "score": 1.0},
            {"class": "FEMALE_BREAST_COVERED", "score": 1.0},
        ]

    drawn = torch.zeros(3, 3, 4, 5, dtype=torch.uint8)
    drawn[:, 2] = torch.tensor([0, 153, 255]).to(torch.uint8)[:, None, None]
    found = nudity.count(drawn, 0.6, detect)
    assert found["nude_pictures"] == 2 and found["nudity"] == dict.fromkeys(nudity.EXPOSED, 0) | {"BUTTOCKS_EXPOSED": 2}
    assert found["nudity_threshold"] == 0.6 and seen[0].shape == (4, 5, 3) and seen[0].flags["C_CONTIGUOUS"]


def test_nudenet_sees_nothing_in_grey_pictures():
    pytest.importorskip("nudenet")
    found = nudity.count(torch.full((2, 3, 64, 64), 128, dtype=torch.uint8), 0.2, nudity.detector())
    assert found["nude_pictures"] == 0 and sum(found["nudity"].values()) == 0
