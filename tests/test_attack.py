"""``main_attack.py`` on populations that are made for it: known answers, controls, pictures, and wrong input."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import main_attack
import main_report
from dataset.gallery import Gallery, gallery
from dataset.prepare import find
from evaluation.populations import all_attacks as attacks
from evaluation.populations import outputs
from evaluation.populations.all_attacks import Finding, Findings
from evaluation.populations.outputs import Outputs
from evaluation.populations.roc import Bootstrap
from report import agreement, attack_contrasts, attack_pictures, attack_table, population_files
from report.paper_table import UNEQUAL
from utils import files
from utils.errors import UsageError

IMAGES, TEST = 40, 1000  # images that train some models, and images that train none
APART = {"Original": 3.0, "FT": 1.5, "exact": 0.0}  # spreads between forgotten and never seen images
RESULT = {"status": "done", "compat": "fixed", "environment": {}}


def analytic(apart: float) -> float:
    """AUC between two normal distributions of one spread."""
    return norm.cdf(apart / math.sqrt(2))


class Made:
    """A study below a folder: every margin is normal, of another mean for each image and of one spread."""

    def __init__(self, folder: Path, splits: int = 32, sets: int = 4, sparsity: float = 0.0, seed: int = 0):
        self.folder, self.sparsity, self.random = folder, sparsity, np.random.default_rng(seed)
        self.centre = self.random.normal(0, 2, IMAGES + TEST)
        self.sets: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for split in range(splits):
            train = np.random.default_rng([seed, split]).permutation(IMAGES)[: IMAGES // 2]
            for place in range(sets):
                forgotten = np.random.default_rng([seed, split, place]).permutation(train)[: IMAGES // 4]
                retain, forget = np.zeros((2, IMAGES + TEST), bool)
                retain[np.setdiff1d(train, forgotten)], forget[forgotten] = True, True
                self.sets[split, place] = retain, forget

    def model(self, method: str, split: int, place: int, name: str = "", apart: float | None = None) -> Path:
        """One model; what it retains, and an original forgets, is as far ahead as an original's."""
        retain, forget = self.sets[split, place]
        kind = {"Original": "original", "Retrain": "retrained"}.get(method, "unlearned")
        ahead = APART["Original"] * retain + (APART.get(method, 0.0) if apart is None else apart) * forget
        margin = self.centre + self.random.normal(0, 1, len(retain)) + ahead
        folder = self.folder / (name or f"{method}-{self.sparsity}-{split}-{place}")
        folder.mkdir(parents=True)
        mark = hashlib.sha256(f"{folder.name} {self.sparsity}".encode()).hexdigest()[:16]
        run = f"{mark}-0" if kind == "original" else mark
        about = (margin.astype(np.float32), retain, forget, kind, run, "digest", split, place)
        with pytest.MonkeyPatch.context() as patch:  # nothing need outlast a power cut
            patch.setattr(files, "write_bytes", lambda path, content: path.write_bytes(content))
            outputs.write(folder / outputs.NAME, Outputs(*about))
        (folder / "result.json").write_text(json.dumps(self.result(method, kind, mark, split, place)))
        return folder

    def result(self, method: str, kind: str, mark: str, split: int, place: int) -> dict:
        config = {"data": {"dataset": "cifar10"}, "run": {"compat": "fixed"}, "hyper": {}}
        config |= {"split": f"lira:{split}:{place}"}
        if kind == "original":
            rounds = [{"round": 0, "density": 1 - self.sparsity}]
            about = {"label": "imp", "script": "main_imp.py", "rounds": rounds, "model": {"arch": "resnet20s"}}
        else:
            name = "retrain" if kind == "retrained" else method
            about = {"label": name, "script": "main_forget.py", "method": name, "paper_name": method, "seed": 1}
            about |= {"model": {"arch": "resnet20s", "dataset": "cifar10", "sparsity": self.sparsity}}
            about |= {"scenario": {"kind": "indices", "words": "10 images", "indices": 10, "indices_digest": mark}}
            about |= {"scores": dict.fromkeys(("UA", "MIA-Efficacy", "RA", "TA", "RTE"), 0.5)}
        return {**RESULT, "fingerprint": mark, "config": config, **about}

    def all(self, *methods: str) -> Made:
        for method in methods:
            for pair in self.sets:
                self.model(method, *pair)
        return self


def attacked(*words: object) -> dict:
    """What ``main_attack.py`` writes into the folder behind ``--out``, or into the first."""
    typed = list(map(str, words))
    assert main_attack.main(typed) == 0
    out = Path(typed[typed.index("--out") + 1] if "--out" in typed else typed[0])
    return json.loads((out / "attack.json").read_text())


def by_place(content: dict) -> dict[tuple[str, str, str], dict]:
    return {(one["model"], one["method"], one["attack"]): one for one in content["findings"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A dense and a sparse population, attacked."""
    folder = tmp_path_factory.mktemp("study")
    Made(folder).all("Original", "Retrain", "FT", "exact")
    Made(folder, splits=8, sparsity=0.9, seed=1).all("Retrain", "FT")
    attacked(folder, "--out", folder / "out", "--bootstrap", 100)
    return folder


@pytest.fixture(scope="module")
def found(study) -> dict:
    return json.loads((study / "out" / "attack.json").read_text())


ATTACKS = ("U-LiRA", "U-LiRA against Retrain", "LiRA online", "LiRA offline", "RMIA online", "RMIA offline")


@pytest.mark.parametrize(("splits", "paired"), [((0, 1, 2), True), ((0, 1, 3), False)])
def test_what_sparsity_changes_has_an_interval_on_the_same_splits_alone(splits, paired):
    dense = Finding("U-LiRA", "FT", {"auc": 0.5}, {}, 3, (0, 1, 2), samples=np.linspace(0.4, 0.6, 101))
    sparse = replace(dense, numbers={"auc": 0.7}, splits=splits, samples=dense.samples + 0.2)
    text = attack_contrasts._change(dense, sparse, Bootstrap())
    assert text == "50.0 → 70.0 (+20.0" + (f" [+20.0, +20.0]) {UNEQUAL}" if paired else ")")


@pytest.mark.parametrize("method", APART)
@pytest.mark.parametrize("attack", ATTACKS[:4])
def test_the_analytic_auc_lies_in_the_interval(found, method, attack):
    one = by_place(found)["dense", method, attack]
    low, high = one["intervals"]["auc"]
    assert low <= analytic(APART[method]) <= high and high - low < 0.12
    assert low <= one["numbers"]["auc"] <= high
    if attack.startswith("U-LiRA"):
        low, high = one["intervals"]["balanced_accuracy"]
        assert low <= norm.cdf(APART[method] / 2) <= high


@pytest.mark.parametrize("attack", ATTACKS)
def test_controls_frame_the_methods(found, attack):
    """Nothing is found where there is nothing, and most where nothing was forgotten, by probabilities too."""
    told = by_place(found)
    auc = {method: told["dense", method, attack]["numbers"]["auc"] for method in APART}
    assert auc["Original"] > auc["FT"] + 0.05 > auc["exact"] + 0.2
    for model, method in (("dense", "exact"), ("dense", "Retrain"), ("90 % sparse", "Retrain")):
        one = told.get((model, method, attack))
        if one is not None:
            low, high = one["intervals"]["auc"]
            assert low <= 0.5 <= high, (model, method)
    assert ("dense", "Retrain", attack) in told or attack == ATTACKS[1]


def test_an_attack_chooses_its_threshold_elsewhere(found):
    """The accuracy at the best threshold, which peeks, is above one half where there is nothing to find."""
    told = [by_place(found)["90 % sparse", "Retrain", attack] for attack in ATTACKS[2:]]
    for one in told:
        low, high = one["intervals"]["balanced_accuracy"]
        assert low <= 0.5 <= high
        assert one["numbers"]["accuracy"] >= max(0.5, one["numbers"]["balanced_accuracy"])
    assert max(one["numbers"]["accuracy"] for one in told) > 0.515


def test_no_model_judges_its_own_split(monkeypatch, tmp_path):
    Made(tmp_path, splits=5, sets=2).all("Original", "FT")
    seen = []

    def watched(name):
        original = getattr(attacks, name)

        def arrange(one, other, *more):
            sides = (one, other) if name == "for_lira" else ([one], other)
            seen.append([{model.split for model in side} for side in sides])
            return original(one, other, *more)

        monkeypatch.setattr(attacks, name, arrange)

    for name in ("for_lira", "for_rmia"):
        watched(name)
    attacked(tmp_path, "--no_plots", "--bootstrap", 10, "--attack", "lira,rmia")
    assert len(seen) == 2 * 2 * (2 + 10) and not any(
        one & other for one, other in seen
    )  # rows, variants, halves, models


def test_an_attack_that_peeks_is_caught(monkeypatch, tmp_path):
    """One that takes shadow models of its targets' splits is refused; nothing of it stands in a table."""
    folder = tmp_path / "runs"
    Made(folder, splits=8).all("Original", "FT")

    def peek(name, models, targets, attack, how):
        return attacks._judged(name, *attack(models.shadows, targets), None, how)

    monkeypatch.setattr(attacks, "_in_halves", peek)
    content = attacked(folder, "--no_plots", "--bootstrap", 10, "--attack", "ulira,lira,rmia")
    assert {one["attack"] for one in content["findings"]} == {"U-LiRA"}
    reasons = [one["reason"] for one in content["not_run"] if one["attack"] != ATTACKS[1]]
    assert reasons and all("would judge its own images" in reason or "given twice" in reason for reason in reasons)


def test_every_number_is_there_and_none_is_nan(study, found):
    assert set(found) >= {"dataset", "data", "interval", "units", "judged", "findings", "not_run", "seal"}
    assert found["interval"] == {"level": 0.95, "draws": 100, "seed": 0, "over": "splits"}
    for one in found["findings"]:
        for key in ("auc", "balanced_accuracy", "tpr@0.01", "tpr@0.001"):
            low, high = one["intervals"][key]
            assert 0 <= low <= high <= 1 and low - 1e-9 <= one["numbers"][key] <= high + 1e-9
        fpr, tpr = (np.array(one["curve"][name]) for name in ("fpr", "tpr"))
        assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1) and len(fpr) <= 400
        assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert {one["models"] for one in found["findings"] if one["model"] == "dense"} == {128}
    told = pd.read_csv(study / "out" / "attack-dense.csv").set_index(["method", "attack", "number"])
    one = by_place(found)["dense", "FT", "U-LiRA"]
    assert told.loc[("FT", "U-LiRA", "auc"), "value"] == pytest.approx(one["numbers"]["auc"], abs=1e-12)
    assert told.loc[("FT", "U-LiRA", "auc"), "upper"] == pytest.approx(one["intervals"]["auc"][1], abs=1e-12)


def test_the_level_decides_the_width(study, found, tmp_path):
    narrow = by_place(attacked(study, "--out", tmp_path, "--no_plots", "--level", 0.5, "--attack", "ulira"))
    for place, one in narrow.items():
        wide = by_place(found)[place]["intervals"]["auc"]
        low, high = one["intervals"]["auc"]
        assert wide[0] < low <= high < wide[1]


def test_tables_and_pictures_are_written(study):
    out = study / "out"
    names = {path.name for path in out.iterdir()}
    tables = {
        f"attack-{model}{part}.{kind}"
        for model in ("dense", "90___sparse")
        for part in ("", "-details")
        for kind in ("md", "csv", "tex")
    }
    tables |= {f"attack-90___sparse-sparsity.{kind}" for kind in ("md", "csv", "tex")}
    assert names == tables | {f"{name}.{kind}" for name in ("roc", "vulnerability") for kind in ("png", "svg")} | {
        "attack.html",
        "attack.json",
    }
    lines = (out / "attack-dense.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| Original", "| Retrain", "| FT", "| exact"]
    assert lines[2].startswith("| method | U-LiRA AUC | U-LiRA against Retrain AUC | LiRA online AUC |")
    assert "**" in lines[7] and "**" not in lines[5]  # exact is the nearest to one half, Retrain takes no part
    latex = (out / "attack-dense.tex").read_text()
    assert latex.count(r"\\") == 5 and r"\textbf{" in latex and r"\toprule" in latex
    page = (out / "attack.html").read_text()
    assert page.count("<img") == 2 and "against Retrain" in page


def test_the_best_is_nearest_to_one_half_from_either_side():
    values = {"Retrain": 0.5, "below": 0.3, "above": 0.55, "too": 0.5504}
    known = {(row, "U-LiRA"): Finding("U-LiRA", row, {"auc": value}, {}, 1, (0,)) for row, value in values.items()}
    known |= {(row, "KLoM"): Finding("KLoM", row, {"klom_forget": 1.0}, {}, 1, (0,)) for row in values}
    assert attack_table._nearest(["U-LiRA", "KLoM"], known) == {("above", "U-LiRA AUC"), ("too", "U-LiRA AUC")}


def test_what_sparsity_changes_is_paired_by_splits(tmp_path):
    """Against itself nothing changes, however wide the intervals are; a method that forgets less is marked."""
    known = {"FT": 1.0, "GA": 1.0}
    made = Made(tmp_path, splits=8, sets=2)
    paths = {name: [made.model(name, *pair, apart=known[name]) for pair in made.sets] for name in known}
    rows = {name: [outputs.read(path / outputs.NAME) for path in found] for name, found in paths.items()}
    retain_more = [replace(model, margin=model.margin + np.float32(3) * model.forget) for model in rows["GA"]]
    how = Bootstrap(200)
    found = {
        title: attacks.run(attacks.Models([], [], group), ("ulira",), how)
        for title, group in (("dense", rows), ("90 % sparse", {**rows, "GA": retain_more}))
    }
    [section] = attack_contrasts.sparsity("cifar10", found, how)
    assert section.head == ["method", "U-LiRA AUC"] and [row[0] for row in section.rows] == ["FT", "GA"]
    one = found["dense"].found[0]
    low, high = one.intervals["auc"]
    assert high - low > 0.03 and one.samples.shape == (200,)
    auc = f"{100 * one.numbers['auc']:.1f}"
    assert section.rows[0][1] == f"{auc} → {auc} (+0.0 [+0.0, +0.0])"
    assert re.fullmatch(r"[\d.]+ → [\d.]+ \(\+[\d.]+ \[\+[\d.]+, \+[\d.]+\]\) ≠", section.rows[1][1])
    assert attack_contrasts.sparsity("cifar10", {"90 % sparse": found["dense"]}, how) == []


def test_what_there_are_too_few_models_for_is_named(study, tmp_path, capsys):
    attacked(study, "--out", tmp_path, "--no_plots", "--bootstrap", 10, "--attack", "klom,ulira")
    said = capsys.readouterr().out
    assert "KLoM, dense, for Original, FT, exact: needs 2 models to judge and 2 retrained ones of one split" in said
    assert "U-LiRA against Retrain, dense, for Retrain: needs 2 retrained models of each split and forget set" in said


def test_main_report_has_the_columns(study, tmp_path):
    words = [str(study), str(study / "out"), "--out", str(tmp_path), "--no_plots"]
    assert main_report.main(words) == 0
    [table] = tmp_path.glob("*-lira.md")
    head, _, *rows = [line.strip("| ").split(" | ") for line in table.read_text().splitlines() if line.startswith("|")]
    one = by_place(json.loads((study / "out" / "attack.json").read_text()))["dense", "FT", "U-LiRA"]
    row = next(row for row in rows if row[0] == "FT")
    low, high = one["intervals"]["auc"]
    assert (
        row[head.index("U-LiRA AUC dense")] == f"{100 * one['numbers']['auc']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    )
    assert {"U-LiRA against Retrain AUC 90 % sparse", "RMIA online AUC dense"} <= set(head) and "KLoM dense" not in head
    exact = next(row for row in rows if row[0] == "exact")
    assert exact[head.index("U-LiRA AUC 90 % sparse")] == "-"


def test_the_report_says_whether_scores_order_methods_alike(tmp_path):
    """Six methods that forget less and less; their UA falls short ever less, MIA-Efficacy nearly as U-LiRA."""
    made = Made(tmp_path, splits=16, sets=2).all("Retrain")
    for place, off in enumerate((2, 1, 4, 3, 6, 5)):
        for pair in made.sets:
            path = made.model(f"method{place}", *pair, apart=0.3 + 0.7 * place) / "result.json"
            result = json.loads(path.read_text())
            result["scores"] |= {"UA": 0.4 - place / 20, "MIA-Efficacy": 0.5 + off / 20, "RA": 0.5, "TA": 0.4}
            path.write_text(json.dumps(result))
    attacked(tmp_path, "--no_plots", "--bootstrap", 10, "--attack", "ulira")
    assert main_report.main([str(tmp_path), "--no_plots"]) == 0
    [path] = tmp_path.glob("*-agreement.md")
    lines = [line.strip("| ").split(" | ") for line in path.read_text().splitlines() if line.startswith("|")]
    assert lines[0] == ["scores", "dense"]
    told = dict(lines[2:])
    alike = [name for name in told if "against" not in name]
    assert alike == [f"{name}, U-LiRA AUC" for name in ("avg. gap", "UA", "MIA-Efficacy")], "RA and TA have no order"
    assert told["UA, U-LiRA AUC"] == "+1.00 [+1.00, +1.00], n 6"
    assert told["MIA-Efficacy, U-LiRA AUC"].startswith("+0.83 [-0.13, +0.99]"), "1 - 6 * 6 / (6 * 35), by hand"


def test_a_rank_correlation_by_hand():
    """Differences of ranks 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24); artanh 0.8 -+ 1.96 * sqrt(1.32 / 2)."""
    assert agreement.correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx((0.8, -0.4571, 0.9909), abs=1e-4)
    assert agreement.correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == (-1, -1, -1)
    assert agreement.correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert agreement.correlation([1] * 5, [1, 2, 3, 4, 5]) is None


def test_a_damaged_attack_json_is_one_line(small, tmp_path, capsys):
    for content, message in (("{", "is damaged or no JSON"), ("{}", "judged is missing")):
        (tmp_path / "attack.json").write_text(content)
        assert main_report.main([str(small), str(tmp_path), "--out", str(tmp_path / "out"), "--no_plots"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"main_report.py: error: {tmp_path / 'attack.json'}: ") and message in said


def test_densities_have_names_of_their_own():
    told = [("a", 0.0, "", "fixed"), ("a", 0.9, "IMP", "fixed"), ("a", 0.9, "OMP", "fixed")]
    assert list(population_files._titles(told).values()) == ["dense", "90 % sparse (IMP)", "90 % sparse (OMP)"]
    told = [("a", 0.9, "OMP", "fixed"), ("b", 0.9, "OMP", "fixed"), ("b", 0.9, "OMP", "reference")]
    assert list(population_files._titles(told).values()) == [
        "a 90 % sparse",
        "b 90 % sparse",
        "b 90 % sparse (compat reference)",
    ]


def test_folders_of_two_machines_make_the_same_tables(tmp_path, capsys):
    whole = Made(tmp_path / "one", splits=6, sets=2).all("Retrain", "FT")
    shutil.copytree(whole.folder, tmp_path / "left")
    for path in sorted((tmp_path / "left").iterdir())[::2]:
        (tmp_path / "right").mkdir(exist_ok=True)
        shutil.move(path, tmp_path / "right" / path.name)
    words = ["--attack", "ulira", "--no_plots", "--out"]
    attacked(whole.folder, *words, tmp_path / "a")
    attacked(tmp_path / "right", tmp_path / "left", tmp_path / "right", *words, tmp_path / "b")
    for name in ("attack.json", "attack-dense.md", "attack-dense.csv", "attack-dense.tex"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_original_stands_for_all_forget_sets_of_its_split(tmp_path):
    made = Made(tmp_path, splits=8, sets=3).all("FT")
    for split in range(8):
        made.model("Original", split, 0)
    told = by_place(attacked(tmp_path, "--no_plots", "--attack", "ulira,lira", "--bootstrap", 100))
    original, unlearned = (told["dense", method, "U-LiRA"] for method in ("Original", "FT"))
    assert original["models"] == 24
    assert [original[side] for side in ("forgotten", "never_seen")] == [
        unlearned[side] for side in ("forgotten", "never_seen")
    ]
    assert told["dense", "Original", "LiRA online"]["numbers"]["auc"] > 0.9
    assert told["dense", "FT", "LiRA online"]["numbers"]["auc"] > 0.7  # from 8 shadow models, not 24


def test_the_original_is_what_methods_started_from(tmp_path):
    """A training has outputs of its best and of its last epoch; another tool's file is neither."""
    Made(tmp_path, splits=2, sets=1).all("Original", "FT")

    def start_from(name: str) -> None:
        for path in tmp_path.glob("*/result.json"):
            content = json.loads(path.read_text())
            content["model"]["checkpoint"] = f"elsewhere/{name}"
            for one in content.get("rounds", []):
                one |= {"best": "0model_SA_best.pth.tar", "last": "0checkpoint.pth.tar"}
            path.write_text(json.dumps(content))

    def runs() -> set[str]:
        return {model.run.partition("-")[2] for model in population_files.read([tmp_path]).columns["dense"].shadows}

    for path in sorted(tmp_path.glob("Original*/outputs.npz")):
        known = outputs.read(path)
        outputs.write(path.with_name("last_outputs.npz"), replace(known, run=f"{known.run}-last"))
    for name, expected in (("0checkpoint.pth.tar", "0-last"), ("0model_SA_best.pth.tar", "0"), ("other.pt", "0")):
        start_from(name)
        assert runs() == {expected}
    start_from("0checkpoint.pth.tar")
    for path in tmp_path.glob("*/last_outputs.npz"):
        path.unlink()
    with pytest.raises(UsageError, match=r"methods started from 0checkpoint.pth.tar, the last epoch's weights"):
        population_files.read([tmp_path])


def test_splits_may_draw_forget_sets_of_their_own(tmp_path):
    """As where one seed draws both: no two splits have a forget set of the same number."""
    Made(tmp_path, splits=8, sets=2).all("Retrain", "FT")
    for path in tmp_path.glob("*/outputs.npz"):
        found = outputs.read(path)
        outputs.write(path, replace(found, forget_set=10 * found.split + found.forget_set))
    told = by_place(attacked(tmp_path, "--no_plots", "--attack", "ulira", "--bootstrap", 100))
    assert {one["models"] for one in told.values()} == {16}


def test_a_single_split_is_judged_by_klom(tmp_path, capsys):
    made = Made(tmp_path, splits=1, sets=1)
    for number in range(30):
        for method in ("Original", "Retrain", "FT"):
            made.model(method, 0, 0, f"{method}{number}")
            made.model("Retrain", 0, 0, f"again{number}") if method == "Retrain" else None
    content = attacked(tmp_path, "--no_plots")
    told = {method: one["numbers"]["klom_forget"] for (_, method, _), one in by_place(content).items()}
    assert set(told) == {"Original", "Retrain", "FT"} and told["Original"] > told["FT"] > told["Retrain"] > 0
    assert {one["attack"] for one in content["not_run"]} == set(ATTACKS)
    assert "| FT |" in (tmp_path / "attack-dense-klom.md").read_text()
    assert "no image can be scored: 2 models that forgot an image and 2 that never saw it" in capsys.readouterr().out


def test_controls_that_fail_are_a_warning(tmp_path, capsys):
    """Retrained models that remember, as a wrong split makes them, and originals that forgot."""
    made = Made(tmp_path, splits=8, sets=4)
    for pair in made.sets:
        made.model("Retrain", *pair, apart=3.0)
        made.model("Original", *pair, apart=0.0)
    attacked(tmp_path, "--no_plots", "--attack", "ulira", "--bootstrap", 100)
    said = (tmp_path / "attack-dense.md").read_text()
    assert "Warning: Retrain is found, where there is nothing to find" in said and "(U-LiRA 9" in said
    assert "Warning: Original is not found, which forgot nothing" in said


def test_controls_that_hold_warn_of_nothing(study):
    assert "Warning" not in "".join(path.read_text() for path in (study / "out").glob("*.md"))


# --- Images ---


def test_the_ends_are_what_is_told_least_and_best():
    accuracy = np.array([np.nan, 0.5, 0.9, 0.5, 0.7, np.nan])
    finding = Finding("U-LiRA", "FT", {}, {}, 1, (0,), per_image=accuracy, lead=np.array([0, 2, 1, 1, 1, 0.0]))
    most, least = attack_pictures.ends(finding)
    assert most.tolist() == [3, 1] and least.tolist() == [2, 4]  # 1 and 3 are told as often, 3 by less
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    drawn = attack_pictures.images("dense", Findings([finding]), Gallery(pixels, np.arange(6), tuple("abcdef")))
    shown = [axis for axis in drawn.axes if axis.images]
    assert [axis.get_title() for axis in shown] == ["c\n2", "e\n4", "d\n3", "b\n1"]
    assert [int(axis.images[0].get_array()[0, 0, 0]) for axis in shown] == [2, 4, 3, 1]


def test_images_are_those_that_the_models_saw(tmp_path):
    known = find("digits", None, 8).load()
    shown = gallery("digits", None, 8, known.digest)
    assert shown.images.shape == (1797, 8, 8, 3) and len(shown.labels) == 1797
    assert shown.images[len(known.train_images)].tolist() == known.test_images[0].tolist()
    with pytest.raises(UsageError, match="digits: holds other images than the models were trained on"):
        gallery("digits", None, 8, "another")
    assert gallery("cifar10", None, None, "any") is None


# --- Wrong input ---


def dropped(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)


def damaged(folder: Path) -> None:
    path = folder / "FT-0.0-1-0" / "outputs.npz"
    path.write_bytes(path.read_bytes()[:-50])


def changed(folder: Path, **entries: object) -> None:
    path = folder / "FT-0.0-1-0" / "outputs.npz"
    outputs.write(path, replace(outputs.read(path), **entries))


def other_sets(folder: Path) -> None:
    found = outputs.read(folder / "FT-0.0-1-0" / "outputs.npz")
    changed(folder, retain=found.forget, forget=found.retain)


WRONG = {
    "a method's model is missing": (
        lambda at: dropped(at, "FT-0.0-1-0"),
        r"the FT model \(dense\) of split 1, forget set 0 is missing; 4 are needed, and there are 3",
    ),
    "a retrained model is missing": (
        lambda at: [dropped(at, f"Retrain-0.0-1-{place}") for place in (0, 1)],
        r"the Retrain model \(dense\) of split 1, forget set 0 is missing, which FT has; 4 are needed, and there are 2",
    ),
    "an original is missing": (
        lambda at: [dropped(at, f"Original-0.0-1-{place}") for place in (0, 1)],
        "the original of split 1 is missing; 2 are needed, and there are 1",
    ),
    "damaged": (damaged, "FT-0.0-1-0/outputs.npz: is damaged or no outputs.npz"),
    "two data sets": (lambda at: changed(at, data="others"), "is of other images than .*; attack each data set alone"),
    "twice": (
        lambda at: shutil.copytree(at / "FT-0.0-1-0", at / "copy"),
        "copy/outputs.npz: is the same model as .*FT-0.0-1-0/outputs.npz; leave one of the two out",
    ),
    "one forget set twice": (
        lambda at: Made(at, splits=2, sets=2).model("FT", 1, 0, "again"),
        "is one of 2 of split 1, forget set 0, and of FT model .* of split 0, forget set 0 there are 1; give the same",
    ),
    "other images forgotten": (
        other_sets,
        "retains or forgets other images than .* of the same split 1 and forget set 0",
    ),
    "another run's": (lambda at: changed(at, run="0" * 16), "is of run 0{16}, and the result.json beside it of"),
    "no result": (lambda at: (at / "FT-0.0-1-0" / "result.json").unlink(), "no finished result.json beside it"),
    "nothing": (
        lambda at: [dropped(at, path.name) for path in list(at.iterdir())],
        "no outputs.npz below it; give --save_outputs",
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return Made(tmp_path_factory.mktemp("small"), splits=2, sets=2).all("Original", "Retrain", "FT").folder


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(small, tmp_path, capsys, case):
    damage, message = WRONG[case]
    shutil.copytree(small, tmp_path / "runs")
    damage(tmp_path / "runs")
    assert main_attack.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1 and said.err.startswith("main_attack.py: error: ")
    assert re.search(message, said.err), said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "--attack", "mia"], "--attack mia: unknown.*known: ulira, lira, rmia, klom"),
        (["runs", "--level", "95"], "--level 95: must be more than 0 and less than 1"),
        (["nowhere"], "nowhere: no such folder"),
        ([], "FOLDER"),
    ],
)
def test_wrong_flags_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert main_attack.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search(message, said), said


def test_where_nothing_can_be_run_it_says_why(small, tmp_path, capsys):
    assert main_attack.main([str(small), "--out", str(tmp_path / "out"), "--attack", "klom"]) == 2
    assert re.search("no attack could be run: KLoM, dense, for .*: needs 2 models to judge", capsys.readouterr().err)
