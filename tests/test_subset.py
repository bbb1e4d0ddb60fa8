"""experiments/subset.py: the first images of each class, in folders that --dataset folder reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import catalog, sources
from experiments import subset


def test_the_first_images_of_each_class_are_written_unchanged(tmp_path, capsys):
    folder = tmp_path / "small"
    assert subset.main(["digits", str(folder), "--train", "3", "--test", "2"]) == 0
    assert capsys.readouterr().out == "train: 3 images of each of 10 classes\ntest: 2 images of each of 10 classes\n"
    assert len(list(folder.rglob("*.*"))) == 50
    digits = sources.load(catalog.get("digits"), Path())
    third_seven = np.flatnonzero(digits.train_labels == 7)[2]
    with Image.open(folder / "train" / "7" / "0002.png") as picture:
        assert np.array_equal(np.asarray(picture), digits.train_images[third_seven].squeeze())
    again = sources.load(catalog.get("folder"), folder)
    assert again.classes == tuple("0123456789")
    assert np.bincount(again.train_labels).tolist() == [3] * 10
    assert np.bincount(again.test_labels).tolist() == [2] * 10


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["digits", "new", "--train", "5000", "--test", "2"],
            "--train 5000: must be 1 to 127, which is what class 8 has",
        ),
        (["digits", "new", "--train", "1", "--test", "0"], "--test 0: must be 1 to "),
        (["digits", ".", "--train", "1", "--test", "1"], ".: is there already"),
        (["digitz", "new", "--train", "1", "--test", "1"], "did you mean digits?"),
    ],
)
def test_what_cannot_be_written_is_refused(words, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert subset.main(words) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_s_own_validation_images_are_named_as_left_out(tmp_path, capsys):
    for part, count in {"train": 3, "val": 2, "test": 1}.items():
        for name in ("cat", "dog"):
            place = tmp_path / "pets" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{number}.png")
    words = ["folder", str(tmp_path / "small"), "--data", str(tmp_path / "pets"), "--train", "2", "--test", "1"]
    assert subset.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "left out: the data set's own 4 validation images"
    assert len(list((tmp_path / "small").rglob("*.png"))) == 6
