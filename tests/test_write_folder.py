"""``write_folder``: a folder is replaced as a whole, and an old one is not lost when the new one cannot be made."""

import os

import pytest

from utils import files
from utils.errors import RunError


def content(text):
    return lambda folder: (folder / "file").write_text(text)


def test_a_folder_is_replaced(tmp_path):
    target = tmp_path / "part"
    files.write_folder(target, content("first"))
    (target / "more").write_text("of the first")
    files.write_folder(target, content("second"))
    assert {path.name: path.read_text() for path in target.iterdir()} == {"file": "second"}
    assert os.listdir(tmp_path) == ["part"]
    assert target.stat().st_mode & 0o777 == 0o777 & ~files._umask()


def test_the_old_folder_stays_when_the_new_one_cannot_be_written(tmp_path):
    target = tmp_path / "part"
    files.write_folder(target, content("first"))

    def fill(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="cannot write .*part: No space left on device"):
        files.write_folder(target, fill)
    assert (target / "file").read_text() == "first" and os.listdir(tmp_path) == ["part"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_renamed(tmp_path, monkeypatch):
    target, replace = tmp_path / "part", os.replace
    files.write_folder(target, content("first"))

    def refuses(source, place):
        if os.path.basename(source) == "new":
            raise OSError(5, "Input/output error")
        replace(source, place)

    monkeypatch.setattr(os, "replace", refuses)
    with pytest.raises(RunError, match="Input/output error"):
        files.write_folder(target, content("second"))
    assert (target / "file").read_text() == "first" and os.listdir(tmp_path) == ["part"]
