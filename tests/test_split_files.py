"""``--split``: what a run leaves, what it takes back, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import DIGITS

import main_forget
import main_imp
import main_saliency
from dataset import catalog, prepare, sources, split, split_file
from dataset.scenario import Scenario
from trainer import messages
from utils.errors import UsageError

TOTAL, TESTS = 1438, 359  # scikit-learn's digits
IMP = [*DIGITS, "--epochs", "0"]
FT = [*DIGITS, "--unlearn", "FT", "--unlearn_epochs", "1"]
PARTS = {
    "train": np.arange(0, 1000),
    "retain": np.arange(0, 900),
    "forget": np.arange(900, 1000),
    "val": np.array([1400, 1300, 1200]),
    "test": np.arange(50),
}


def result(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


def written(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "split.npz") as stored:
        return {name: stored[name] for name in stored.files}


def make(path, **changed) -> str:
    """A file of ``PARTS`` with some of them changed, or left out where they are None."""
    np.savez(path, **{name: array for name, array in (PARTS | changed).items() if array is not None})
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training on the default split."""
    folder = tmp_path_factory.mktemp("split") / "trained"
    assert main_imp.main([*IMP, "--save_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A training on a split made by hand, and the file."""
    home = tmp_path_factory.mktemp("own")
    file = make(home / "mine.npz")
    assert main_imp.main([*IMP, "--split", file, "--save_dir", str(home / "run")]) == 0
    return home / "run", file


def test_the_default_split_is_left_as_the_seed_draws_it(trained):
    labels = sources.load(catalog.get("digits"), trained, 8).train_labels
    base, found = split.split_base(labels, 2), written(trained)
    assert list(found) == ["train", "val", "test", "digest"] and found["train"].dtype == np.int64
    assert np.array_equal(found["train"], base.train) and np.array_equal(found["val"], base.val)
    assert found["test"].tolist() == list(range(TESTS))
    assert str(found["digest"]) == base.digest == result(trained)["split"]["digest"]


def test_sets_come_back_from_script_to_script(trained, tmp_path):
    """Training, then unlearning, then training again: the same digests and the same bytes."""
    mask, file = ["--mask", str(trained / "0model_SA_best.pth.tar")], str(trained / "split.npz")
    forget = ["--forget", "random:7"]
    assert main_forget.main([*FT, *mask, *forget, "--save_dir", str(tmp_path / "plain")]) == 0
    assert main_forget.main([*FT, *mask, *forget, "--split", file, "--save_dir", str(tmp_path / "given")]) == 0
    assert result(tmp_path / "plain")["split"] == result(tmp_path / "given")["split"]
    assert result(tmp_path / "plain")["scores"]["UA"] == result(tmp_path / "given")["scores"]["UA"]
    left = (tmp_path / "plain" / "split.npz").read_bytes()
    assert left == (tmp_path / "given" / "split.npz").read_bytes()
    found = written(tmp_path / "plain")
    assert list(found) == ["train", "retain", "forget", "val", "test", "digest"] and len(found["forget"]) == 7
    again = ["--split", str(tmp_path / "plain" / "split.npz")]  # now the file says who is forgotten
    assert main_saliency.main([*DIGITS, *mask, *again, "--save_dir", str(tmp_path / "masks")]) == 0
    assert (tmp_path / "masks" / "split.npz").read_bytes() == left
    assert main_imp.main([*IMP, *again, "--save_dir", str(tmp_path / "imp")]) == 0
    assert result(tmp_path / "imp")["split"]["digest"] == result(trained)["split"]["digest"]


@pytest.mark.parametrize(("forget", "code"), [("class:3", 0), ("random:7", 2)])
def test_the_images_of_a_file_tell_whether_a_class_is_forgotten_whole(forget, code, trained, tmp_path, capsys):
    mask = ["--mask", str(trained / "0model_SA_best.pth.tar")]
    assert main_forget.main([*FT, *mask, "--forget", forget, "--save_dir", str(tmp_path / "FT")]) == 0
    unsir = ["--unlearn", "UNSIR", "--noise_steps", "1", "--noise_copies", "1", "--save_dir", str(tmp_path / "UNSIR")]
    given = ["--split", str(tmp_path / "FT" / "split.npz")]
    assert main_forget.main([*DIGITS, *mask, *given, *unsir]) == code
    assert code == 0 or "--unlearn UNSIR: forgets whole classes alone" in capsys.readouterr().err


def test_the_counts_of_classes_are_those_of_the_file(tmp_path):
    """All digits train, so class 3 has 131 images; of the default split it has 118."""
    file = str(tmp_path / "all.npz")
    np.savez(file, train=np.arange(TOTAL), test=np.arange(TESTS))
    info = prepare.find("digits", None, 8, given=file)
    assert np.bincount(sources.load(catalog.get("digits"), tmp_path, 8).train_labels)[3] == 131
    most = info.resolve(Scenario((3,), 131, typed="--forget class:3:131"))
    assert most.count == 131 and info.takes_all(most) is None
    assert messages.images(info, most) == "131 training images of class 3 (3), drawn at random (9.1 % of 1,438)"
    assert messages.images(info, info.resolve(Scenario((3,)))) == "all training images of class 3 (3)"
    assert info.resolve(Scenario(None, 0.5)).count == 719
    with pytest.raises(UsageError, match="class 3 has 131 training images"):
        info.resolve(Scenario((3,), 132))
    with pytest.raises(UsageError, match="class:3:0.5: a fraction of a class needs its number.*give a number"):
        info.resolve(Scenario((3,), 0.5, typed="--forget class:3:0.5"))


def test_a_split_made_by_hand(own, tmp_path, capsys):
    run, file = own
    assert result(run)["split"] == {
        "digest": split.digest(PARTS["train"], PARTS["val"]), "seed": None, "train": 1000, "val": 3, "test": 50
    }  # fmt: skip
    mask = ["--mask", str(run / "0model_SA_best.pth.tar")]
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name in ("retain", "forget", "val", "test"):
        np.save(folder / f"{name}.npy", PARTS[name].astype(np.int32)[:: 1 if name == "val" else -1])
    capsys.readouterr()
    for number, given in enumerate((file, str(folder))):
        assert main_forget.main([*FT, *mask, "--split", given, "--save_dir", str(tmp_path / str(number))]) == 0
    first, second = (result(tmp_path / name) for name in "01")
    assert first["split"] == second["split"] and first["fingerprint"] == second["fingerprint"]
    assert first["split"]["digest"] == split.digest(*(PARTS[name] for name in ("retain", "forget", "val", "test")))
    assert [first["split"][name] for name in ("retain", "forget", "val", "test")] == [900, 100, 3, 50]
    assert first["scenario"]["kind"] == "indices"
    assert "left out: 435 training images" in " ".join(capsys.readouterr().out.split())  # 1,438 - 1,000 - 3


def test_a_model_of_another_split_is_refused_with_the_way_on(own, trained, tmp_path, capsys):
    run, file = own
    save = ["--save_dir", str(tmp_path / "x")]
    for model, more, way in (
        (run, [], f"give --split {run / 'split.npz'}, or --allow_split_mismatch"),
        (trained, ["--split", file], "leave --split out, or --allow_split_mismatch"),
    ):
        assert main_forget.main([*FT, "--mask", str(model / "0model_SA_best.pth.tar"), *more, *save]) == 2
        said = capsys.readouterr().err.strip()
        assert said.endswith(way) and "was trained on split " in said and len(said.splitlines()) == 1
    going_on = ["--resume", "--checkpoint", str(run / "0checkpoint.pth.tar"), *save]
    assert main_imp.main([*IMP, *going_on]) == 2
    assert capsys.readouterr().err.strip().endswith("give the --split of its training")
    assert main_imp.main([*IMP, *going_on, "--split", file]) == 0


def test_what_is_forgotten_is_said_once(own, tmp_path, capsys):
    run, file = own
    words = [*FT, "--mask", str(run / "0model_SA_best.pth.tar"), "--split", file, "--save_dir", str(tmp_path / "x")]
    assert main_forget.main([*words, "--forget", "random:100"]) == 2
    assert "names other images to forget than --split (100 and 100)" in capsys.readouterr().err
    assert main_forget.main([*words, "--forget", "indices:" + ",".join(map(str, range(900, 1000)))]) == 0
    assert main_forget.main([*words, "--split_seed", "3"]) == 2
    assert "--split_seed 3 both say who validates" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train": None, "retain": None}, "lacks train (or retain and forget); it has forget, val, test"),
        ({"test": None}, "lacks test; it has train, retain, forget, val"),
        ({"val": np.array([1.5])}, "val is float64 of shape (1,); it must be integers in one dimension"),
        ({"val": np.array([[1]])}, "val is int64 of shape (1, 1)"),
        ({"train": np.ones(TOTAL, bool)}, "train is a mask; np.flatnonzero(train) gives the indices"),
        ({"val": np.array([], int)}, "val is empty"),
        ({"val": np.array([1200, 1200])}, "val has 1200 more than once"),
        ({"val": np.array([1, 1200])}, "1 images are in retain and in val (first: 1)"),
        ({"forget": np.array([899, 950])}, "1 images are in retain and in forget (first: 899)"),
        ({"forget": np.array([1000, 1001])}, "2 images are in forget and not in train (first: 1000, 1001)"),
        ({"val": np.array([TOTAL])}, "1 images are of val outside 0 to 1437, the training images (first: 1438)"),
        ({"val": np.array([-1])}, "(first: -1)"),
        ({"test": np.array([TESTS])}, "1 images are of test outside 0 to 358, the test images (first: 359)"),
        ({"test": np.array([{}], object)}, "is no .npz file and no folder of .npy files of index arrays"),
    ],
)
def test_what_is_no_split_is_refused_in_one_line(changed, said, tmp_path, capsys):
    file = make(tmp_path / "bad.npz", **changed)
    assert main_imp.main([*IMP, "--split", file, "--save_dir", str(tmp_path / "x")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"main_imp.py: error: --split {file}: ") and said in line


def test_files_that_are_no_arrays(tmp_path):
    (tmp_path / "text.npz").write_text("train")
    np.save(tmp_path / "one.npy", np.arange(3))
    for name, said in (("text.npz", "is no .npz file"), ("one.npy", "is no .npz file"), ("none.npz", "no such file")):
        with pytest.raises(UsageError, match=said):
            split_file.read_split(str(tmp_path / name), TOTAL)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="lacks train .or retain and forget. and test; it has none of the sets"):
        split_file.read_split(str(tmp_path / "folder"), TOTAL)


def test_missing_sets_follow_from_the_others(tmp_path):
    """Train, retain and forget: any two say the third."""
    for absent in ("train", "retain", "forget"):
        found = split_file.read_split(make(tmp_path / f"{absent}.npz", **{absent: None}), TOTAL)
        assert all(np.array_equal(found.sets[name], PARTS[name]) for name in PARTS)
    only = split_file.read_split(make(tmp_path / "only.npz", retain=None, forget=None, val=None), TOTAL)
    base = only.base(TESTS)
    assert only.forget is None and base.forget_split is base and base.val is None and only.left_out(TOTAL) == 438


def test_classes_are_counted_within_the_split(tmp_path):
    """A class to forget is drawn from the file's training images, and leaves the file's test images."""
    labels = sources.load(catalog.get("digits"), tmp_path, 8)
    file = make(tmp_path / "s.npz", retain=None, forget=None)
    info = prepare.find("digits", None, 8, given=file)
    data = info.load()
    found = split.split_for_unlearning(
        data.train_labels, data.test_labels, prepare.base_split(data, 2, None, "fixed"), Scenario((3,)), 2
    )
    assert len(found.forget) == 84
    assert found.forget.tolist() == [i for i in range(1000) if labels.train_labels[i] == 3]
    assert found.test.tolist() == [i for i in range(50) if labels.test_labels[i] != 3]
    assert info.resolve(Scenario(None, 0.1)).count == 100
    with pytest.raises(UsageError, match="--num_indexes_to_replace 150: the split has 84 such training images"):
        split.choose_forget(data.train_labels, PARTS["train"], Scenario((3,), 150), 2)


def test_schemes_go_by_name(tmp_path, capsys):
    data = prepare.find("digits", None, 8, given="seeds").load()
    assert data.given is None  # the default by its name is the default
    for text, said in (
        ("seds", r"--split seds: unknown \(did you mean seeds\?\); known: deepunlearn, lira, seeds, FILE"),
        ("seeds:4", "--split seeds:4: seeds takes no argument; give --split_seed 4"),
    ):
        with pytest.raises(UsageError, match=said):
            prepare.base_split(prepare.find("digits", None, 8, given=text).load(), 2, None, "fixed")


def test_the_default_keeps_its_fingerprint(capsys, tmp_path):
    shown = []
    for more in ([], ["--split", "seeds"]):
        assert main_imp.main([*IMP, *more, "--save_dir", str(tmp_path), "--dry_run", "json"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and not re.search('"split"', shown[0])
    assert main_imp.main([*IMP, "--split", make(tmp_path / "s.npz"), "--save_dir", str(tmp_path), "--dry_run"]) == 0
    assert "1,000 training images, 3 more for validation" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("typed", "nearest"), [("seed", "seeds"), ("folds:0:1", None)])
def test_an_unknown_scheme_is_refused_before_any_image_is_read(typed, nearest, tmp_path):
    hint = rf" \(did you mean {nearest}\?\)" if nearest else ""
    with pytest.raises(
        UsageError, match=rf"--split {typed.partition(':')[0]}: unknown{hint}; known: deepunlearn, lira, seeds, FILE"
    ):
        split_file.read_split(typed, 10)
