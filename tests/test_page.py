"""The page of a report: what it says of a table, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
import subprocess
from html import escape

import pytest
from browser import BROWSER, FLAGS, needs_browser
from test_report import RUNS, made, result, write

import main_report
from report import marks, paper_table, settings, text
from report.page import Section, page
from report.paper_values import Published


def test_the_best_cells_by_hand():
    runs = [
        result("raw", 0, 1, (0.0, 0.0, 1.0, 0.9, 0.0), "Original"),
        result("retrain", 0, 1, (1.0, 1.0, 1.0, 0.9, 9.0), "Retrain"),
        result("retrain_ls", 0, 1, (1.0, 1.0, 1.0, 0.9, 8.0), "Retrain + LS"),
        result("FT", 0, 1, (0.5, 1.0, 0.9, 0.9, 0.5)),
        result("GA", 0, 1, (0.8, 1.0, 0.7, 0.7, 0.1)),
        result("IU", 0, 1, (0.80001, 1.0, 0.8, 0.8, 0.10001)),
    ]
    [table] = made(runs)
    best = marks.best(table)
    assert best == {  # in MIA-Efficacy all are alike; average gaps are 15, 17.5 and 12.5; ties as shown share a mark
        ("GA", "UA dense"),
        ("IU", "UA dense"),
        ("FT", "RA dense"),
        ("FT", "TA dense"),
        ("IU", "avg. gap dense"),
        ("GA", "RTE (min) dense"),
        ("IU", "RTE (min) dense"),
    }
    runs[4]["environment"] = {"platform": "another machine"}
    [table] = made(runs)
    assert {row for row, title in marks.best(table) if title.startswith("RTE")} == set(), (
        "minutes of different machines are not compared"
    )
    [table] = made(runs[:4])
    assert marks.best(table) == frozenset(), "one method competes with nobody"
    assert "| **80.00 (20.00)** |" in text.markdown(*paper_table.paper_table(made(runs)[0], NONE_PUBLISHED), best)


NONE_PUBLISHED = Published([], exact=False)


def poor(ra, ta, classes=10, method="retrain"):
    return result(
        method,
        0,
        1,
        (1.0, 1.0, ra, ta, 1.0),
        {"retrain": "Retrain"}.get(method),
        config={"official_counts": [9] * classes},
    )


@pytest.mark.parametrize(
    "run, said",
    [
        (poor(0.95, 0.8), []),
        (poor(0.9, 0.2), []),
        (
            poor(0.5, 0.8),
            [
                (
                    "Retrain on the dense model is poor (RA 50.0 % on the images that it was trained on): it "
                    "has learnt little"
                )
            ],
        ),
        (poor(1.0, 0.18), ["Retrain on the dense model is poor (TA 18.0 %, where guessing gives 10.0 %)"]),
        (
            poor(0.6, 0.54, 2),
            [
                (
                    "Retrain on the dense model is poor (RA 60.0 % on the images that it was trained on; TA "
                    "54.0 %, where guessing gives 50.0 %)"
                )
            ],
        ),
        (poor(0.9, 0.8, method="FT"), ["No Retrain on the dense model, so no gaps there"]),
    ],
)
def test_a_poor_retrain_is_warned_of(run, said, tmp_path, capsys):
    [table] = made([run])
    assert [line[: len(start)] for line, start in zip(marks.warnings(table), said, strict=True)] == said
    write(tmp_path, [run])
    assert main_report.main([str(tmp_path), "--no_plots"]) == 0
    written = [
        capsys.readouterr().out,
        (tmp_path / "digits-resnet20s-class-0.md").read_text(),
        (tmp_path / "report.html").read_text(),
    ]
    assert [bool(said) for _ in written] == ["Warning" in text for text in written]


def test_what_rows_were_run_with(tmp_path, capsys):
    shared = {"batch_size": 64, "no_aug": True, "rewind_pth": None, "eval_mode": False}
    more = {"environment": {"commit": "0123456789abcdef"}, "finished": "2026-03-01T10:00:00+00:00"}
    runs = [
        result("retrain", 0, 1, (1.0,) * 5, "Retrain", hyper=shared | {"unlearn_epochs": 8}, **more),
        result("FT", 0, 1, (0.5,) * 5, hyper=shared | {"unlearn_lr": 0.1, "unlearn_epochs": 8}, **more),
        result(
            "FT",
            0,
            2,
            (0.5,) * 5,
            hyper=shared | {"unlearn_lr": 0.1, "unlearn_epochs": 8},
            **more | {"finished": "2026-03-04T00:00:00+00:00"},
        ),
        result(
            "FT",
            0.95,
            1,
            (0.5,) * 5,
            hyper=shared | {"unlearn_lr": 0.2, "unlearn_epochs": 8, "momentum": 0.0, "saliency_mask": "x"},
            environment={"commit": "fedcba9876543210-dirty"},
        ),
        result("IU", 0, 1, (0.5,) * 5, hyper={"alpha": 0.5, "decreasing_lr": [91, 136], "saliency_mask": "/some/file"}),
    ]
    [table] = made(runs)
    found = settings.settings_of(table)
    assert found.note == "Settings that all rows with them share: batch_size 64, no_aug."
    assert found.lines == [
        ["Retrain", "unlearn_epochs 8", "0123456789", "2026-03-01"],
        [
            "FT",
            "unlearn_lr 0.1 (dense); 0.2 (95 % sparse), unlearn_epochs 8, "
            "momentum unset (dense); 0.0 (95 % sparse), saliency_mask unset (dense); on (95 % sparse)",
            "0123456789, fedcba9876-dirty",
            "2026-03-01 to 2026-03-04",
        ],
        ["IU", "alpha 0.5, decreasing_lr 91, 136, saliency_mask", "-", "-"],
    ]
    write(tmp_path / "runs", runs)
    for flag, there in (("--no_plots", False), ("--settings", True)):
        assert main_report.main([str(tmp_path / "runs"), "--no_plots", flag, "--out", str(tmp_path)]) == 0
        forms = [
            (tmp_path / f"digits-resnet20s-class-0.{kind}").read_text().replace("\\", "") for kind in ("md", "tex")
        ]
        assert [("unlearn_lr 0.1 (dense)" in form, "share: batch_size 64" in form) for form in forms] == [
            (there, there)
        ] * 2
        assert ("unlearn_lr 0.1 (dense)" in capsys.readouterr().out) is there
        html = (tmp_path / "report.html").read_text()
        assert "unlearn_lr 0.1 (dense)" in html and "fedcba9876-dirty" in html and "2026-03-01 to 2026-03-04" in html


def test_the_page_explains_marks_and_escapes():
    html = page(
        "<a>",
        [
            Section(
                "b & c",
                ["method", "UA"],
                [["<i>", "1"], ["<i>, published", "2"]],
                best={("<i>", "UA")},
                explained={"UA": "x > y"},
                warnings=["<w>"],
            )
        ],
    )
    assert (
        "<h1>&lt;a&gt;</h1>" in html
        and '<p class="warning"><b>Warning.</b> &lt;w&gt;</p>' in html
        and "<dt>UA</dt><dd>x &gt; y</dd>" in html
    )
    assert (
        "<td>&lt;i&gt;</td><td class=best>1</td>" in html
        and '<tr class="published">' in html
        and "<details>" not in html
    )
    assert set(paper_table.EXPLAINED) == {*("UA", "MIA-Efficacy", "RA", "TA"), "avg. gap", "RTE", "n"}


PROBE = """
<script>
for (const folded of document.querySelectorAll("details")) folded.open = true;
const order = (column) => {
  document.querySelectorAll("th button")[column].click();
  return [...document.querySelector("tbody").rows].map(row => row.cells[0].textContent);
};
const right = one => one.getBoundingClientRect().right;
const all = [...document.querySelectorAll("body *")];
const boxes = all.filter(one => !one.closest(".wide") && right(one) > innerWidth + 1);
const resources = performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:"));
const sorted = [1, 1, 0, 9].map(order);
const scrolls = [...document.querySelectorAll(".wide")].map(box => box.scrollWidth > box.clientWidth);
const head = document.querySelector("th");
parent.document.documentElement.setAttribute("data-found", JSON.stringify({
  width: innerWidth, page: document.documentElement.scrollWidth, sorted, scrolls, wide: boxes.map(one => one.tagName),
  state: document.querySelectorAll("th")[9].getAttribute("aria-sort"), sticky: getComputedStyle(head).position,
  outside: resources.length,
}));
</script></body>"""


def browse(folder, html, width):
    """What the probe finds in a page so many pixels wide; in a frame, as no window is as narrow as a phone."""
    inner = escape(html.replace("</body>", PROBE))
    (folder / "probed.html").write_text(
        f'<!DOCTYPE html><iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{inner}"></iframe>'
    )
    command = [
        BROWSER,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        f"file://{folder / 'probed.html'}",
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', said.stdout)
    assert found, said.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"'))


@needs_browser
def test_a_click_sorts_and_nothing_is_wider_than_a_phone(tmp_path):
    runs = [
        *RUNS,
        result("IU, with a long name of its own", 0, 1, (0.07, 0.2, 0.9, 0.8, 10.0)),
        result("FF", 0, 1, (0.9, 0.2, 0.9, 0.8, 1.0)),
    ]
    assert main_report.main([str(write(tmp_path / "runs", runs)), "--out", str(tmp_path)]) == 0
    html = (tmp_path / "report.html").read_text()
    long = "IU, with a long name of its own"
    for width in (390, 1400):
        found = browse(tmp_path, html, width)
        assert found["width"] == width and found["page"] <= width and found["wide"] == [] and found["outside"] == 0
        assert found["sticky"] == "sticky" and any(found["scrolls"])
        up, down, names, gap = found["sorted"]
        assert up == [long, "FT", "FF", "Retrain", "GA"], "as numbers: 7, 60, 90, 100; what has no value comes last"
        assert down == ["Retrain", "FF", "FT", long, "GA"] and names == ["FF", "FT", "GA", long, "Retrain"]
        assert gap[0] == "Retrain" and gap[-1] == "GA" and found["state"] == "ascending"
