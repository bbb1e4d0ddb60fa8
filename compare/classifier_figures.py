"""The empty figures of a page of classifiers; the page's script finds their data sources by name and fills them."""

from __future__ import annotations

from typing import Any

from bokeh.models import BoxSelectTool, ColumnDataSource, HoverTool, Span, TapTool

from compare.figure_parts import FONT, empty_figure, matrix, named_columns, source, unchanged_when_selected


def figures() -> dict[str, Any]:
    """Every figure by its name, which is also the id of the HTML element that holds it."""
    made = {"classes": _classes(), "histogram": _histogram(), "roc": _roc(), "map": _map()}
    made |= {name: matrix(name) for name in ("matrix_a", "matrix_b", "matrix_difference")}
    made |= {name: _layers(name, label) for name, label in (("cka", "CKA"), ("weights", "change of the weights"))}
    return made


def _classes() -> Any:
    drawn = empty_figure(
        "classes", y_range=(-3, 103), x_range=(-0.5, 0.5), x_axis_label="class", y_axis_label="accuracy (%)"
    )
    named_columns(drawn, "classes_axis")
    drawn.xgrid.visible = False
    drawn.segment("x", "from", "x", "to", source=source("class_gaps", "x", "from", "to", "color"), color="color")
    points = source("class_points", "x", "y", "color", "fill", "marker", "class", "set", "model", "count", "label")
    renderer = drawn.scatter(
        "x", "y", source=points, marker="marker", size=9, line_color="color", fill_color="fill", line_width=1.5
    )
    unchanged_when_selected(renderer)
    tooltips = [("class", "@class"), ("set", "@set (@count)"), ("accuracy", "@y{0.00} % (@model)")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips), TapTool(renderers=[renderer]))
    return drawn


def _histogram() -> Any:
    ranges: dict[str, Any] = {"x_range": (0, 1), "y_range": (-1, 1)}
    drawn = empty_figure(
        "histogram", x_axis_label="margin", y_axis_label="share of the set (%): A up, B down", **ranges
    )
    bars = source("bars", "left", "right", "top", "bottom", "color", "hatch", "set", "model", "share")
    renderer = drawn.quad(
        left="left",
        right="right",
        top="top",
        bottom="bottom",
        source=bars,
        fill_color="color",
        fill_alpha=0.35,
        line_color="color",
        line_alpha=0.8,
        hatch_pattern="hatch",
        hatch_color="color",
        hatch_alpha=0.5,
    )
    tooltips = [("share", "@share{0.00} % (@model, @set set)"), ("from", "@left{0.00} to @right{0.00}")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips))
    drawn.hspan(y=[0], line_color="#111")
    # Bokeh 3.9 mistakes the width for a slope: a wider line's lower end would be caught beside where it is drawn.
    threshold = Span(location=0, dimension="height", line_color="#111", line_width=2, line_dash="dashed", editable=True)
    threshold.name = "threshold"
    drawn.add_layout(threshold)
    return drawn


def _roc() -> Any:
    ranges: dict[str, Any] = {"x_range": (-2, 102), "y_range": (-2, 102)}
    ranges |= {"x_axis_label": "false positives (%)", "y_axis_label": "true positives (%)"}
    drawn = empty_figure("roc", **ranges)
    drawn.line([0, 100], [0, 100], line_color="#999", line_dash="dotted")
    drawn.line("x", "y", source=source("roc_curve", "x", "y"), line_color="#0072b2", line_width=2)
    here = source("roc_point", "x", "y", "threshold")
    renderer = drawn.scatter("x", "y", source=here, size=11, marker="diamond", color="#111")
    tooltips = [("threshold", "@threshold{0.000}"), ("true positives", "@y{0.00} %"), ("false positives", "@x{0.00} %")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips))
    return drawn


def _layers(name: str, label: str) -> Any:
    ranges: dict[str, Any] = {"x_range": (-0.5, 0.5), "y_range": (0, 1.05)}
    drawn = empty_figure(name, height=300, x_axis_label="layer", y_axis_label=label, **ranges)
    named_columns(drawn, f"{name}_axis")
    lines = source(f"{name}_lines", "xs", "ys", "color", "dash")
    drawn.multi_line("xs", "ys", source=lines, line_color="color", line_dash="dash", line_width=2)
    points = source(f"{name}_points", "x", "y", "color", "marker", "what", "layer")
    renderer = drawn.scatter("x", "y", source=points, marker="marker", size=8, color="color")
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=[("layer", "@layer"), ("value", "@y{0.0000} (@what)")]))
    return drawn


def _map() -> Any:
    drawn = empty_figure("map", height=520, x_axis_label="first axis", y_axis_label="second axis", match_aspect=True)
    lines = source("map_lines", "x0", "y0", "x1", "y1")
    drawn.segment("x0", "y0", "x1", "y1", source=lines, line_color="#777", line_alpha=0.5)
    corners = ColumnDataSource({"x": [0], "y": [0]}, name="map_corners")  # invisible; keep the axes when points change
    drawn.scatter("x", "y", source=corners, alpha=0)
    points = source("map_points", "x", "y", "color", "fill", "marker", "row")
    renderer = drawn.scatter(
        "x", "y", source=points, marker="marker", size=6, line_color="color", fill_color="fill", fill_alpha=0.8
    )
    unchanged_when_selected(renderer)
    near = source("map_near", "x0", "y0", "x1", "y1")
    drawn.segment("x0", "y0", "x1", "y1", source=near, line_color="#111", line_width=2)
    ends = source("map_ends", "x", "y", "marker", "name")
    drawn.scatter("x", "y", source=ends, size=13, marker="marker", line_color="#111", fill_color=None, line_width=2)
    drawn.text("x", "y", "name", source=ends, x_offset=9, y_offset=-6, text_font_size=FONT)
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=None), TapTool(renderers=[renderer]))
    drawn.add_tools(BoxSelectTool(renderers=[renderer]))
    return drawn
