"""The package of docs/adding.md joins the registries as it is written there, installed or imported."""

from __future__ import annotations

import csv
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apart
import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from evaluation import scoring
from evaluation.predict import Predictions
from sweep.objective import OBJECTIVES
from unlearn import api
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
    assert len(blocks) == 7
    for path, text in blocks.items():
        (folder / path).write_text(text)
    info = folder / "mine-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
    toml = re.search(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    entries = re.sub(r'\[project\.entry-points\."([\w.]+)"\]', r"[\1]", toml).replace('"', "")
    (info / "entry_points.txt").write_text(entries)
    return folder


@pytest.fixture
def here(site: Path, monkeypatch) -> Iterator[None]:
    """The package can be imported here and is forgotten after, so that processes forked off later import it anew."""
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.fixture
def python(site: Path, tmp_path: Path) -> Callable[..., apart.Ended]:
    """Runs Python with these words where the package, or what else lies in a folder, is installed."""
    return lambda *words, path=site: apart.python(list(words), ROOT, tmp_path, path)


def test_an_installed_package_is_found(python, site, tmp_path):
    """Its data set, architecture and split train; its method unlearns."""
    trained = python("main_imp.py", *IMP, "--save_dir", str(tmp_path / "model"))
    assert trained.code == 0, trained.err
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
    done = python("main_forget.py", *mask, *run)
    assert done.code == 0, done.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["method"], result["model"]["arch"], result["model"]["dataset"]) == ("gentle", "tiny_net", "squares")
    assert result["config"]["hyper"]["unlearn_lr"] == 1e-3 and result["split"]["forget"] == 5
    assert all(40 <= index < 80 and index % 2 == 0 for index in np.load(tmp_path / "run" / "split.npz")["forget"])
    listed = python("main_report.py", str(tmp_path), "--no_plots", "--scores", "margin,entropy_attack")
    assert listed.code == 0, listed.err
    [table] = tmp_path.glob("*-scores.csv")
    head, row = csv.reader(table.read_text().splitlines())
    assert head == ["method", "margin dense", "entropy_attack dense"]
    assert row[1:] == [f"{result['margin']:.4f}", f"{100 * result['entropy_attack']:.2f}"]
    note = "margin: mean lead of the true class, in logits, on the forget set; entropy_attack (%): "
    assert note in table.with_suffix(".md").read_text()


def test_help_and_errors_know_it(python, site, tmp_path):
    shown = python("main_forget.py", "--help")
    assert shown.code == 0 and "fine-tune at a small step size" in shown.out
    for flag, typed, known in (("--arch", "tiny_nat", "tiny_net"), ("--dataset", "sqares", "squares")):
        refused = python("main_imp.py", flag, typed, "--save_dir", str(tmp_path))
        assert refused.code == 2 and f"(did you mean {known}?)" in refused.err


def test_a_package_that_is_not_installed_is_imported(python, site, tmp_path):
    """An import in the user's own script registers what the package has."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").symlink_to(site / "mine")
    script = f"import mine.squares, mine.tiny_net, mine.halves, main_imp; main_imp.main({IMP + ['--save_dir', 'x']})"
    script = script.replace("'x'", repr(str(tmp_path / "run")))
    done = python("-c", script, path=tmp_path / "here")
    assert done.code == 0 and json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"


def test_a_broken_package_is_named_where_it_is_needed(python, site, tmp_path):
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[unlearn_sparse.datasets]\nx = nowhere.at_all\n")
    ours = python("main_imp.py", "--dataset", "digits", "--save_dir", str(tmp_path / "x"), "--dry_run", path=tmp_path)
    assert ours.code == 0, ours.err
    refused = python("main_imp.py", "--dataset", "other", "--save_dir", str(tmp_path / "x"), path=tmp_path)
    assert refused.code == 2 and len(refused.err.strip().splitlines()) == 1
    assert "--dataset: the entry point x of broken (unlearn_sparse.datasets) cannot be loaded" in refused.err


def test_a_score_is_in_tables_and_notebooks(here):
    """The page's score of two images by hand, as it is imported."""
    margin = importlib.import_module("mine.margin").margin
    try:
        forget = Predictions(torch.tensor([[1.0, 3.0, 0.5], [2.0, 1.5, 0.0]]), torch.tensor([1, 2]))
        assert margin(scoring.Outputs({"forget": forget})) == pytest.approx(((3 - 1) + (0 - 2)) / 2)
        assert scoring.measure(scoring.Outputs({"forget": forget})) == {"margin": 0.0}, "others need more sets"
        assert scoring.columns()["margin"].keys == ("margin",) and not scoring.columns()["margin"].percent
    finally:
        del scoring._scores._items["margin"]


def test_a_search_asks_for_the_pages_objective(here):
    two_gaps = importlib.import_module("mine.two_gaps").two_gaps
    try:
        ours, exact = (
            [{"accuracy": {"forget": forget, "test": test}} for forget, test in side]
            for side in (((0.9, 0.5), (0.7, 0.6)), ((0.8, 0.6), (0.4, 0.6)))
        )
        assert two_gaps(ours, exact, 0) == (pytest.approx(0.3), pytest.approx(0.1))
        found = OBJECTIVES.get("two_gaps")
        assert (found.parts, found.per_seed, found.sampler) == (("forget gap", "test gap"), False, "nsga3")
    finally:
        del OBJECTIVES._items["two_gaps"]


class Denoiser(nn.Module):
    """A convolution and a shift by class."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classes = nn.Conv2d(1, 1, 3, padding=1), nn.Embedding(10, 1)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        return self.conv(images) + self.classes(classes)[:, :, None, None]


def test_a_task_of_the_page_is_unlearned_from_python(here):
    torch.manual_seed(0)
    sets = [TensorDataset(torch.rand(12, 1, 6, 6), torch.arange(12) % 10) for _ in range(2)]
    known = {"denoiser": Denoiser(), "data": api.Data(*sets, device="cpu")}
    [block] = re.findall(r"^```python run\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(block, known)

    def error(model: nn.Module) -> float:
        """Mean squared error of the guessed noise on the forget set, over many draws."""
        images, classes = sets[1].tensors
        noise = torch.randn(200, 12, 1, 6, 6, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            guess = [model(images + 0.5 * one, classes) for one in noise]
        return float((torch.stack(guess) - noise).square().mean())

    assert error(known["unlearned"].model) > 1.001 * error(known["denoiser"])
    with pytest.raises(UsageError, match="^unlearn SCRUB: is for classification alone, not for denoising$"):
        api.run("SCRUB", known["denoiser"], known["data"], task=known["Denoising"]())


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
