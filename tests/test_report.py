"""Tables and plots from results made by hand."""
from __future__ import annotations

import csv
import json

import pytest

import main_report
from evaluation import results, tables


def result(method, sparsity, seed, scores, paper=None, hyper=None, compat="fixed", kind="class", words="all of class 0"):
    ua, mia, ra, ta, rte = scores
    return {
        "fingerprint": f"{method}{sparsity}{seed}{scores}{compat}{kind}", "script": "main_forget.py", "status": "done",
        "method": method, "paper_name": paper or method, "seed": seed, "compat": compat,
        "scenario": {"kind": kind, "words": words}, "model": {"dataset": "digits", "arch": "resnet20s", "sparsity": sparsity},
        "scores": {"UA": ua, "MIA-Efficacy": mia, "RA": ra, "TA": ta, "RTE": rte}, "config": {"hyper": hyper or {}},
    }


RUNS = [
    result("retrain", 0, 1, (1.0, 1.0, 0.99, 0.9, 2.0), "Retrain"),
    result("retrain", 0, 2, (1.0, 0.9, 0.97, 0.8, 4.0), "Retrain"),
    result("FT", 0, 1, (0.5, 0.6, 0.9, 0.8, 0.5)),
    result("FT", 0, 2, (0.7, 0.8, 0.9, 0.9, 0.5)),
    result("retrain", 0.95, 1, (1.0, 1.0, 0.9, 0.9, 2.0), "Retrain"),
    result("FT", 0.95, 1, (0.9, 1.0, 0.9, 0.8, 0.5)),
    result("GA", 0.95, 1, (0.2, 0.2, 0.9, 0.8, 0.1)),
]


def test_means_gaps_and_averages_by_hand():
    [table] = results.tables(RUNS)
    assert table.models == ["dense", "95 % sparse"] and list(table.rows) == ["Retrain", "FT", "GA"]
    cell = table.rows["FT"]["dense"]["UA"]
    assert cell.mean == pytest.approx(0.6) and cell.std == pytest.approx(0.1)  # 0.5 and 0.7
    # dense gaps of FT: UA |0.6 - 1|, MIA |0.7 - 0.95|, RA |0.9 - 0.98|, TA |0.85 - 0.85|
    assert [table.gap("FT", "dense", m) for m in results.METRICS] == pytest.approx([0.4, 0.25, 0.08, 0.0])
    assert table.average_gap("FT", "dense") == pytest.approx(0.1825)
    assert table.average_gap("FT", "95 % sparse") == pytest.approx((0.1 + 0 + 0 + 0.1) / 4)
    assert table.gap("Retrain", "dense", "UA") == 0 and table.average_gap("GA", "dense") is None


def test_layout_of_the_paper():
    [table] = results.tables(RUNS)
    head, rows = tables.paper_table(table)
    assert head[:5] == ["method", "UA dense", "UA 95 % sparse", "MIA-Efficacy dense", "MIA-Efficacy 95 % sparse"]
    assert head[-4:] == ["avg. gap dense", "avg. gap 95 % sparse", "RTE (min) dense", "RTE (min) 95 % sparse"]
    finetuned = dict(zip(head, rows[1]))
    assert finetuned["UA dense"] == "60.00±10.00 (40.00)" and finetuned["UA 95 % sparse"] == "90.00 (10.00)"
    assert finetuned["avg. gap dense"] == "18.25" and finetuned["RTE (min) dense"] == "0.500"
    assert dict(zip(head, rows[2]))["UA dense"] == "-"
    assert tables.markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"


def test_runs_that_differ_never_share_a_table_or_a_row():
    other = [
        result("FT", 0, 1, (0.1, 0.1, 0.1, 0.1, 1.0), compat="reference"),
        result("FT", 0, 1, (0.2, 0.1, 0.1, 0.1, 1.0), kind="random", words="a tenth"),
    ]
    found = results.tables([*RUNS, *other])
    assert [table.slug for table in found] == ["digits-resnet20s-class", "digits-resnet20s-class-reference", "digits-resnet20s-random"]
    twice = [result("FT", 0, 1, (0.1,) * 5, hyper={"lr": lr, "epochs": 3}) for lr in (0.1, 0.2)]
    twice[1]["fingerprint"] += "x"
    [table] = results.tables(twice)
    assert list(table.rows) == ["FT, lr 0.1", "FT, lr 0.2"]


def test_a_method_tuned_per_model_stays_one_row():
    tuned = [result("FT", sparsity, 1, (0.1,) * 5, hyper={"lr": sparsity + 1}) for sparsity in (0, 0.9)]
    [table] = results.tables(tuned)
    assert list(table.rows) == ["FT"] and set(table.rows["FT"]) == {"dense", "90 % sparse"}


def test_files(tmp_path, capsys):
    for number, run in enumerate([*RUNS, RUNS[0]]):  # the last is the same run found twice
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(run))
    (tmp_path / "runs" / "0" / "deeper").mkdir()
    (tmp_path / "runs" / "0" / "deeper" / "result.json").write_text("{ damaged")
    assert main_report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    name = "digits-resnet20s-class"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.md", f"{name}.csv", f"{name}.png"}
    assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.DictReader((tmp_path / "out" / f"{name}.csv").open()))
    [line] = [line for line in lines if (line["method"], line["model"], line["metric"]) == ("FT", "dense", "UA")]
    assert float(line["mean"]) == pytest.approx(0.6) and line["seeds"] == "2" and float(line["gap_to_retrain"]) == pytest.approx(0.4)
    assert "60.00±10.00 (40.00)" in (tmp_path / "out" / f"{name}.md").read_text()
    assert "60.00±10.00 (40.00)" in capsys.readouterr().out


def test_tables_of_the_same_name_do_not_replace_each_other(tmp_path):
    for number, words in enumerate(("all of class 0", "all of class 1")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "result.json").write_text(json.dumps(result("FT", 0, number, (0.1 * number,) * 5, words=words)))
    assert main_report.main([str(tmp_path)]) == 0
    assert [(tmp_path / f"digits-resnet20s-class{end}.md").read_text().splitlines()[0] for end in ("", "-2")] == [
        "digits, resnet20s: forget all of class 0", "digits, resnet20s: forget all of class 1",
    ]
    assert main_report.distinct(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
