"""Tables and plots from results made by hand."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.colors
import matplotlib.text
import pytest
from conftest import ROOT

import main_report
from evaluation import scoring
from report import (
    assemble,
    backdoor_table,
    comparison,
    contrasts,
    cost,
    curves,
    further,
    missing,
    overview,
    paper_table,
    paper_values,
    ranking,
    row_names,
    shared_parts,
    text,
)
from report.page import Section
from report.runs import METRICS, Run, collect
from report.writer import Report

NONE = paper_values.Published([], exact=False)
SIZES = {"forget": 100, "retain": 900, "test": 360}


def result(
    method,
    sparsity,
    seed,
    scores,
    paper=None,
    hyper=None,
    compat="fixed",
    kind="class",
    words="all of class 0",
    forget=0,
    **more,
):
    ua, mia, ra, ta, rte = scores
    content = {
        "script": "main_forget.py",
        "status": "done",
        "method": method,
        "paper_name": paper or method,
        "seed": seed,
        "compat": compat,
        "scenario": {"kind": kind, "words": words, "class": forget, "count": None},
        "split": SIZES,
        "model": {"dataset": "digits", "arch": "resnet20s", "sparsity": sparsity, **more.pop("model", {})},
        "scores": {"UA": ua, "MIA-Efficacy": mia, "RA": ra, "TA": ta, "RTE": rte},
        "config": {"hyper": hyper or {}, "run": {"train_seed": seed, "split_seed": None}, **more.pop("config", {})},
        **more,
    }
    return {"fingerprint": json.dumps(content, sort_keys=True), **content}


RUNS = [
    result("retrain", 0, 1, (1.0, 1.0, 0.99, 0.9, 2.0), "Retrain"),
    result("retrain", 0, 2, (1.0, 0.9, 0.97, 0.8, 4.0), "Retrain"),
    result("FT", 0, 1, (0.5, 0.6, 0.9, 0.8, 0.5)),
    result("FT", 0, 2, (0.7, 0.8, 0.9, 0.9, 0.5)),
    result("retrain", 0.95, 1, (1.0, 1.0, 0.9, 0.9, 2.0), "Retrain"),
    result("FT", 0.95, 1, (0.9, 1.0, 0.9, 0.8, 0.5)),
    result("GA", 0.95, 1, (0.2, 0.2, 0.9, 0.8, 0.1)),
]


def made(runs):
    return comparison.tables([Run("", Path(), run) for run in runs])


def made_of(*folders):
    return comparison.tables(collect(folders).runs_of("main_forget.py"))


def named(table, known=NONE):
    head, rows = paper_table.paper_table(table, known)
    return {row[0]: dict(zip(head, row)) for row in rows}


def write(folder, runs):
    for number, run in enumerate(runs):
        place = folder / str(number)
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(run))
    return folder


def test_runs_with_adapters_have_rows_of_their_own_behind_the_methods():
    adapted = [
        result("FT", 0, seed, (0.4, 0.4, 0.8, 0.7, 0.4), "FT + LoRA", config={"lora": {"lora_rank": 4}}, adapters={})
        for seed in (1, 2)
    ]
    [table] = made([*RUNS, *adapted])
    assert list(table.rows) == ["Retrain", "FT", "FT + LoRA", "GA"]
    assert table.cell("FT", "dense", "UA").values == (0.5, 0.7) and table.cell("FT + LoRA", "dense", "UA").values == (
        0.4,
        0.4,
    )
    other = result("FT", 0, 1, (0.3, 0.4, 0.8, 0.7, 0.4), "FT + LoRA", config={"lora": {"lora_rank": 8}}, adapters={})
    [table] = made([*RUNS, *adapted, other])
    assert {"FT + LoRA, lora_rank 4", "FT + LoRA, lora_rank 8"} < set(table.rows)


def test_means_gaps_and_averages_by_hand():
    [table] = made(RUNS)
    assert [model.name for model in table.models] == ["dense", "95 % sparse"] and list(table.rows) == [
        "Retrain",
        "FT",
        "GA",
    ]
    cell = table.cell("FT", "dense", "UA")
    assert cell.mean == pytest.approx(0.6) and cell.std == pytest.approx(0.1)  # 0.5 and 0.7
    # dense gaps of FT: UA |0.6 - 1|, MIA |0.7 - 0.95|, RA |0.9 - 0.98|, TA |0.85 - 0.85|
    assert [table.gap("FT", "dense", m) for m in METRICS] == pytest.approx([0.4, 0.25, 0.08, 0.0])
    assert table.average_gap("FT", "dense") == pytest.approx(0.1825)
    assert table.average_gap("FT", "95 % sparse") == pytest.approx((0.1 + 0 + 0 + 0.1) / 4)
    assert table.gap("Retrain", "dense", "UA") == 0 and table.average_gap("GA", "dense") is None


def test_a_gap_is_taken_over_the_seeds_that_both_have():
    third = result("FT", 0, 3, (0.0, 0.0, 0.0, 0.0, 0.5))
    [table] = made([*RUNS, third])
    assert table.cell("FT", "dense", "UA").mean == pytest.approx(0.4)  # over 0.5, 0.7 and 0
    assert table.gap("FT", "dense", "UA") == pytest.approx(0.4)  # still seeds 1 and 2 against Retrain's
    [alone] = made([RUNS[0], third])
    assert alone.gap("FT", "dense", "UA") is None and named(alone)["FT"]["UA dense"] == "0.00"


def test_layout_of_the_paper():
    [table] = made(RUNS)
    head, rows = paper_table.paper_table(table, NONE)
    assert head[:5] == ["method", "UA dense", "UA 95 % sparse", "MIA-Efficacy dense", "MIA-Efficacy 95 % sparse"]
    assert head[-6:] == [
        "avg. gap dense",
        "avg. gap 95 % sparse",
        "RTE (min) dense",
        "RTE (min) 95 % sparse",
        "n dense",
        "n 95 % sparse",
    ]
    finetuned = named(table)["FT"]
    assert finetuned["UA dense"] == "60.00±10.00 (40.00)" and finetuned["UA 95 % sparse"] == "90.00 (10.00)"
    assert (
        finetuned["avg. gap dense"] == "18.25"
        and finetuned["RTE (min) dense"] == "0.500"
        and finetuned["n dense"] == "2"
    )
    assert named(table)["GA"]["UA dense"] == "- (0 of 2 seeds)" and named(table)["GA"]["n dense"] == "0 of 2"
    assert text.markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"


def test_runs_that_differ_in_anything_that_matters_never_share_a_table():
    def run(**more):
        return result("FT", 0, 1, (0.1, 0.1, 0.1, 0.1, 1.0), **more)

    different = [
        run(),
        run(compat="reference"),
        run(kind="random", words="a tenth", forget=None),
        run(words="all of class 3", forget=3),
        run(config={"run": {"train_seed": 1, "split_seed": 7}}),
        run(config={"official_counts": [5, 5]}),
        run(config={"official_counts": [6, 6]}),
        run(config={"data": {"input_size": 32}}),
        run(config={"model": {"imagenet_arch": True}}),
        run(split={**SIZES, "test": 400}),
        run(model={"arch": "resnet18"}),
        run(model={"dataset": "cifar10"}),
    ]
    found = made(different)
    assert len(found) == len(different) and all(table.runs("FT", "dense") == 1 for table in found)
    assert len({table.slug for table in found}) == len(different)  # no two write the same files
    assert len({table.title for table in found}) == len(different)
    assert {"digits-resnet20s-class-0-reference", "digits-resnet20s-class-3", "digits-resnet20s-random"} <= {
        table.slug for table in found
    }


def test_methods_with_several_settings_get_a_row_each():
    twice = [result("FT", 0, 1, (0.1,) * 5, hyper={"lr": lr, "epochs": 3}) for lr in (0.1, 0.2)]
    [table] = made(twice)
    assert list(table.rows) == ["FT, lr 0.1", "FT, lr 0.2"]
    tuned = [result("FT", sparsity, 1, (0.1,) * 5, hyper={"lr": sparsity + 1}) for sparsity in (0, 0.9)]
    [table] = made(tuned)  # tuned per model: one row
    assert list(table.rows) == ["FT"] and {model for _, model, _ in table.cells} == {"dense", "90 % sparse"}


def recipe(epochs, round_=1, script="main_imp.py", **prune):
    return {"round": round_, "recipe": {"script": script, "train": {"epochs": epochs}, "prune": prune}}


def test_models_of_different_training_are_different_columns():
    omp, imp, snip = (
        {"pruning_times": 2, "rate": 0.95},
        {"pruning_times": 14, "rate": 0.2},
        {"score": "snip", "rate": 0.95},
    )
    runs = [
        result("FT", 0, 1, (0.1,) * 5, model=recipe(182, 0, **omp)),
        result("FT", 0, 2, (0.3,) * 5, model=recipe(182, 0, **imp)),
        result("FT", 0.95, 1, (0.1,) * 5, model=recipe(182, **omp)),
        result("FT", 0.95, 2, (0.3,) * 5, model=recipe(182, **omp)),
        result("FT", 0.95, 1, (0.5,) * 5, model=recipe(182, **omp | {"random_prune": True})),
        result("FT", 0.95, 1, (0.6,) * 5, model=recipe(182, 0, "main_synflow.py") | {"recipe": {"prune": snip}}),
        result("FT", 0.95, 1, (0.7,) * 5, model=recipe(10, **omp)),
    ]
    [table] = made(runs)
    found = {model.name: table.cell("FT", model.name, "UA").values for model in table.models}
    assert found.pop("dense") == (0.1, 0.3)  # a dense round is the same whatever was pruned afterwards
    assert found == {
        "95 % sparse (OMP) #1": (0.7,),
        "95 % sparse (OMP) #2": (0.1, 0.3),
        "95 % sparse (random)": (0.5,),
        "95 % sparse (snip)": (0.6,),
    }


def test_retraining_without_a_checkpoint_stands_beside_any_dense_model():
    dense = {"config": {"checkpoint": "abc"}, "model": recipe(182, 0)}
    runs = [
        result("retrain", 0, 1, (0.9,) * 5, "Retrain", config={"checkpoint": None}),
        result("FT", 0, 1, (0.4,) * 5, **dense),
    ]
    [table] = made(runs)
    assert [model.name for model in table.models] == ["dense"] and table.gap("FT", "dense", "UA") == pytest.approx(0.5)


# --- published numbers ---


def paper_runs(ua, seeds=(1, 2)):
    where = {
        "model": {"dataset": "cifar10", "arch": "resnet18"},
        "split": {"forget": 4500, "retain": 40500, "test": 9000},
    }
    runs = [result("retrain", 0, seed, (1.0, 1.0, 1.0, 0.9483, 40.0), "Retrain", **where) for seed in seeds]
    return runs + [result("FT", 0, seed, (value, 0.75, 0.9987, 0.9431, 2.5), **where) for seed, value in zip(seeds, ua)]


def test_the_file_holds_the_main_table_of_the_paper():
    entries = {entry["name"]: entry for entry in paper_values.load()["tables"]}
    table = entries["jia2023-table1-class"]["rows"]
    assert table["FT"]["dense"]["UA"] == [22.53, 8.16] and table["IU"]["sparse"]["TA"] == [90.76, 0.18]
    assert list(table) == ["Retrain", "FT", "GA", "FF", "IU"] == list(entries["jia2023-table1-random"]["rows"])
    assert all(entry["source"] and entry["paper"] in paper_values.load()["papers"] for entry in entries.values())


@pytest.mark.parametrize(
    "share, entry, row, average",
    [
        ("dense", "jia2023-table1-class", "FT", 25.78),
        ("sparse", "jia2023-table1-class", "IU", 1.10),
        ("sparse", "jia2023-table1-random", "FF", 4.50),
        ("dense", "fan2024-table1-10", "SalUn", 1.15),
    ],
)
def test_published_average_gaps_follow_from_the_published_values(share, entry, row, average):
    [found] = [table for table in paper_values.load()["tables"] if table["name"] == entry]
    model = row_names.Model("x", found["models"][share])
    assert 100 * paper_values.Published([found], True).average_gap(row, model) == pytest.approx(average, abs=0.006)


def test_published_values_stand_below_ours_and_differences_are_marked():
    [table] = made(paper_runs((0.20, 0.26)))  # mean 23 against 22.53
    known = paper_values.matching(table, [])
    assert known.exact
    rows = named(table, known)
    assert rows["FT"]["UA dense"] == "23.00±3.00 (77.00)" and rows["FT, published"]["UA dense"] == "22.53±8.16 (77.47)"
    assert rows["FT, published"]["avg. gap dense"] == "25.78" and rows["FT, published"]["RTE (min) dense"] == "2.52"
    # spread sqrt(3^2 + 8.16^2) = 8.694: 31.3 is marked, 31.2 is not
    for mean, marked in ((0.313, True), (0.312, False)):
        [table] = made(paper_runs((mean - 0.03, mean + 0.03)))
        assert named(table, known)["FT"]["UA dense"].endswith(" ≠") is marked
    notes = paper_table.notes(table, known)
    assert any("Model Sparsity Can Simplify" in note for note in notes) and not any("SalUn" in note for note in notes)


def test_another_setting_is_not_compared_but_may_stand_beside():
    [table] = made([{**run, "model": {**run["model"], "arch": "resnet20s"}} for run in paper_runs((0.9, 0.9))])
    assert paper_values.matching(table, []).tables == []
    small = [{**run, "config": {**run["config"], "data": {"input_size": 16}}} for run in paper_runs((0.9, 0.9))]
    assert paper_values.matching(made(small)[0], []).tables == []
    known = paper_values.matching(table, ["jia2023-table1"])
    assert not known.exact and [entry["name"] for entry in known.tables] == ["jia2023-table1-class"]
    assert (
        named(table, known)["FT"]["UA dense"] == "90.00±0.00 (10.00)"
        and named(table, known)["FT, published"]["UA dense"] == "22.53±8.16 (77.47)"
    )


def test_fixed_and_reference_side_by_side():
    reference = [
        {
            **result(
                run["method"], run["model"]["sparsity"], run["seed"], (0.4,) * 5, run["paper_name"], compat="reference"
            )
        }
        for run in RUNS
    ]
    [pair] = contrasts.pairs(made([*RUNS, *reference]))
    head, rows = contrasts.changes(*pair)
    found = {(row[0], row[1]): dict(zip(head, row)) for row in rows}
    assert found["FT", "dense"]["UA"] == "40.00±0.00 → 60.00±10.00 (+20.00) ≠"
    assert found["FT", "95 % sparse"]["UA"] == "40.00 → 90.00 (+50.00)"  # one seed has no spread
    assert found["FT", "dense"]["avg. gap"] == "0.00 → 18.25 (+18.25)" and len(rows) == 5
    assert contrasts.pairs(made(RUNS)) == []


# --- planned, missing, failed ---


def sweep(folder, states, name="s"):
    """A sweep of FT, GA and retrain on digits with three seeds; ``states`` by method: what became of each run."""
    cells = []
    for method, ends in states.items():
        for seed, end in enumerate(ends, 1):
            place = f"seed{seed}/{method}"
            paper = "Retrain" if method == "retrain" else method
            cells.append(
                {
                    "name": place,
                    "folder": place,
                    "stage": "unlearn",
                    "seed": seed,
                    "setting": None,
                    "scenario": "class",
                    "model": "dense",
                    "round": 0,
                    "method": method,
                    "paper_name": paper,
                    "needs": [f"seed{seed}/omp"],
                    "command": f"python {place}",
                }
            )
            (folder / place).mkdir(parents=True)
            if end == "done":
                (folder / place / "result.json").write_text(json.dumps(result(method, 0, seed, (0.5,) * 5, paper)))
            elif end:
                (folder / place / "status.json").write_text(json.dumps({"status": end, "last_line": "boom"}))
    (folder / "s.sweep.json").write_text(json.dumps({"name": name, "paper": "jia2023-table1", "cells": cells}))
    return folder


def planned(folders):
    """The tables of folders with what is missing in them, and cells that stand in none."""
    found = collect(folders)
    runs = found.runs_of("main_forget.py")
    made = comparison.tables(runs)
    return made, missing.note_missing(made, missing.planned_runs(found, {run.content["fingerprint"] for run in runs}))


def test_missing_and_failed_cells_say_so(tmp_path):
    folders = [
        sweep(
            tmp_path,
            {
                "retrain": ["done"] * 3,
                "FT": ["done", "failed", None],
                "GA": ["failed", "interrupted", None],
                "raw": [None] * 3,
            },
        )
    ]
    [table], lost = planned(folders)
    assert lost == []
    rows = named(table)
    assert list(rows) == ["Retrain", "FT", "GA", "raw"]
    assert (
        rows["Retrain"]["n dense"] == "3"
        and rows["FT"]["n dense"] == "1 of 3, 1 failed"
        and rows["FT"]["UA dense"] == "50.00 (0.00)"
    )
    assert rows["GA"]["UA dense"] == "failed (0 of 3 seeds)" and rows["raw"]["UA dense"] == "- (0 of 3 seeds)"
    long = paper_table.long_table(table, NONE).set_index(["method", "model", "metric"]).loc["GA", "dense", "UA"]
    assert long[["mean", "std"]].isna().all() and list(long[["seeds", "missing", "failed"]]) == [0, 3, 1]


def test_what_two_machines_did_adds_up(tmp_path):
    folders = [
        sweep(tmp_path / "a", {"retrain": ["done", "done", None], "FT": ["done", None, "failed"]}),
        sweep(tmp_path / "b", {"retrain": [None, "done", "done"], "FT": [None, "failed", "done"]}),
    ]
    [table], _ = planned(folders)
    assert named(table)["Retrain"]["n dense"] == "3" and named(table)["FT"]["n dense"] == "2 of 3, 1 failed"


def test_scenarios_of_which_nothing_finished_are_named(tmp_path, capsys):
    sweep(tmp_path / "a", {"retrain": ["done"]})
    sweep(tmp_path / "b", {"FT": ["failed", None]}, "other")
    assert main_report.main([str(tmp_path), "--no_plots"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"seed1/FT: failed: boom\n.*seed2/FT: missing\n", said)
    assert "seed1/FT: failed: boom" in (tmp_path / "report.html").read_text()


# --- what the collector finds, and what it says of the rest ---


def table_of(folders, capsys):
    """The rows of the table that main_report.py prints, by name; and what it says that it left out."""
    assert main_report.main([*map(str, folders), "--no_plots", "--out", str(folders[0].parent / "out")]) == 0
    said = capsys.readouterr().out
    _, _, lines = said.partition("left out:\n")
    return {line.split("  ")[0]: line for line in said.splitlines()}, lines.split("\n\n")[0].splitlines()


def test_links_lead_to_runs_and_each_run_counts_once(tmp_path, capsys):
    """A linked folder, a linked file, a link in a loop, a second name for a run, the same folder given twice."""
    elsewhere = write(tmp_path / "elsewhere", RUNS[:4])
    runs = tmp_path / "runs"
    for name in ("retrain1", "retrain2", "FT1", "FT2"):
        runs.mkdir(exist_ok=True)
        (runs / name).symlink_to(elsewhere / str(("retrain1", "retrain2", "FT1", "FT2").index(name)))
    (runs / "FT1").unlink(), (runs / "FT1").mkdir()
    (runs / "FT1" / "result.json").symlink_to(elsewhere / "2" / "result.json")
    (runs / "again").symlink_to(elsewhere)
    (runs / "FT1" / "loop").symlink_to(runs)
    (runs / "itself").symlink_to(runs / "itself")
    epochs(elsewhere / "2", "unlearn", [(1, 0.5)])
    [table] = made_of(runs)
    assert (table.runs("FT", "dense"), table.runs("Retrain", "dense")) == (2, 2) and table.average_gap(
        "FT", "dense"
    ) == pytest.approx(0.1825)
    assert len(collect([runs]).runs) == len(collect([runs, runs, runs / "again"]).runs) == 4
    assert curves.draw_unlearning(table) is not None, "the log lies beside the file that the link leads to"
    rows, lines = table_of([runs, elsewhere, runs], capsys)
    assert "18.25" in rows["FT"] and lines == [f"{runs}/itself: is a link to {runs}/itself, which is not there"]


def test_a_linked_training_is_no_further_seed(tmp_path):
    content = {
        "script": "main_imp.py",
        "status": "done",
        "fingerprint": "a",
        "label": "imp",
        "rounds": [{"density": 1}],
        "model": {"arch": "resnet20s"},
        "config": {"data": {"dataset": "digits"}, "run": {"compat": "fixed", "seed": 1, "train_seed": 1}},
    }
    [folder] = write(tmp_path / "runs", [content]).iterdir()
    epochs(folder, "round 0", [(1, 0.5)])
    (tmp_path / "runs" / "linked").symlink_to(folder)
    shutil.copytree(folder, tmp_path / "runs" / "copied")
    [(title, found)] = curves.trainings(collect([tmp_path / "runs"])).values()
    assert len(found) == 1 and "1 seed," in title


def test_what_stands_in_no_table_is_named(tmp_path, capsys):
    runs = write(
        tmp_path / "runs",
        [
            *RUNS[:4],
            {**RUNS[0], "scores": {**RUNS[0]["scores"], "UA": 0.5}},
            {**RUNS[0], "scores": {**RUNS[0]["scores"], "RTE": 9.0}},
        ],
    )
    others = {
        "later": {"script": "main_later.py", "status": "done"},
        "stranger": [1],
        "half": {"script": "main_forget.py", "status": "begun"},
    }
    for name, content in others.items():
        (runs / name).mkdir()
        (runs / name / "result.json").write_text(json.dumps(content))
    write(runs / "search", [RUNS[4]])
    (runs / "gone").symlink_to(tmp_path / "nowhere")
    rows, lines = table_of([runs], capsys)
    assert lines == [
        f"{runs}/gone: is a link to {tmp_path}/nowhere, which is not there",
        f"{runs}/search: trials of a search; give this folder to see them",
        f"{runs}/4/result.json: is the run of {runs}/0/result.json with other scores; the table has the latter's",
        f"{runs}/half/result.json: is not finished (status begun)",
        f"{runs}/later/result.json: is no result that tables know (of main_later.py)",
        f"{runs}/stranger/result.json: is no result that tables know (it names no script)",
    ]
    assert "search: trials" in (tmp_path / "out" / "report.html").read_text()
    shutil.rmtree(runs / "0"), shutil.rmtree(runs / "4")
    (tmp_path / "only").mkdir()
    (runs / "search").rename(tmp_path / "only" / "search")
    assert main_report.main([str(tmp_path / "only"), "--no_plots"]) == 2
    assert f"below it; left out: {tmp_path}/only/search: trials of a search" in capsys.readouterr().err
    assert main_report.main([str(runs / "1" / "result.json"), "--no_plots"]) == 2
    assert "result.json: is a file; give the folder that holds it\n" in capsys.readouterr().err


def test_a_folder_that_cannot_be_listed_is_named():
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        runs = write(Path(place) / "runs", RUNS[:2])
        Path(place).chmod(0o755)
        (runs / "1").chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # to whom folders can be closed
        try:
            lines = missing.left_out(collect([runs]))
            found = len(collect([runs]).runs)
        finally:
            if root:
                os.seteuid(0)
            (runs / "1").chmod(0o755)
    assert lines == [f"{runs}/1: cannot be listed (Permission denied)"] and found == 1


# --- backdoors ---


def backdoor(sparsity, seed, before, after, method="FT", **more):
    scores = {
        when: {"ASR": asr, "SA": sa, "ASR_other": asr} for when, (asr, sa) in (("before", before), ("after", after))
    }
    content = result(method, sparsity, seed, (0,) * 5, model={"dataset": "cifar10", "arch": "resnet18"}, **more)
    poison = {"words": "4,500 images get a square", "digest": str(seed), "target": 0, "images": 4500}
    return {**content, "script": "main_backdoor.py", "scores": {**scores, "RTE": 2.0}, "poison": poison}


def test_backdoor_table_by_hand(tmp_path, capsys):
    runs = [
        backdoor(0.95, 1, (0.9, 0.8), (0.1, 0.7)),
        backdoor(0.95, 2, (1.0, 0.9), (0.3, 0.9)),
        backdoor(0, 1, (1.0, 0.9), (0.5, 0.9)),
        backdoor(0, 1, (1.0, 0.9), (0.2, 0.9), config={"train": {"epochs": 3}}),
    ]
    found = backdoor_table.tables([*runs, {"points": [], "scores": {}}])
    assert [len(table.cells["FT"]) for table in found] == [2, 1]  # another training is another table
    head, rows = backdoor_table.layout(found[0])
    assert rows[2] == ["FT", "95", "95.00±5.00", "20.00±10.00", "85.00±5.00", "80.00±10.00", "2.000", "2"]
    assert rows[3] == ["FT, published", "95", "≈99.80", "≈14.40", "≈93.90", "≈92.80", "", ""] and rows[0][3] == "50.00"
    write(tmp_path / "runs", runs)
    assert main_report.main([str(tmp_path / "runs"), "--out", str(tmp_path)]) == 0
    assert "95.00±5.00" in capsys.readouterr().out
    stems = [f"backdoor-cifar10-resnet18-to-0{number}" for number in ("", "-2")]
    assert {path.name for path in tmp_path.glob("b*")} == {
        f"{stem}.{kind}" for stem in stems for kind in ("md", "csv", "png", "svg")
    }


def test_names_that_occur_before_get_numbers(tmp_path):
    report = Report(tmp_path, plots=False)
    slugs = [report.add(Section("", ["x"], [["1"]], slug=slug)).slug for slug in ("a", "b", "a", "a")]
    assert slugs == ["a", "b", "a-2", "a-3"]
    assert {path.name for path in tmp_path.iterdir()} == {f"{slug}.{kind}" for slug in slugs for kind in ("md", "csv")}


# --- files ---


def epochs(folder, phase, values):
    lines = [
        {"kind": "epoch", "phase": phase, "epoch": epoch, "loss": 1.0, "accuracy": value, "val": value}
        for epoch, value in values
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{ cut")


def test_curves_of_a_log_that_was_gone_on_with(tmp_path):
    epochs(tmp_path, "round 0", [(1, 0.1), (2, 0.2), (2, 0.3)])
    found = Run("", tmp_path, {}).epochs
    assert {epoch: record["accuracy"] for epoch, record in found["round 0"].items()} == {1: 0.1, 2: 0.3}
    assert Run("", tmp_path / "nowhere", {}).epochs == {}


def test_every_picture_can_be_drawn_and_has_its_parts(tmp_path):
    runs = [
        result(run["method"], sparsity, run["seed"], (0.1 + sparsity / 2,) * 5, run["paper_name"])
        for run in RUNS[:4]
        for sparsity in (0, 0.5, 0.9, 0.99)
    ]
    [table] = made(runs)
    drawn = {name: one for name, one in assemble._pictures(table).items() if one is not None}
    assert list(drawn) == ["bars", "glance", "cost", "sparsity"]
    axis = drawn["sparsity"].axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "50", "90", "99"]
    assert list(axis.get_lines()[0].get_ydata()) == pytest.approx([10, 35, 55, 59.5])
    assert [axis.get_title() for axis in drawn["bars"].axes][:5] == [*METRICS, "average gap to Retrain"]
    assert drawn["cost"].axes[0].get_xlabel() == "RTE: minutes that unlearning took"


def test_doing_nothing_is_a_line_across_the_costs_and_many_methods_are_named_in_them():
    [table] = made([*RUNS, result("raw", 0, 1, (0.1, 0.2, 0.99, 0.9, 4e-7), "Original")])
    [axis] = cost.cost(table).axes
    points = {
        (float(x), float(y))
        for line in axis.get_lines()
        if line.get_linestyle() == "None"
        for x, y in zip(*line.get_data())
    }
    assert sorted(y for x, y in points if x == 0.5) == pytest.approx(
        sorted(100 * table.average_gap("FT", model.name) for model in table.models)
    )
    assert min(x for x, _ in points) == 0.1  # GA's minutes; 4e-7 would stretch the axis over seven decades
    [across] = [line for line in axis.get_lines() if line.get_linestyle() == ":"]
    assert (
        across.get_label() == "Original, dense"
        and list(across.get_ydata()) == [pytest.approx(100 * table.average_gap("Original", "dense"))] * 2
    )
    assert [(line.get_label(), line.get_xdata()[0]) for line in axis.get_lines() if line.get_linestyle() == "--"] == [
        ("Retrain, dense", 3.0),
        ("Retrain, 95 % sparse", 2.0),
    ]

    methods = [f"M{number}" for number in range(12)]
    [table] = made([*RUNS, *(result(name, 0, 1, (0.5, 0.5, 0.9, 0.8, 1.0)) for name in methods)])
    dense, sparse = cost.cost(table).axes
    assert {text.get_text() for text in dense.texts} == {"FT", *methods} and {
        text.get_text() for text in sparse.texts
    } == {"FT", "GA"}


def test_no_name_in_the_costs_covers_another_or_a_marker():
    """Thirty methods, many at the same place near zero."""
    runs = [result("retrain", 0, 1, (1.0, 1.0, 1.0, 1.0, 9.0), "Retrain")]
    runs += [
        result(f"method {number}", 0, 1, (*4 * [1 - 0.0002 * (number // 3)], 1 + 0.01 * (number % 3)))
        for number in range(30)
    ]
    drawn = cost.cost(made(runs)[0])
    [axis] = drawn.axes
    drawn.draw_without_rendering()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in axis.texts]  # without the line to the marker
    inside = axis.get_window_extent()
    markers = [
        line.get_window_extent()
        for line in axis.get_lines()
        if line.get_linestyle() == "None" and len(line.get_xdata())
    ]
    assert len(boxes) == len(markers) == 30
    for place, box in enumerate(boxes):
        assert all(not box.overlaps(other) for other in boxes[place + 1 :]), axis.texts[place].get_text()
        assert (
            inside.containsx(box.x0)
            and inside.containsx(box.x1)
            and inside.containsy(box.y0)
            and inside.containsy(box.y1)
        )


def test_bars_are_sorted_and_carry_their_values():
    runs = [
        result("raw", 0, 1, (0.0, 0.1, 1.0, 0.9, 0.0), "Original"),
        result("retrain", 0, 1, (1.0, 1.0, 0.99, 0.9, 9.0), "Retrain"),
        result("GA", 0, 1, (1.0, 0.9, 0.5, 0.4, 0.1)),
        result("FT", 0, 1, (0.9, 0.9, 0.99, 0.9, 0.5)),
        result("IU", 0, 2, (0.9,) * 5),
    ]
    [table] = made(runs)
    drawn = overview.bars(table)
    assert [axis.get_title() for axis in drawn.axes] == [*METRICS, "average gap to Retrain"]
    axis = drawn.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["FT", "GA", "Original", "IU"], (
        "gaps of 5, 27.75, 47.75 points, and none"
    )
    assert [text.get_text() for text in axis.texts] == ["90.00", "100.00", "0.00", "90.00"] and axis.get_ylim()[
        0
    ] > axis.get_ylim()[1]
    assert [bar.get_width() for bar in axis.patches] == [90, 100, 0, 90]
    [stroke] = [line for line in axis.get_lines() if list(line.get_xdata()) == [0, 0]]
    assert list(stroke.get_ydata()) == pytest.approx([2 - 0.391, 2 + 0.391]), "what is zero is seen"
    marks = [collection for collection in axis.collections if collection.get_label() == "Retrain, same model"]
    assert len(marks) == 4 and {float(mark.get_segments()[0][0][0]) for mark in marks} == {100.0}
    assert {tuple(mark.get_colors()[0]) for mark in marks} == {matplotlib.colors.to_rgba(overview.EXACT)}, (
        "no white beside it"
    )


def test_differences_to_retrain_have_a_sign():
    [table] = made(RUNS)
    assert table.difference("FT", "dense", "UA") == pytest.approx(-0.4) and table.difference(
        "FT", "dense", "TA"
    ) == pytest.approx(0)
    drawn = overview.glance(table)
    assert [axis.get_title() for axis in drawn.axes] == [*METRICS, "RTE"]
    dense, sparse = [line for line in drawn.axes[0].get_lines() if line.get_linestyle() == "None"]
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["FT", "GA"]
    assert (list(dense.get_xdata()), list(sparse.get_xdata()), list(sparse.get_ydata())) == (
        [pytest.approx(-40)],
        [pytest.approx(-10), pytest.approx(-80)],
        [0.125, 1.125],
    )
    assert len({axis.get_xlim() for axis in drawn.axes[:4]}) == 1, "one scale"
    [table] = made([RUNS[0], result("GA", 0, 1, (0.2, 0.2, 0.1, 1.0, 0.1))])  # 89 points below in RA, 10 above in TA
    low, high = overview.glance(table).axes[0].get_xlim()
    assert low < -89 and high > 10, "that holds every dot"
    assert list(drawn.axes[4].get_lines()[1].get_xdata()) == pytest.approx([25, 5]), "minutes 0.5 and 0.1 of 2"


def test_curves_have_one_scale_and_end_with_forget_and_test_accuracy(tmp_path):
    runs = [scored("FT", 1, 0.9, 0.5, 0.4), scored("FT", 2, 0.9, 0.7, 0.4), scored("GA", 1, 0.2, 0.1, 0.3)]
    for number, run in enumerate(runs):
        write(tmp_path / str(number), [run])
        epochs(tmp_path / str(number) / "0", "unlearn", [(1, 0.8), (2, 0.9)] if run["method"] == "FT" else [(1, 0.1)])
    drawn = curves.draw_unlearning(made_of(tmp_path)[0])
    finetuned, ascent = drawn.axes
    assert finetuned.get_ylim() == ascent.get_ylim() == (-3, 103)
    assert list(ascent.get_xticks()) == [1] and list(finetuned.get_xticks()) == [1, 2]
    ends = {
        line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in finetuned.get_lines()
        if line.get_marker() in "x+" and len(line.get_xdata())
    }
    assert ends == {"x": (2, pytest.approx(60)), "+": (2, pytest.approx(40))}


def test_before_and_after_a_cleanse_look_different():
    """With one sparsity there is no line whose dashes could tell them apart."""
    [table] = backdoor_table.tables(
        [backdoor(0.95, 1, (0.9, 0.8), (0.9, 0.7)), backdoor(0.95, 1, (0.9, 0.8), (0.2, 0.6), "GA")]
    )
    axis = backdoor_table.draw(table).axes[0]
    lines = {container.get_label(): container.lines[0] for container in axis.containers}
    assert list(lines) == ["before FT", "after FT", "before GA", "after GA"]
    assert [line.get_markerfacecolor() == "white" for line in lines.values()] == [True, False, True, False]
    assert lines["before FT"].get_markersize() > lines["after FT"].get_markersize(), "one is seen around the other"
    assert len({float(line.get_xdata()[0]) for line in lines.values()}) == 2, "methods stand side by side"


FILES = {
    f"digits-resnet20s-class-0{end}"
    for end in (
        ".md",
        ".csv",
        ".tex",
        "-sparsity.md",
        "-sparsity.csv",
        "-bars.png",
        "-bars.svg",
        "-glance.png",
        "-glance.svg",
        "-cost.png",
        "-cost.svg",
        "-curves.png",
        "-curves.svg",
    )
}


def test_files(tmp_path, capsys):
    runs = write(tmp_path / "runs", [*RUNS, RUNS[0]])  # the last is the same run found twice
    (runs / "0" / "deeper").mkdir()
    (runs / "0" / "deeper" / "result.json").write_text("{ damaged")
    assert main_report.main([str(runs), "--out", str(tmp_path / "out")]) == 2, (
        "a table without it would be another table"
    )
    assert f"{runs / '0' / 'deeper' / 'result.json'}: is damaged or no JSON" in capsys.readouterr().err
    (runs / "0" / "deeper" / "result.json").write_text("[]")  # somebody else's file of that name
    epochs(runs / "2", "unlearn", [(1, 0.4), (2, 0.5)])
    assert main_report.main([str(runs), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {"report.html"}
    name = tmp_path / "out" / "digits-resnet20s-class-0"
    assert (
        name.with_name(name.name + "-bars.png").read_bytes().startswith(b"\x89PNG")
        and b"<svg" in name.with_name(name.name + "-cost.svg").read_bytes()
    )
    lines = list(csv.DictReader(name.with_suffix(".csv").open()))
    [line] = [line for line in lines if (line["method"], line["model"], line["metric"]) == ("FT", "dense", "UA")]
    assert (
        float(line["mean"]) == pytest.approx(0.6)
        and line["seeds"] == "2"
        and float(line["gap_to_retrain"]) == pytest.approx(0.4)
    )
    assert (
        "60.00±10.00 (40.00)" in name.with_suffix(".md").read_text()
        and "60.00±10.00 (40.00)" in capsys.readouterr().out
    )
    tex = name.with_suffix(".tex").read_text()
    assert r"60.00$\pm$10.00 (40.00)" in tex and r"95 \% sparse" in tex and r"\multicolumn{2}{c}{MIA-Efficacy}" in tex
    assert {line.count("&") for line in tex.splitlines() if line.startswith(("FT", "GA", "Retrain"))} == {14}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 4 and "60.00±10.00 (40.00)" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing outside the page


def test_a_packed_file_elsewhere_names_folders_by_what_they_have_in_common(tmp_path):
    runs, out = write(tmp_path / "runs" / "deep", RUNS[:2]), tmp_path / "results" / "x"
    out.mkdir(parents=True)
    collect([runs]).pack(out / "runs.jsonl")
    shared, *lines = map(json.loads, (out / "runs.jsonl").read_text().splitlines())
    assert [line["folder"] for line in lines] == ["0", "1"] and list(shared) == ["shared"]


def test_what_lines_share_is_written_once():
    long = {"words": "a" * 40, "inner": {"words": "b" * 40}}
    lines = [{"a": long, "b": {"c": 1}}, {"a": [long, {"words": "b" * 40}], "b": {"c": 1}}]
    there = {"$shared": 0}
    written = [{"shared": [long, long["inner"]]}, {"a": there, "b": {"c": 1}}]
    written.append({"a": [there, {"$shared": 1}], "b": {"c": 1}})
    assert shared_parts.factored(lines) == written
    assert [shared_parts.restored(line, written[0]["shared"], "") for line in written[1:]] == lines
    assert shared_parts.factored(lines[:1]) == lines[:1]  # nothing twice


def test_lists_and_strings_are_shared_too_and_short_ones_are_not():
    words, numbers = "c" * 38, list(range(20))
    lines = [{"a": words, "b": numbers, "c": "short"}, {"a": [words], "b": numbers, "c": "short"}]
    written = [{"shared": [words, numbers]}, {"a": {"$shared": 0}, "b": {"$shared": 1}, "c": "short"}]
    written.append({"a": [{"$shared": 0}], "b": {"$shared": 1}, "c": "short"})
    assert shared_parts.factored(lines) == written
    assert [shared_parts.restored(line, written[0]["shared"], "") for line in written[1:]] == lines


def test_a_packed_file_gives_the_report_of_its_folders(tmp_path, capsys):
    """With a sweep of which some runs are missing or failed, curves, a failed run, another script's, an earlier one."""
    runs = sweep(tmp_path / "runs", {"retrain": ["done", "done"], "FT": ["done", "failed"], "GA": [None, None]})
    (runs / "s.sweep.json").rename(runs / "other.sweep.json")
    diverged = {**result("GA", 0.9, 1, (0,) * 5), "status": "failed", "reason": "the loss is NaN"}
    write(runs / "more", [*RUNS, diverged, backdoor(0.95, 1, (0.9, 0.8), (0.1, 0.7)), {"script": "main_other.py"}])
    epochs(runs / "more" / "2", "unlearn", [(1, 0.4), (2, 0.5)])
    write(runs / "more" / "2" / "earlier", [{**diverged, "fingerprint": "x"}])
    packed = tmp_path / "packed" / "runs.jsonl"
    assert main_report.main([str(runs), "--pack", "--no_plots", "--out", str(packed.parent)]) == 0
    shutil.move(runs, tmp_path / "gone")
    capsys.readouterr()
    reports = []
    for name, source in (("a", tmp_path / "gone"), ("b", packed)):
        assert main_report.main([str(source), "--out", str(tmp_path / name)]) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) not in line]
        made = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != "report.html"}
        reports.append((said, made))
    assert reports[0] == reports[1] and len(reports[0][1]) > 15 and any("curves" in name for name in reports[0][1])
    assert any("failed" in line for line in reports[0][0])
    (packed.parent / "copy").mkdir()
    (packed.parent / "copy" / "runs.jsonl").write_bytes(packed.read_bytes())
    assert len(made_of(packed.parent)[0].frame) == len(made_of(packed)[0].frame), "a run counts once"
    shutil.move(tmp_path / "gone" / "more", packed.parent / "runs")
    assert len(collect([packed]).runs) == packed.read_text().count('{"folder":')


def test_a_damaged_packed_file_is_refused_with_its_line(tmp_path, capsys):
    packed = tmp_path / "runs.jsonl"
    good = json.dumps({"folder": "a", "result": RUNS[0], "epochs": []})
    for bad, said in (
        ('{"folder": "b"', "is damaged or no JSON"),
        ("3", "is no whole result (folder is missing or of another type)"),
        (json.dumps({"folder": "b", "result": {**RUNS[1], "seal": "0" * 16}, "epochs": []}), "is damaged (its content"),
        ('{"folder": "b", "result": {"$shared": 0}, "epochs": []}', "names a shared entry that the file lacks (0)"),
    ):
        packed.write_text(f"{good}\n{bad}\n")
        assert main_report.main([str(tmp_path), "--no_plots"]) == 2
        assert f"runs.jsonl:2: {said}" in capsys.readouterr().err


def test_results_that_are_nested_too_deeply_are_refused_in_one_line(tmp_path, capsys):
    deep = {}
    for _ in range(900):
        deep = {"a": deep}
    packed, run = tmp_path / "packed" / "runs.jsonl", {**RUNS[0], "more": deep}
    packed.parent.mkdir()
    packed.write_text(json.dumps({"folder": "b", "result": run, "epochs": []}) + "\n")
    for words, said in (
        ([str(packed)], f"{packed}:1: is damaged (nested too deeply)"),
        ([str(write(tmp_path / "runs", [run])), "--pack"], "runs.jsonl: cannot be written (a result is nested"),
    ):
        assert main_report.main([*words, "--no_plots"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def scenario_runs(gaps, kind, seed=1, compat="fixed"):
    """Retrain, and methods whose four scores are all ``gap`` below its; RTE of Retrain 4 minutes."""
    words = {"class": "all of class 0", "random": "90 images"}[kind]
    runs = [result("retrain", 0, seed, (0.9, 0.9, 0.9, 0.9, 4.0), "Retrain", kind=kind, words=words, compat=compat)]
    return runs + [
        result(name, 0, seed, (*(4 * [0.9 - gap]), rte), kind=kind, words=words, compat=compat)
        for name, (gap, rte) in gaps.items()
    ]


def test_methods_are_ranked_by_gap_and_by_cost_over_all_scenarios():
    runs = scenario_runs(
        {"raw": (0.5, 0.0), "FT": (0.1, 1.0), "GA": (0.3, 0.4), "FF": (0.2, 2.0), "IU": (0.01, 0.1)}, "class"
    )
    runs += scenario_runs({"raw": (0.02, 0.0), "FT": (0.3, 3.0), "GA": (0.06, 0.2), "FF": (0.22, 4.0)}, "random")
    for run in runs:
        run["paper_name"] = {"raw": "Original"}.get(run["method"], run["paper_name"])
    [group] = ranking.groups(made(runs))
    assert group.slug == "ranking-digits-resnet20s"
    head, rows = ranking.order(group)
    assert head == [
        "method",
        "rank",
        "mean gap",
        "class, dense",
        "random, dense",
        "rank by RTE",
        "RTE (min)",
        "of Retrain's",
        "n",
    ]
    assert rows == [
        ["GA", "1", "18.00", "30.00", "6.00", "1", "0.300", "7.5 %", "1"],
        ["FT", "2", "20.00", "10.00", "30.00", "2", "2.000", "50.0 %", "1"],
        ["FF", "3", "21.00", "20.00", "22.00", "3", "3.000", "75.0 %", "1"],
        ["Original", "-", "26.00", "50.00", "2.00", "-", "0.000", "0.0 %", "1"],
        ["IU", "-", "-", "1.00", "-", "-", "-", "-", "0 to 1"],
    ]


def test_misses_on_either_side_of_retrain_do_not_cancel_in_a_ranking():
    gaps = [
        {"FT": (0.05, 1.0), "GA": (0.4, 1.0), "FF": (0.2, 1.0)},
        {"FT": (-0.05, 1.0), "GA": (-0.3, 1.0), "FF": (0.1, 1.0)},
    ]
    runs = [run for seed in (1, 2) for kind in ("class", "random") for run in scenario_runs(gaps[seed - 1], kind, seed)]
    [group] = ranking.groups(made(runs))
    assert [(row[0], row[2]) for row in ranking.order(group)[1]] == [("FT", "5.00"), ("FF", "15.00"), ("GA", "35.00")]
    [table, _] = made(runs)
    assert table.average_gap("GA", "dense") == pytest.approx(0.05) and table.gap_by_seed(
        "GA", "dense"
    ) == pytest.approx(0.35)
    assert table.gap_by_seed("nothing", "dense") is None


def test_a_ranking_of_three_seeds_has_intervals():
    """Mean gaps of 10, 20 and 30 points: 20 ± 4.303 * 10 / sqrt(3)."""
    runs = []
    for seed, gap in ((1, 0.05), (2, 0.15), (3, 0.25)):
        runs += scenario_runs({"FT": (gap, 1.0), "GA": (0.5, 1.0), "FF": (0.2, 1.0)}, "class", seed)
        runs += scenario_runs({"FT": (gap + 0.1, 1.0), "GA": (0.5, 1.0), "FF": (0.2, 1.0)}, "random", seed)
    [group] = ranking.groups(made(runs))
    head, rows = ranking.order(group)
    assert head[2:5] == ["mean gap", "95 % interval", "class, dense"]
    assert [row[:5] for row in rows[:2]] == [
        ["FT", "1", "20.00", "-4.84 to 44.84", "15.00"],
        ["FF", "2", "20.00", "-", "20.00"],
    ]


def test_a_ranking_says_what_is_uneven():
    """Times are compared over the seeds that both have; a star where machines differ, the seeds where they do."""
    gaps = {"FT": (0.1, 1.0), "GA": (0.3, 0.5), "FF": (0.2, 2.0)}
    runs = [run for seed in (1, 2) for kind in ("class", "random") for run in scenario_runs(gaps, kind, seed)]
    runs = [run for run in runs if (run["method"], run["seed"], run["scenario"]["kind"]) != ("FT", 2, "class")]
    for run in runs:
        if run["method"] == "retrain" and run["seed"] == 2:
            run["scores"]["RTE"] = 8.0
        if run["method"] == "GA":
            run["environment"] = {"platform": "another"}
    [group] = ranking.groups(made(runs))
    rows = {row[0]: row[-3:] for row in ranking.order(group)[1]}
    assert rows == {
        "FT": ["1.000", "20.0 %", "1 to 2"],
        "GA": ["0.500*", "8.3 %*", "2"],
        "FF": ["2.000", "33.3 %", "2"],
    }  # of (4 + 6) / 2 and of 6


def test_what_is_ranked_together():
    few = {"FT": (0.1, 1.0), "GA": (0.3, 0.4)}
    enough = few | {"FF": (0.2, 2.0)}
    assert ranking.groups(made(scenario_runs(few, "class") + scenario_runs(few, "random"))) == []
    assert ranking.groups(made(scenario_runs(enough, "class"))) == []
    without = [run for run in scenario_runs(enough, "random") if run["method"] != "retrain"]
    assert ranking.groups(made(scenario_runs(enough, "class") + without)) == []
    both = [
        run
        for compat in ("fixed", "reference")
        for kind in ("class", "random")
        for run in scenario_runs(enough, kind, compat=compat)
    ]
    assert [group.slug for group in ranking.groups(made(both))] == [
        "ranking-digits-resnet20s",
        "ranking-digits-resnet20s-reference",
    ]
    twice = scenario_runs(enough, "class") + [
        result(run["method"], 0, 1, tuple(run["scores"].values()), run["paper_name"], words="all of class 3", forget=3)
        for run in scenario_runs(enough, "class")
    ]
    [group] = ranking.groups(made(twice))
    assert ranking.order(group)[0][3:5] == ["all of class 0, dense", "all of class 3, dense"]
    third = [run for run in twice if run["scenario"]["class"] == 0 or run["method"] == "retrain"]
    [group] = ranking.groups(made(scenario_runs(enough, "random") + third))
    assert ranking.order(group)[0][3:5] == ["class, dense", "random, dense"], (
        "a scenario that is only retrained so far takes no rank away"
    )


def test_rankings_of_other_images_are_others_and_every_name_is_a_file_name():
    enough = {"FT": (0.1, 1.0), "GA": (0.3, 0.4), "FF": (0.2, 2.0)}
    runs = [run for kind in ("class", "random") for run in scenario_runs(enough, kind)]
    larger = [
        {**run, "fingerprint": run["fingerprint"] + "larger", "config": {**run["config"], "data": {"input_size": 16}}}
        for run in runs
    ]
    groups = ranking.groups(made(runs + larger))
    assert len({group.slug for group in groups}) == len({group.title for group in groups}) == 2
    assert "input size" in groups[0].title and len(groups[0].columns) == 2
    folder = [{**run, "model": {**run["model"], "arch": "hf:models/vit"}} for run in runs]
    [group] = ranking.groups(made(folder))
    assert "/" not in group.slug and "hf:models/vit" in group.title


def test_what_sparsity_changes_by_hand():
    runs = [
        result("retrain", 0, 1, (1.0, 1.0, 0.9, 0.9, 2.0), "Retrain"),
        result("retrain", 0.95, 1, (1.0, 1.0, 0.8, 0.8, 2.0), "Retrain"),
        result("retrain", 0, 2, (1.0, 1.0, 0.9, 0.9, 2.0), "Retrain"),
        result("retrain", 0.95, 2, (1.0, 1.0, 0.8, 0.8, 2.0), "Retrain"),
        result("FT", 0, 1, (0.6, 1.0, 0.9, 0.9, 1.0)),
        result("FT", 0.95, 1, (0.8, 1.0, 0.8, 0.8, 1.0)),  # 10 and 5 points
        result("FT", 0, 2, (1.0, 1.0, 0.9, 0.9, 1.0)),
        result("FT", 0.95, 2, (1.0, 0.96, 0.8, 0.8, 1.0)),  # 0 and 1
        result("GA", 0, 1, (0.6, 1.0, 0.9, 0.9, 1.0)),
        result("GA", 0.95, 2, (1.0, 1.0, 0.8, 0.8, 1.0)),  # no seed with both
    ]
    [table] = made(runs)
    assert contrasts.effect(table) == (
        ["method", "95 % sparse, by seed", "95 % sparse, mean"],
        [["FT", "+5.00, -1.00", "+2.00±3.00"]],
    )
    [dense] = made([run for run in runs if run["model"]["sparsity"] == 0])
    assert contrasts.effect(dense)[1] == []


def scored(method, seed, retain, forget, test, **more):
    scores = (1 - forget, 0.5, retain, test, 1.0)
    return result(
        method,
        0,
        seed,
        scores,
        {"retrain": "Retrain"}.get(method),
        accuracy={"retain": retain, "forget": forget, "val": 0.5, "test": test},
        **more,
    )


def test_further_scores_by_hand():
    runs = [
        scored("retrain", 1, 1.0, 0.4, 0.5),
        scored("retrain", 2, 0.8, 0.4, 0.4),
        scored(
            "FT", 1, 0.9, 0.5, 0.4, entropy_attack=0.25, to_retrained={"KL": {"forget": 0.125}, "JS": {"forget": 0.1}}
        ),
        scored(
            "FT", 2, 0.8, 0.6, 0.4, entropy_attack=0.75, to_retrained={"KL": {"forget": 0.375}, "JS": {"forget": 0.1}}
        ),
        scored("GA", 3, 0.8, 0.6, 0.4, deepunlearn={"test": {"attack": None}}),  # nothing was retrained with this seed
    ]
    [table] = made(runs)
    head, rows = further.scores_table(table, ["KL", "ToW", "RD", "SAPE", "loss_attack", "entropy_attack"])
    assert head == ["method", "KL dense", "ToW dense", "RD dense", "SAPE dense", "entropy_attack dense"], (
        "no run has a loss_attack"
    )
    assert rows == [
        ["Retrain", "-", "1.0000±0.0000", "0.0000±0.0000", "0.00±0.00", "-"],
        # ToW 0.9^3 and 0.8; RD 0.1 + 0.25 + 0.2 and 0.5; SAPE (1/19 + 1/9 + 1/9) / 3 and (0 + 0.2 + 0) / 3
        ["FT", "0.2500±0.1250", "0.7645±0.0355", "0.5250±0.0250", "7.91±1.25", "50.00±25.00"],
        ["GA", "-", "-", "-", "-", "-"],
    ]
    note = further.note(head, ["KL", "ToW", "loss_attack"])
    assert (
        "SAPE" not in note
        and "loss_attack" not in note
        and note.startswith("KL: divergence")
        and "ToW: product" in note
    )


def test_retention_has_no_deviation_from_nothing():
    [table] = made([scored("retrain", 1, 1.0, 0.0, 0.5), scored("FT", 1, 0.9, 0.5, 0.4)])
    head, rows = further.scores_table(table, ["RD", "ToW"])
    assert head == ["method", "ToW dense"] and rows == [["Retrain", "1.0000"], ["FT", "0.4050"]]


def test_a_result_without_an_accuracy_has_no_score_that_needs_it():
    runs = [scored("retrain", 1, 1.0, 0.4, 0.5), scored("FT", 1, 0.9, 0.5, 0.4), scored("GA", 1, 0.9, 0.5, 0.4)]
    del runs[1]["accuracy"]["test"]
    [table] = made(runs)
    assert [row[:2] for row in further.scores_table(table, ["ToW"])[1]] == [
        ["Retrain", "1.0000"],
        ["FT", "-"],
        ["GA", "0.7290"],
    ]


def test_further_scores_are_asked_for_by_name(tmp_path, capsys):
    write(tmp_path, [scored("retrain", 1, 1.0, 0.4, 0.5), scored("FT", 1, 0.9, 0.5, 0.4)])
    assert main_report.main([str(tmp_path), "--no_plots", "--scores", "ToW,SAPE"]) == 0
    with (tmp_path / "digits-resnet20s-class-0-scores.csv").open() as lines:
        assert list(csv.reader(lines)) == [
            ["method", "ToW dense", "SAPE dense"],
            ["Retrain", "1.0000", "0.00"],
            ["FT", "0.7290", "9.16"],
        ]
    assert "further scores" in capsys.readouterr().out and "further scores" in (tmp_path / "report.html").read_text()
    assert main_report.main([str(tmp_path), "--no_plots", "--scores", "KL,KL"]) == 0
    assert "no run has KL\n" in capsys.readouterr().out and not list(tmp_path.glob("*KL*"))
    named = [further.scores_named(typed) for typed in ("all,KL", "KL,JS,KL")]
    assert named == [list(scoring.columns()), ["KL", "JS"]]
    assert main_report.main([str(tmp_path), "--scores", "TOW"]) == 2
    assert "--scores TOW: unknown (did you mean ToW?); known: all, KL, JS" in capsys.readouterr().err


def test_the_ranking_is_among_the_files_of_a_report(tmp_path, capsys):
    gaps = {"FT": (0.1, 1.0), "GA": (0.3, 0.4), "FF": (0.2, 2.0)}
    write(tmp_path, scenario_runs(gaps, "class") + scenario_runs(gaps, "random"))
    assert main_report.main([str(tmp_path), "--no_plots"]) == 0
    assert "methods by average gap" in capsys.readouterr().out
    with (tmp_path / "ranking-digits-resnet20s.csv").open() as lines:
        assert [row[:3] for row in csv.reader(lines)] == [
            ["method", "rank", "mean gap"],
            ["FT", "1", "10.00"],
            ["FF", "2", "20.00"],
            ["GA", "3", "30.00"],
        ]
    assert (
        "Retrain in per cent" in (tmp_path / "ranking-digits-resnet20s.md").read_text()
        and "methods by average gap" in (tmp_path / "report.html").read_text()
    )


def test_help_needs_none_of_the_large_libraries():
    code = "import sys, main_report, main_sweep, main_forget; print({'pandas', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_the_same_results_give_the_same_bytes(tmp_path):
    runs = write(tmp_path / "runs", RUNS)
    for name in ("a", "b"):
        assert main_report.main([str(runs), "--out", str(tmp_path / name)]) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
