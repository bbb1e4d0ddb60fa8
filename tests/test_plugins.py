"""The package of docs/adding.md joins the registries as it is written there, installed or imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from utils.errors import UsageError
from utils.plugins import Registry

PAGE = (ROOT / "docs" / "adding.md").read_text()
IMP = ["--dataset", "squares", "--arch", "tiny_net", "--split", "halves:0", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of installed packages that holds the page's."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "mine").mkdir()
    blocks = dict(re.findall(r"^`(mine/\w+\.py)`:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert len(blocks) == 4
    for path, text in blocks.items():
        (folder / path).write_text(text)
    info = folder / "mine-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
    toml = re.search(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    entries = re.sub(r'\[project\.entry-points\."([\w.]+)"\]', r"[\1]", toml).replace('"', "")
    (info / "entry_points.txt").write_text(entries)
    return folder


def python(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )


def test_an_installed_package_is_found(site, tmp_path):
    """Its data set, architecture and split train; its method unlearns."""
    trained = python(site, "main_imp.py", *IMP, "--save_dir", str(tmp_path / "model"))
    assert trained.returncode == 0, trained.stderr
    sets = np.load(tmp_path / "model" / "split.npz")
    assert sets["train"].tolist() == list(range(0, 80, 2)) and sets["test"].tolist() == list(range(40))
    mask = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar")]
    run = [
        "--split",
        "halves:0",
        "--unlearn",
        "gentle",
        "--forget",
        "class:dark:5",
        "--save_dir",
        str(tmp_path / "run"),
    ]
    done = python(site, "main_forget.py", *mask, *run)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["method"], result["model"]["arch"], result["model"]["dataset"]) == ("gentle", "tiny_net", "squares")
    assert result["config"]["hyper"]["unlearn_lr"] == 1e-3 and result["split"]["forget"] == 5
    assert all(40 <= index < 80 and index % 2 == 0 for index in np.load(tmp_path / "run" / "split.npz")["forget"])


def test_help_and_errors_know_it(site, tmp_path):
    shown = python(site, "main_forget.py", "--help")
    assert shown.returncode == 0 and "fine-tune at a small step size" in shown.stdout
    for flag, typed, known in (("--arch", "tiny_nat", "tiny_net"), ("--dataset", "sqares", "squares")):
        refused = python(site, "main_imp.py", flag, typed, "--save_dir", str(tmp_path))
        assert refused.returncode == 2 and f"(did you mean {known}?)" in refused.stderr


def test_a_package_that_is_not_installed_is_imported(site, tmp_path):
    """An import in the user's own script registers what the package has."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").symlink_to(site / "mine")
    script = f"import mine.squares, mine.tiny_net, mine.halves, main_imp; main_imp.main({IMP + ['--save_dir', 'x']})"
    script = script.replace("'x'", repr(str(tmp_path / "run")))
    done = python(tmp_path / "here", "-c", script)
    assert done.returncode == 0 and json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"


def test_a_broken_package_is_named_where_it_is_needed(site, tmp_path):
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[unlearn_sparse.datasets]\nx = nowhere.at_all\n")
    ours = python(tmp_path, "main_imp.py", "--dataset", "digits", "--save_dir", str(tmp_path / "x"), "--dry_run")
    assert ours.returncode == 0, ours.stderr
    refused = python(tmp_path, "main_imp.py", "--dataset", "other", "--save_dir", str(tmp_path / "x"))
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1
    assert "--dataset: the entry point x of broken (unlearn_sparse.datasets) cannot be loaded" in refused.stderr


def test_one_mechanism_for_names_and_aliases():
    colours: Registry[int] = Registry("--colour", "colour", forms=("#RRGGBB",))
    colours.add("red", 1, aliases=("crimson",))
    colours.add("green", 2)
    assert list(colours) == ["red", "green"] and colours.get("crimson") == 1 and "blue" not in colours
    with pytest.raises(
        UsageError, match=r"--colour gren: unknown \(did you mean green\?\); known: green, red, #RRGGBB"
    ):
        colours.get("gren")
    with pytest.raises(ValueError, match="colour 'crimson' is registered twice"):
        colours.add("crimson", 3)
