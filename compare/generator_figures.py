"""The empty figures of a page of generators; the page's script finds their data sources by name and fills them."""

from __future__ import annotations

from typing import Any

from bokeh.models import HoverTool, TapTool

from compare.figure_parts import empty_figure, matrix, named_columns, source, unchanged_when_selected


def figures() -> dict[str, Any]:
    """Every figure by its name, which is also the id of the HTML element that holds it."""
    made = {"shares": _bars("shares", "per cent of pictures"), "distances": _bars("distances", "distance")}
    made |= {name: matrix(name, "asked for", "pictures") for name in ("matrix_a", "matrix_b", "matrix_difference")}
    return made | {"class_distances": _class_distances()}


def _bars(name: str, label: str) -> Any:
    """A group of bars for each model, with a dashed mark for the floor of a score that has one."""
    drawn = empty_figure(name, height=300, x_range=(-0.5, 0.5), y_range=(0, 100), y_axis_label=label)
    named_columns(drawn, f"{name}_axis")
    drawn.xgrid.visible = False
    bars = source(f"{name}_bars", "x", "width", "top", "color", "hatch", "model", "score")
    renderer = drawn.vbar(
        "x", "width", "top", source=bars, color="color", hatch_pattern="hatch", hatch_color="#fff", hatch_alpha=0.6
    )
    tooltips = [("model", "@model"), ("score", "@score"), ("value", "@top{0.00}")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips))
    floors = source(f"{name}_floors", "x0", "x1", "y")
    drawn.segment("x0", "y", "x1", "y", source=floors, line_color="#111", line_width=2, line_dash="dashed")
    return drawn


def _class_distances() -> Any:
    """Points for the distances of models A and B, and for their floor, in every class."""
    ranges: dict[str, Any] = {"x_range": (-0.5, 0.5), "y_range": (1, 10), "y_axis_type": "log"}
    drawn = empty_figure("class_distances", x_axis_label="class", y_axis_label="FD(judge) to real images", **ranges)
    named_columns(drawn, "class_distances_axis")
    drawn.xgrid.visible = False
    lines = source("class_distances_gaps", "x", "from", "to")
    drawn.segment("x", "from", "x", "to", source=lines, color="#777")
    points = source("class_distances_points", "x", "y", "color", "fill", "marker", "class", "model", "label")
    renderer = drawn.scatter(
        "x", "y", source=points, marker="marker", size=9, line_color="color", fill_color="fill", line_width=1.5
    )
    unchanged_when_selected(renderer)
    tooltips = [("class", "@class"), ("distance", "@y{0.00} (@model)")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips), TapTool(renderers=[renderer]))
    return drawn
