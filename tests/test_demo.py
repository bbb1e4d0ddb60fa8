"""The demo: its settings are those that its search found, its page is what it prints, and its table is the same
everywhere.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from experiments import demo_stability
from experiments.demo_stability import CLOSE, gaps, moved, swapped, words
from sweep import grid, search_block, spec

DEMO = ROOT / "experiments" / "demo.yaml"
KEPT = ROOT / "results" / "demo"


def committed(column=3):
    """One column of the committed table of gaps, the page's without a number, as ``gaps`` has it."""
    with (KEPT / "stability.csv").open() as lines:
        head, *rows = csv.reader(lines)
    assert head[:4] == ["scenario", "model", "method", "README"] and head[-2:] == ["sd over seeds", "largest change"]
    return {tuple(row[:3]): (float(row[column]), float(row[-2])) for row in rows}


def columns():
    with (KEPT / "stability.csv").open() as lines:
        return next(csv.reader(lines))[3:-2]


def test_the_settings_are_those_that_the_search_found_on_other_seeds():
    demo, searched = spec.read(DEMO), spec.read(DEMO.with_name("demo-search.yaml"))
    found = json.loads((KEPT / "best.json").read_text())
    assert len(found) == len(demo.models) * len(demo.scenarios) * (len(demo.methods) - 1)
    assert not set(demo.seeds) & set(search_block.read(searched)[0].seeds)
    cells = [cell for cell in grid.cells(demo) if cell.facts["stage"] == "unlearn"]
    for best in found.values():
        there = [
            cell for cell in cells if all(cell.facts[axis] == best[axis] for axis in ("model", "scenario", "method"))
        ]
        assert len(there) == len(demo.seeds)
        for cell in there:
            for flag, value in best["values"].items():
                assert float(cell.argv[cell.argv.index(f"--{flag}") + 1]) == float(value), (cell.name, flag)


def test_the_page_shows_the_table_as_it_was_written():
    page = (ROOT / "docs" / "demo.md").read_text()
    [name] = KEPT.glob("*-class-0.md")
    table = name.read_text()
    assert table.count("\n") > 8 and table.strip() in page


def test_no_gap_moves_by_three_points_and_the_order_holds():
    names = columns()
    assert names[0] == "README" and len(names) >= 4
    for number in range(1, len(names)):
        assert max(moved(committed(), committed(3 + number)).values()) <= CLOSE and not swapped(
            committed(), committed(3 + number)
        ), names[number]


def test_differences_and_order_by_hand():
    first = {("class", "dense", name): (gap, 0.0) for name, gap in (("FT", 1.0), ("GA", 9.0), ("IU", 10.0))}
    other = {("class", "dense", name): (gap, 0.5) for name, gap in (("FT", 2.5), ("GA", 2.0), ("IU", 12.0))}
    assert moved(first, other) == {
        ("class", "dense", "FT"): 1.5,
        ("class", "dense", "GA"): 7.0,
        ("class", "dense", "IU"): 2.0,
    }
    assert swapped(first, other) == [("class", "dense", "FT", "GA")]  # GA and IU are a tie in the first
    assert (
        words({"a": first, "b": other})
        == "b: largest change 7.00 points (class, dense, GA); order differs: GA before FT (class, dense)"
    )
    head, rows = demo_stability.table({"a": first, "b": other})
    assert head == ["scenario", "model", "method", "a", "b", "sd over seeds", "largest change"]
    assert rows[1] == ["class", "dense", "GA", "9.00", "2.00", "0.00", "7.00"]


SETTINGS = {
    "AVX2": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, ["--cpus", "2"]),
    "SSE4.1": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, ["--cpus", "1"]),
}


@pytest.mark.torture
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_demo_comes_out_the_same_on_other_processors(setting, tmp_path):
    environment, more = SETTINGS[setting]
    command = [sys.executable, str(ROOT / "main_sweep.py"), str(DEMO), "--folder", str(tmp_path / "runs"), *more]
    ran = subprocess.run(command, env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = gaps(Path(tmp_path / "runs"))
    assert found.keys() == committed().keys()
    assert max(moved(committed(), found).values()) <= CLOSE and not swapped(committed(), found), words(
        {"README": committed(), setting: found}
    )
