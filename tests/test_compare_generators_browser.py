"""The page of generators in a real browser: every control is used, and every number is worked out again."""

from __future__ import annotations

import base64
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser
from PIL import Image
from test_compare_browser import DRAWN, HELPERS, READY, Driven, processor_seconds, two
from test_compare_generators import NAMES, made_up, parts, scores

import main_compare
from compare.generator_content import SCORES
from evaluation import judged

pytestmark = needs_browser
NONE, GONE = 10, 3


class Generators(Driven):
    """The page of generators in the browser, and what its arrays hold."""

    def load(self, path: Path) -> float:
        seconds = self.open(path, READY)
        self.wait(DRAWN)
        self.run(HELPERS)
        self.plain, self.arrays, _ = parts(path.read_text())
        return seconds

    def counts(self, model: int) -> np.ndarray:
        """Pictures by class and answer, [10, 11]."""
        found, here = np.zeros((10, 11), int), self.arrays["model"] == model
        np.add.at(found, (self.arrays["label"][here], self.arrays["answer"][here]), 1)
        return found


@pytest.fixture(scope="module")
def drawn_runs(tmp_path_factory) -> Path:
    return made_up(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def driven(drawn_runs, tmp_path_factory):
    assert main_compare.main([str(drawn_runs / name) for name in NAMES]) == 0
    page = drawn_runs / "compare.html"
    with Generators(tmp_path_factory.mktemp("profile")) as found:
        found.size(1280)
        found.load(page)
        yield found
        assert found.problems == []
        assert [url for url in found.requests if not url.startswith(("data:", "blob:"))] == [page.resolve().as_uri()]


@pytest.fixture(autouse=True)
def cleared(driven):
    """Every test begins with all models and classes."""
    driven.run("Object.assign(state, initial(), {a: 1, b: 2}); showControls(); redraw()")


def test_scores_are_those_of_the_runs(driven, drawn_runs):
    head, *lines = driven.table("models")
    known = [one["key"] for one in driven.plain["scores"]]
    assert head == ["model", *(SCORES[key][0] for key in known), "seconds"]
    assert [line[0] for line in lines] == ["Original", "GA (A)", "Retrain (B)"]
    for line, name in zip(lines, NAMES):
        told = scores(drawn_runs, name)
        wanted = [(100 if SCORES[key][1] else 1) * told[key] for key in known]
        assert line[1:-1] == [f"{value:.2f}" for value in wanted], name
    for figure, keys in (("shares", ("UA", "RA", "rejected", "plausibility")), ("distances", ("fd_judge",))):
        model, score, top = driven.run(f"(({{model, score, top}}) => [model, score, top])(figures.{figure}_bars.data)")
        bars = {(name, title): value for name, title, value in zip(model, score, top)}
        for name, key in itertools.product(NAMES, keys):
            title = {"base": "Original", "GA": "GA", "retrain": "Retrain"}[name]
            scale = 100 if SCORES[key][1] else 1
            assert bars[title, SCORES[key][0]] == pytest.approx(scale * scores(drawn_runs, name)[key])
    assert driven.run("figures.distances_floors.data.y") == [scores(drawn_runs, name)["fd_floor"] for name in NAMES]
    assert f"{100 * scores(drawn_runs, 'base')['judge_accuracy']:.2f} % of the real test images" in driven.run(
        "document.getElementById('overview_note').textContent"
    )


def test_pictures_stand_side_by_side(driven):
    head, *lines = driven.table("grid")
    assert head == ["class", "Original", "GA", "Retrain"]
    assert [line[0] for line in lines] == [
        "kind 3 (forgotten)",
        *(f"kind {number}" for number in (0, 1, 2, 4, 5, 6, 7, 8, 9)),
    ]
    for line, label in zip(lines, (3, 0, 1, 2, 4, 5, 6, 7, 8, 9)):
        for model, cell in enumerate(line[1:]):
            counts = driven.counts(model)[label]
            asked, none = counts[label], counts[NONE]
            assert cell == f"{asked} · {counts.sum() - asked - none} · {none}"
    assert driven.run("document.querySelectorAll('#grid .tile').length") == 3 * 10 * 5
    for each in (1, 10, 20):
        driven.choose(each=each)
        assert driven.run("document.querySelectorAll('#grid .tile').length") == 3 * 10 * each


def test_a_tile_is_the_picture_of_its_row(driven, drawn_runs):
    """The colour that the browser shows is that of the stored picture."""
    driven.choose(each=1)
    spots = {}
    for model, name in enumerate(NAMES):
        kept = judged.read(drawn_runs / name / "scores")
        driven.run(f"document.getElementById('pictures_{model}_7').scrollIntoView({{block: 'center'}})")
        driven.settle()
        box = driven.run(f"""(() => {{ const one = document.querySelector('#pictures_{model}_7 .tile')
            .getBoundingClientRect(); return [one.x + scrollX + 2, one.y + scrollY + 2]; }})()""")
        clip = {"x": box[0], "y": box[1], "width": 32, "height": 32, "scale": 1}
        png = driven.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        shot = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(float)
        spots[name] = abs(shot.mean() - kept.pictures[kept.labels[kept.pictured] == 7][0].mean())
    assert max(spots.values()) < 8, spots


@pytest.mark.parametrize("verdict", ["all", "asked", "other", "none"])
def test_pictures_that_stand_out(driven, verdict):
    driven.choose(each=20, verdict=verdict)
    answer, label = (driven.arrays[name][driven.arrays["pictured"]] for name in ("answer", "label"))
    wanted = {
        "all": np.ones_like(answer, bool),
        "asked": answer == label,
        "other": (answer != label) & (answer != NONE),
        "none": answer == NONE,
    }
    assert driven.run("document.querySelectorAll('#grid .tile:not(.faint)').length") == wanted[verdict].sum()


def test_models_and_a_class_are_chosen(driven):
    driven.click_on("#model_1")
    assert driven.table("grid")[0] == ["class", "Original", "Retrain"] and len(driven.table("models")) == 3
    assert set(driven.run("figures.shares_bars.data.model")) == {"Original", "Retrain"}
    assert driven.table("class_table")[0] == ["class", "floor", "Original", "Retrain"]
    assert driven.passing == 2 * 250
    driven.choose(label=7)
    assert driven.passing == 2 * 25 and [line[0] for line in driven.table("grid")[1:]] == ["kind 7"]
    assert {line[0] for line in driven.table("answers")[1:]} == {"kind 7"} and len(driven.table("class_table")) == 2
    driven.click_on("#clear")
    assert driven.passing == 3 * 250 and len(driven.table("grid")) == 11


def test_a_cell_is_opened_by_a_key(driven):
    driven.run(f"document.getElementById('pictures_2_{GONE}').focus()")
    driven.press("Enter")
    said = driven.run("document.querySelector('#panel p').textContent")
    counts = driven.counts(2)[GONE]
    asked, none = counts[GONE], counts[NONE]
    other = counts.sum() - asked - none
    counted = f"{asked} are taken for it, {other} for another class, {none} for none"
    assert said.startswith(f"Retrain, class kind 3 (forgotten): of 25 pictures {counted}")
    captions = driven.run("[...document.querySelectorAll('#panel figcaption')].map(one => one.textContent)")
    here = np.flatnonzero((driven.arrays["model"] == 2) & (driven.arrays["label"] == GONE))
    here = here[np.isin(here, driven.arrays["pictured"])]
    names = [*driven.plain["classes"], "none"]
    assert captions == [
        f"{names[driven.arrays['answer'][row]]} {100 * driven.arrays['confidence'][row]:.0f} %" for row in here
    ]


def test_answers(driven):
    a, b = driven.counts(1), driven.counts(2)
    for side, counts in (("a", a), ("b", b), ("difference", a - b)):
        found = driven.run(f"(({{x, y, count}}) => [x, y, count])(figures.matrix_{side}_cells.data)")
        replies = driven.run("matrixShown.replies")
        shown = np.zeros((10, 11), int)
        shown[found[1], np.array(replies)[found[0]]] = found[2]
        assert (shown == counts).all(), side
    assert len(driven.table("answers")) == 16
    driven.click_on("#all")
    head, *lines = driven.table("answers")
    assert head == ["asked for", "answer", "A", "A %", "B", "B %", "A − B %"]
    assert len(lines) == ((a > 0) | (b > 0)).sum()
    names = [*driven.plain["classes"], "none"]
    for asked, answer, *cells in lines:
        at = names.index(asked.removesuffix(" (forgotten)")), names.index(answer)
        assert cells == [str(a[at]), two(a[at] / 25), str(b[at]), two(b[at] / 25), two((a[at] - b[at]) / 25)]
    driven.choose(a=0, b=1)
    assert driven.run("[...figures.matrix_a_cells.data.count].reduce((one, other) => one + other)") == 250
    assert driven.table("models")[1][0] == "Original (A)"
    x, y = driven.run("[figures.matrix_a_cells.data.x[0], figures.matrix_a_cells.data.y[0]]")
    driven.click(*driven.point("matrix_a", x, y))
    driven.settle()
    assert driven.run("state.label") == y and driven.passing == 75, "a click on a cell shows its class"


def test_distances_per_class(driven, drawn_runs):
    kept = [judged.read(drawn_runs / name / "scores") for name in NAMES]
    head, *lines = driven.table("class_table")
    assert head == ["class", "floor", "Original", "GA", "Retrain"]
    for line, label in zip(lines, (3, 0, 1, 2, 4, 5, 6, 7, 8, 9)):
        assert line[1:] == [f"{value:.2f}" for value in (kept[1].floor[label], *(one.distance[label] for one in kept))]
    y, model, label = driven.run("(({y, model, label}) => [y, model, label])(figures.class_distances_points.data)")
    points = {(name, number): value for name, number, value in zip(model, label, y)}
    assert points["GA", 3] == kept[1].distance[3] and points["Retrain", 8] == kept[2].distance[8]
    assert points["floor", 8] == kept[1].floor[8] and len(points) == 30
    x = driven.run("figures.class_distances_points.data.x[3]")
    driven.click(*driven.point("class_distances", x, y[3]))
    driven.settle()
    assert driven.run("state.label") == label[3], "a click on a point shows its class"


def test_every_control_has_a_name_and_is_reached_by_tab(driven):
    tree = driven.ask("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "combobox", "checkbox", "link", "image", "img", "table", "region", "form"}
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node["ignored"] and node["role"]["value"] in controls and not node.get("name", {}).get("value")
    ]
    assert nameless == []
    driven.run("document.querySelector('.skip').focus()")
    wanted = set(
        driven.run("[...document.querySelectorAll('select, input, button[id]:not([hidden])')].map(one => one.id)")
    )
    seen = set()
    for _ in range(300):
        driven.press("Tab")
        seen.add(driven.run("document.activeElement.id"))
        if wanted <= seen:
            break
    assert wanted <= seen


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(driven, width):
    driven.size(width)
    driven.settle()
    assert driven.beyond() == [] and driven.run("document.documentElement.scrollWidth") <= width
    driven.size(1280)


def test_it_prints(driven):
    driven.size(1280, print_media=True)
    assert driven.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert len(driven.ask("Page.printToPDF", printBackground=True)["data"]) > 50_000
    driven.size(1280)
    driven.settle()
    each = '[...document.querySelectorAll("figure[id]")].map(one => {})'
    before = driven.run(each.format("one.clientWidth"))
    driven.run("dispatchEvent(new Event('beforeprint'))")
    zooms = driven.run(each.format("Number(one.style.zoom)"))
    assert max(before) > 1000 and max(width * zoom for width, zoom in zip(before, zooms)) < 691, "as wide as the paper"
    assert max(zooms) == 1, "none is made larger"
    driven.run("dispatchEvent(new Event('afterprint'))")
    assert driven.run(each.format("one.style.zoom")) == [""] * len(before)


@pytest.mark.torture
def test_a_hundred_classes_open_in_three_seconds(tmp_path):
    runs = made_up(tmp_path, classes=100, each=50, side=16)
    assert main_compare.main([str(runs / name) for name in NAMES]) == 0
    with Generators(tmp_path / "profile") as found:
        found.size(1280)
        found.ask("Performance.enable", timeDomain="threadTicks")
        found.open(runs / "compare.html", READY)
        at_first = processor_seconds(found)
        found.wait(DRAWN)
        assert at_first < 1.5 and processor_seconds(found) < 3
        assert found.problems == []
