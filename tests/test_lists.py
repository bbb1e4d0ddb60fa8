"""Lists of images and names of classes as people have them: taken by their content, or refused with the way on."""

from __future__ import annotations

import codecs
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS
from PIL import Image

import main_backdoor
import main_forget
import main_saliency
from dataset import positions, prepare
from dataset.scenario import Scenario, number_of
from utils import files
from utils.errors import UsageError

N = 1438  # official training images of digits
FLAG = "--indexes_to_replace LIST"


def read(path) -> positions.Listed:
    return positions.read(str(path), FLAG)


def saved(tmp_path: Path, name: str, content) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def array(tmp_path: Path, values, name: str = "list.npy") -> Path:
    with (tmp_path / name).open("wb") as file:
        np.save(file, values)
    return tmp_path / name


# ---- positions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "5\n60\n7\n"),
        ("a.csv", "5,60,7"),
        ("a.txt", "5;60;7;\r\n"),
        ("a.txt", "  5\t60 7"),
        ("a.json", "[5, 60, 7]"),
        ("a.txt", "[5,60,7]"),
        ("a.json", "5 60 7"),
        ("a", "5\n60\n7"),
        ("a.csv", "index\n5\n60\n7\n"),
        ("a.txt", "# forget set\n5.000e+00\n6.0e+01 # dog\n7.0\n"),
        ("a.npy", "5,60\n7"),
    ],
)
def test_texts_of_positions(tmp_path, name, text):
    for mark, encoding in (
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ):
        assert read(saved(tmp_path, name, mark + text.encode(encoding))) == positions.Listed((5, 60, 7))


@pytest.mark.parametrize(
    "kind",
    ["int64", "uint8", "float32", "column", "row", "npz", "torch", "torch before 1.6", "torch list", "numpy text"],
)
def test_arrays_of_positions_whatever_the_file_is_called(tmp_path, kind):
    values, path = np.array([5, 60, 7]), tmp_path / "list.txt"
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, forget=values)
    elif kind.startswith("torch"):
        torch.save(
            [5, 60, 7] if kind == "torch list" else torch.tensor(values),
            path,
            _use_new_zipfile_serialization=kind != "torch before 1.6",
        )
    elif kind == "numpy text":
        np.savetxt(path, values)
    else:
        array(
            tmp_path,
            {"column": values[:, None], "row": values[None]}.get(
                kind, values.astype(kind if kind[-1].isdigit() else int)
            ),
            "list.txt",
        )
    assert read(path) == positions.Listed((5, 60, 7))


def test_one_position_and_what_is_typed(tmp_path, monkeypatch):
    assert read(array(tmp_path, np.array(7))).positions == (7,)
    assert (
        read("7").positions == (7,)
        and read("0,1").positions == (0, 1)
        and read("1, 0").positions == (1, 0)
        and read("5;6 7").positions == (5, 6, 7)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert read("7").positions == (7,)  # a number, whatever else is called so
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path, "mine.txt", "3 4 5")
    assert read("~/mine.txt").positions == read("mine.txt").positions == (3, 4, 5)


BAD = {
    "a missing file": ("nowhere.npy", "no such file"),
    "a range": ("0-99", r"0-99 is a range, which has to be written out: \$\(seq -s, 0 99\)"),
    "a slice": ("0:100", r"0:100 is a range, which has to be written out: \$\(seq -s, 0 99\)"),
    "a repeated position": (
        "5,6,5,9,6",
        r"5 is there 2 times, 2 of its 5 entries are repeated; a list names every image once \(np.unique\)",
    ),
    "labels": (
        np.arange(50) % 10,
        (
            r"0 is there 5 times, 40 of its 50 entries are repeated, as in a list of labels; "
            r"np.flatnonzero\(LIST == LABEL\) gives"
        ),
    ),
    "a mask of 0 and 255": (np.repeat([0, 255], [40, 10]), "as in a list of labels; np.flatnonzero"),
    "labels of two classes": (np.arange(50) % 2 + 1, "1 is there 25 times"),
    "a table": (np.arange(8).reshape(4, 2), r"its array has shape \(4, 2\); a list has one row or column"),
    "a square mask": (np.eye(4, dtype=bool), r"its array has shape \(4, 4\)"),
    "halves": (np.array([0.5, 1, 2]), "0.5 is no whole number"),
    "a negative": ("-1,5", "by positions from 0 up, not -1"),
    "too large": (np.array([2**31]), "not 2147483648"),
    "two columns with headings": ("index,label\n17,3\n44,5\n", "it has several columns"),
    "columns of pandas": (
        ",index\n0,17\n1,44\n",
        "it has several columns, headed index; keep the one of positions alone",
    ),
    "numbered lines": ("0 17\n1 44\n2 9\n", "its first column counts its lines; keep the other alone"),
    "lines numbered from 1": ("1,17\n2,44\n3,9\n", "its first column counts its lines; keep the other alone"),
    "a column of pandas without a name": (",0\n5,17\n9,44\n", "it has several columns, the first without a heading"),
    "positions and labels, each once": (
        "17,2\n44,5\n12,3\n",
        "each of its 3 lines has 2 columns; keep the one of positions alone",
    ),
    "three columns": ("17 2 60\n44 5 61\n", "each of its 2 lines has 3 columns"),
    "thousands with commas": ("1,017\n3,044\n", "each of its 2 lines has 2 columns"),
    "no list in a tensor's file": (5, "it holds int, no list"),
    "positions and labels": ("17,3\n44,5\n12,3\n", "each of its 3 lines has 2 columns"),
    "an object": (
        '{"forget": [1, 2], "retain": [3]}',
        "it holds an object with forget, retain, of which the list has to be taken out",
    ),
    "lists in a list": ("[[1], [2]]", "it holds lists in a list"),
    "numbers and truths": ("[1, true]", "it mixes numbers with True and False"),
    "words": ("5\nsix\n7", "'six' is no number"),
    "nothing": ("# nothing\n", "it must name at least one image"),
    "no text": (b"\xe9\xe8", r"is no list \(byte 0 is no UTF-8\)"),
    "half of UTF-16": (b"\xff\xfe5", "is no UTF-16"),
    "a pickle": (pickle.dumps([1, 2, 3]), "this file is a pickle, which can run code; np.save the list"),
    "gzip": (b"\x1f\x8b\x08", "this file is compressed; unpack it"),
}


@pytest.mark.parametrize("kind", BAD)
def test_lists_that_are_refused(tmp_path, kind):
    content, message = BAD[kind]
    if isinstance(content, np.ndarray):
        content = str(array(tmp_path, content))
    elif isinstance(content, int):
        torch.save(content, tmp_path / "list.pt")
        content = str(tmp_path / "list.pt")
    elif isinstance(content, bytes) or "\n" in content or content[0] in "[{":
        content = str(saved(tmp_path, "list.txt", content))
    with pytest.raises(
        UsageError,
        match=rf"^--indexes_to_replace LIST: must be whole numbers with commas between, or a file of them; .*{message}",
    ):
        read(content)


def test_several_arrays_in_a_file_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", forget=np.arange(3), retain=np.arange(4))
    torch.save({"forget": torch.arange(3), "retain": torch.arange(4)}, tmp_path / "a.pt")
    for name in ("a.npz", "a.pt"):
        with pytest.raises(UsageError, match="it holds forget, retain, of which the list has to be taken out"):
            read(tmp_path / name)


# ---- masks ----------------------------------------------------------------------------------------


def forget(capsys, *words: str, code: int = 0, main=main_forget) -> str | dict:
    assert main.main([*DIGITS, "--unlearn", "retrain", "--save_dir", "unused", "--dry_run", "json", *words]) == code
    captured = capsys.readouterr()
    if code:
        assert captured.err.count("\n") == 1
        return captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("form", ["int64", "bool", "float32", "column", "text", "lines", "JSON", "words", "torch"])
def test_a_mask_over_the_training_set_means_the_images_where_it_is_one(tmp_path, capsys, form):
    mask = np.zeros(N, dtype=int)
    mask[[3, 900, N - 1]] = 1
    path = tmp_path / "mask"
    if form in ("text", "lines"):
        path.write_text(("," if form == "text" else "\n").join(map(str, mask)))
    elif form == "JSON":
        path.write_text(json.dumps(mask.astype(bool).tolist()))
    elif form == "words":
        np.savetxt(path, mask.astype(bool), fmt="%s")
    elif form == "torch":
        torch.save(torch.tensor(mask).bool(), path)
    else:
        array(tmp_path, mask[:, None] if form == "column" else mask.astype(form), "mask")
    listed = forget(capsys, "--indexes_to_replace", f"3,900,{N - 1}")
    assert forget(capsys, "--indexes_to_replace", str(path)) == forget(capsys, "--forget", f"indices:{path}") == listed
    assert listed["scenario"]["indices"] == 3


def test_a_mask_of_another_length_is_refused(tmp_path, capsys):
    for size, values in ((1298, [1, 0, 1]), (N + 1, [1]), (4, [1, 0, 1])):
        mask = np.zeros(size, dtype=int)
        mask[: len(values)] = values
        error = forget(capsys, "--indexes_to_replace", str(array(tmp_path, mask)), code=2)
        assert (
            f"is a mask of {size:,} zeros and ones; a mask has one for each of the 1,438 images of the "
            "official training set, those that validate included"
        ) in error
    for typed in ("0,1,1", "1,1,1"):
        assert "is a mask of 3 zeros and ones" in forget(capsys, "--indexes_to_replace", typed, code=2)
    assert "is a mask of 2 zeros" in forget(
        capsys, "--indexes_to_replace", str(array(tmp_path, np.array([True, False]))), code=2
    )
    assert "is a mask without a one; nothing to forget" in forget(
        capsys, "--indexes_to_replace", str(array(tmp_path, np.zeros(N))), code=2
    )


def test_the_header_says_that_it_was_a_mask(tmp_path, capsys):
    mask = np.zeros(N, dtype=bool)
    mask[:20] = True
    argv = [
        *DIGITS,
        "--dataset",
        "digits_no_val",
        "--unlearn",
        "retrain",
        "--unlearn_epochs",
        "0",
        "--indexes_to_replace",
        str(array(tmp_path, mask)),
    ]
    assert main_forget.main([*argv, "--save_dir", str(tmp_path / "run")]) == 0
    assert "20 listed training images (1.4 % of 1,438), from a mask over 1,438\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["split"]["forget"] == 20


def test_positions_beyond_the_training_set(capsys):
    error = forget(capsys, "--indexes_to_replace", f"5,{N},9000", code=2)
    assert (
        f"2 of 3 positions are beyond the official training set (first: {N}); they go from 0 to {N - 1}, "
        "images that validate included\n"
    ) in error
    assert forget(capsys, "--forget", f"indices:1,2,{N}", code=2).endswith(
        "included; it seems to count from 1: take 1 off each\n"
    )


# ---- image files ----------------------------------------------------------------------------------


def tree(root: Path, classes=("cat", "Dog", "10", "aquarium fish")) -> Path:
    for part in ("train", "test"):
        for label, name in enumerate(classes):
            for number in range(12):
                path = root / part / name / ("deep" if number > 9 else "") / f"{number:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (label, number, 0)).save(path)
    return root


def test_images_by_their_files(tmp_path, capsys):
    root = tree(tmp_path / "data")
    base = [*DIGITS[2:], "--dataset", "folder", "--no_val", "--data", str(root)]  # 10, Dog, aquarium fish, cat
    expected = forget(capsys, *base, "--indexes_to_replace", "13,25,47")
    for lines in (
        ["train/Dog/01.png", "train/aquarium fish/01.png", "train/cat/deep/11.png"],
        ["cat/deep/11.png", "./Dog/01.png", "aquarium fish/01.png"],
        [f"{root}/train/{name}" for name in ("Dog/01.png", "aquarium fish/01.png", "cat/deep/11.png")],
    ):
        path = saved(tmp_path, "names.txt", "\ufeff" + "\r\n".join(lines))
        assert forget(capsys, *base, "--indexes_to_replace", str(path)) == expected
        path.write_text(json.dumps(lines))
        assert forget(capsys, *base, "--forget", f"indices:{path}") == expected
    assert forget(capsys, *base, "--indexes_to_replace", "Dog/01.png,cat/deep/11.png")["scenario"]["indices"] == 2
    for typed, message in {
        "01.png": (
            "01.png fits 4 training images; name files by their path from the class's folder on, as class/image.png"
        ),
        "test/cat/01.png": "test/cat/01.png is none of the training images",
        "/elsewhere/train/cat/01.png": "/elsewhere/train/cat/01.png is none of",
        "cat/01.png,train/cat/01.png": "names a training image twice, by different paths",
        "cat/01.png,cat/01.png": "cat/01.png is there 2 times",
    }.items():
        assert message in forget(capsys, *base, "--indexes_to_replace", typed, code=2)
    error = forget(capsys, "--indexes_to_replace", "cat/01.png", code=2)
    assert (
        "names image files, and this data set is not read from files; give positions in its training set, from 0"
        in error
    )


# ---- names of classes -----------------------------------------------------------------------------

NAMES = ("10", "Dog", "aquarium fish", "cat")


@pytest.mark.parametrize(
    ("named", "numbered"),
    [
        (["--forget", "class:cat"], ["--forget", "class:3"]),
        (["--forget", "class:CAT,dog"], ["--forget", "class:1,3"]),
        (["--forget", "class:cat:7"], ["--class_to_replace", "3", "--num_indexes_to_replace", "7"]),
        (["--class_to_replace", "aquarium fish"], ["--class_to_replace", "2"]),
        (["--class_to_replace", "cat,2"], ["--class_to_replace", "2,3"]),
        (["--class_to_replace", "10"], ["--class_to_replace", "0"]),
        (["--forget", "class:train/cat"], ["--forget", "class:3"]),
    ],
)
def test_classes_by_name_are_the_same_run_as_by_number(tmp_path, capsys, named, numbered):
    base = [*DIGITS[2:], "--dataset", "folder", "--data", str(tree(tmp_path))]
    assert forget(capsys, *base, *named) == forget(capsys, *base, *numbered)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--forget", "class:cta"], "--forget cta: unknown (did you mean cat?); known: 10, Dog, aquarium fish, cat\n"),
        (["--class_to_replace", "cat,3"], "--class_to_replace 3: class 3 (cat) is there twice\n"),
        (["--class_to_replace", "cat,9"], "--class_to_replace 9: the classes are 0 to 3\n"),
        (["--forget", "class:cat:999"], "--forget class:cat:999: class 3 has 11 training images\n"),
    ],
)
def test_classes_that_there_are_not(tmp_path, capsys, words, message):
    base = [*DIGITS[2:], "--dataset", "folder", "--data", str(tree(tmp_path))]
    assert forget(capsys, *base, *words, code=2).endswith(f"error: {message}")


def test_a_word_that_is_the_number_of_one_class_and_the_name_of_another_is_refused():
    names = tuple(sorted(str(i) for i in range(1, 11)))  # 1, 10, 2, ...
    with pytest.raises(
        UsageError, match="--x 1: class 0 is called 1, and class 1 is called 10; give the folder, train/1 or train/10"
    ):
        number_of("1", names, "--x")
    assert [number_of(word, names, "--x") for word in ("10", "0", "train/1", "train/10", "train/2/")] == [1, 0, 0, 1, 2]
    assert Scenario(classes=("0", "2"), labels=(0, 2)).named(tuple("0123456789")).labels == (0, 2)
    assert [number_of(word, ("cat", "Cat", "dog"), "--x") for word in ("cat", "Cat", "DOG")] == [0, 1, 2]
    with pytest.raises(UsageError, match="--x CAT: unknown"):
        number_of("CAT", ("cat", "Cat", "dog"), "--x")


def test_classes_by_name_in_the_other_scripts(tmp_path, capsys):
    base = [
        *DIGITS[2:],
        "--dataset",
        "folder",
        "--data",
        str(tree(tmp_path)),
        "--save_dir",
        "unused",
        "--dry_run",
        "json",
    ]

    def dry(main, *words):
        code = main.main([*base, *words])
        captured = capsys.readouterr()
        return captured.err if code else json.loads(captured.out)

    named = dry(main_backdoor, "--target_label", "CAT", "--poison_class", "dog")
    assert (
        named
        == dry(main_backdoor, "--target_label", "3", "--poison_class", "1")
        == dry(main_backdoor, "--class_to_replace", "cat", "--poison_class", "Dog")
    )
    assert named["target"] == 3 and named["scenario"] == {"class": 1, "count": None}
    assert dry(main_backdoor, "--target_label", "cat", "--poison_class", "3").endswith(
        "--poison_class 3: is the target itself; must be another class than --target_label\n"
    )
    assert "--class_to_replace 1 and --target_label cat both say which class is the target" in dry(
        main_backdoor, "--class_to_replace", "1", "--target_label", "cat"
    )
    assert dry(main_backdoor, "--class_to_replace", "3", "--target_label", "cat")["target"] == 3
    assert "--target_label cta: unknown (did you mean cat?)" in dry(main_backdoor, "--target_label", "cta")
    assert "--mask nowhere: no such file" in dry(main_saliency, "--mask", "nowhere", "--forget", "class:cat")


# ---- byte-order marks -----------------------------------------------------------------------------


def test_texts_and_json_with_a_byte_order_mark(tmp_path):
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        path = saved(tmp_path, "a.json", mark + '{"é": [1]}'.encode(encoding))
        assert files.read_text(path, "x") == '{"é": [1]}' and files.read_json(path, "x") == {"é": [1]}
    with pytest.raises(
        UsageError, match=r"x: is no text file \(byte 1 is no UTF-16\)|x: is no text file \(byte \d is no UTF-16\)"
    ):
        files.read_text(saved(tmp_path, "b", codecs.BOM_UTF16_LE + b"a"), "x")


def test_a_mask_over_a_tree_and_the_notes_of_choose(tmp_path):
    chosen = prepare.find("folder", str(tree(tmp_path)), None)
    mask = positions.Listed((1, 4), over=48)
    assert (
        chosen.resolve(Scenario(None, None, mask.positions, over=mask.over)).facts()
        == Scenario(None, None, (1, 4)).facts()
    )
