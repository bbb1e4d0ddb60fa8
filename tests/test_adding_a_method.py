"""The example of docs/adding_a_method.md works as it is written there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import apart
import pytest
from conftest import DIGITS, ROOT

PAGE = (ROOT / "docs" / "adding_a_method.md").read_text()


def blocks() -> dict[str, str]:
    """The page's files by their paths."""
    return dict(re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the example's files, and nothing else changed."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(
        ROOT, folder, ignore=shutil.ignore_patterns(".*", "data", "runs", "results", "*.png", "__pycache__")
    )
    for path, text in blocks().items():
        assert not (folder / path).exists()
        (folder / path).write_text(text)
    return folder


def python(project: Path, *words: str) -> apart.Ended:
    return apart.python(list(words), project, project.parent)


def test_the_page_has_a_method_and_its_test():
    assert list(blocks()) == ["unlearn/methods/flat.py", "tests/test_flat.py"]


def test_its_flags_are_in_the_help(project):
    shown = python(project, "main_forget.py", "--unlearn", "flat", "--help")
    assert shown.code == 0 and "undecided on the forget set" in shown.out
    assert "--beta" in shown.out and "(0.3)" in shown.out and "--unlearn_epochs" in shown.out
    refused = python(
        project, "main_forget.py", "--unlearn", "flat", "--mask", "README.md", "--beta", "2", "--save_dir", "x"
    )
    assert refused.code == 2 and len(refused.err.strip().splitlines()) == 1 and "--beta" in refused.err


def test_it_runs_on_a_sparse_model(project, few, few_run, tmp_path):
    words = [*DIGITS, *few, "--mask", str(few_run / "1model_SA_best.pth.tar"), "--forget", "class:0"]
    words += ["--save_dir", str(tmp_path / "run")]
    done = python(project, "main_forget.py", *words, "--unlearn", "flat", "--unlearn_epochs", "1", "--beta", "0.5")
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["method"] == "flat" and 0 <= result["scores"]["UA"] <= 1
    assert {"flatcheckpoint.pth.tar", "flateval_result.pth.tar"} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("marked", ["not torture", pytest.param("torture", marks=pytest.mark.torture)])
def test_its_tests_pass_and_those_of_every_method_find_it(marked, project):
    files, chosen = ["tests/test_flat.py", "tests/test_methods.py"], ["-k", "flat or registry_holds", "-m", marked]
    walked = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *chosen)
    assert walked.code == 0, walked.out
    assert int(re.search(r"(\d+) passed", walked.out)[1]) >= (2 if marked == "torture" else 7), walked.out
