"""The page's figures, empty: axes, glyphs and tools by Bokeh; the page's script fills their sources by name."""

from __future__ import annotations

from typing import Any

from bokeh.models import BoxSelectTool, ColumnDataSource, FixedTicker, HoverTool, LinearColorMapper, Span, TapTool
from bokeh.palettes import interp_palette
from bokeh.plotting import figure

TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
FONT = "12px"
UP = tuple(interp_palette(("#ffffff", "#9ecae1", "#2171b5", "#08306b", "#000000"), 256))
DOWN = tuple(interp_palette(("#2d004b", "#8073ac", "#f7f7f7", "#e08214", "#7f3b08"), 255))


def figures() -> dict[str, Any]:
    """Every figure by its name, which is the id of its place in the page too."""
    made = {"classes": _classes(), "histogram": _histogram(), "roc": _roc(), "map": _map()}
    made |= {name: _matrix(name) for name in ("matrix_a", "matrix_b", "matrix_difference")}
    made |= {name: _layers(name, label) for name, label in (("cka", "CKA"), ("weights", "change of the weights"))}
    return made


def _figure(name: str, tools: str = TOOLS, height: int = 320, **more: Any) -> Any:
    """Nothing is dragged or scrolled before its tool is chosen, so that a finger scrolls the page."""
    drawn = figure(
        name=name,
        tools=tools,
        height=height,
        sizing_mode="stretch_width",
        toolbar_location="above",
        active_drag=None,
        active_scroll=None,
        min_border_right=12,
        **more,
    )
    drawn.toolbar.logo = None
    for axis in drawn.axis:
        axis.axis_label_text_font_style, axis.major_label_text_font_size = "normal", FONT
        axis.axis_label_text_font_size = FONT
    return drawn


def _source(name: str, *columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns}, name=name)


def _named_ticks(axis: Any, name: str) -> None:
    axis.ticker = FixedTicker(ticks=[], name=f"{name}_ticks")
    axis.name = name


def _unchanged_when_selected(renderer: Any) -> None:
    renderer.nonselection_glyph = renderer.selection_glyph = None


def _classes() -> Any:
    drawn = _figure(
        "classes", y_range=(-3, 103), x_range=(-0.5, 0.5), x_axis_label="class", y_axis_label="accuracy (%)"
    )
    _named_ticks(drawn.xaxis[0], "classes_axis")
    drawn.xaxis.major_label_orientation = 0.9
    drawn.xgrid.visible = False
    drawn.segment("x", "from", "x", "to", source=_source("class_gaps", "x", "from", "to", "color"), color="color")
    points = _source("class_points", "x", "y", "color", "fill", "marker", "class", "set", "model", "count", "label")
    renderer = drawn.scatter(
        "x", "y", source=points, marker="marker", size=9, line_color="color", fill_color="fill", line_width=1.5
    )
    _unchanged_when_selected(renderer)
    said = [("class", "@class"), ("set", "@set (@count)"), ("accuracy", "@y{0.00} % (@model)")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=said), TapTool(renderers=[renderer]))
    return drawn


def _matrix(name: str) -> Any:
    title = {"matrix_a": "A", "matrix_b": "B", "matrix_difference": "A minus B"}[name]
    ranges: dict[str, Any] = {"x_range": (-0.5, 0.5), "y_range": (0.5, -0.5)}
    drawn = _figure(name, height=380, title=title, x_axis_label="answer", y_axis_label="true class", **ranges)
    _named_ticks(drawn.xaxis[0], f"{name}_x")
    _named_ticks(drawn.yaxis[0], f"{name}_y")
    drawn.xaxis.major_label_orientation = 0.9
    drawn.grid.visible = False
    low, palette = (-1, DOWN) if name == "matrix_difference" else (0, UP)
    colours = LinearColorMapper(palette=palette, low=low, high=1)
    cells = _source(f"{name}_cells", "x", "y", "share", "count", "true", "answer")
    renderer = drawn.rect(
        "x", "y", 1, 1, source=cells, fill_color={"field": "share", "transform": colours}, line_color=None
    )
    _unchanged_when_selected(renderer)
    said = [
        ("true class", "@true"),
        ("answer", "@answer"),
        ("images", "@count"),
        ("share of the class", "@share{0.0 %}"),
    ]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=said), TapTool(renderers=[renderer]))
    drawn.add_layout(renderer.construct_color_bar(height=8, padding=2, major_label_text_font_size="10px"), "below")
    return drawn


def _histogram() -> Any:
    ranges: dict[str, Any] = {"x_range": (0, 1), "y_range": (-1, 1)}
    drawn = _figure("histogram", x_axis_label="margin", y_axis_label="share of the set (%): A up, B down", **ranges)
    bars = _source("bars", "left", "right", "top", "bottom", "color", "hatch", "set", "model", "share")
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
    said = [("share", "@share{0.00} % (@model, @set set)"), ("from", "@left{0.00} to @right{0.00}")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=said))
    drawn.hspan(y=[0], line_color="#111")
    # A wider line is caught beside itself at its lower end: Bokeh 3.9 takes its width for a slope.
    threshold = Span(location=0, dimension="height", line_color="#111", line_width=2, line_dash="dashed", editable=True)
    threshold.name = "threshold"
    drawn.add_layout(threshold)
    return drawn


def _roc() -> Any:
    ranges: dict[str, Any] = {"x_range": (-2, 102), "y_range": (-2, 102)}
    ranges |= {"x_axis_label": "false positives (%)", "y_axis_label": "true positives (%)"}
    drawn = _figure("roc", **ranges)
    drawn.line([0, 100], [0, 100], line_color="#999", line_dash="dotted")
    drawn.line("x", "y", source=_source("roc_curve", "x", "y"), line_color="#0072b2", line_width=2)
    here = _source("roc_point", "x", "y", "threshold")
    renderer = drawn.scatter("x", "y", source=here, size=11, marker="diamond", color="#111")
    said = [("threshold", "@threshold{0.000}"), ("true positives", "@y{0.00} %"), ("false positives", "@x{0.00} %")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=said))
    return drawn


def _layers(name: str, label: str) -> Any:
    ranges: dict[str, Any] = {"x_range": (-0.5, 0.5), "y_range": (0, 1.05)}
    drawn = _figure(name, height=300, x_axis_label="layer", y_axis_label=label, **ranges)
    _named_ticks(drawn.xaxis[0], f"{name}_axis")
    drawn.xaxis.major_label_orientation = 0.9
    lines = _source(f"{name}_lines", "xs", "ys", "color", "dash")
    drawn.multi_line("xs", "ys", source=lines, line_color="color", line_dash="dash", line_width=2)
    points = _source(f"{name}_points", "x", "y", "color", "marker", "what", "layer")
    renderer = drawn.scatter("x", "y", source=points, marker="marker", size=8, color="color")
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=[("layer", "@layer"), ("value", "@y{0.0000} (@what)")]))
    return drawn


def _map() -> Any:
    drawn = _figure("map", height=520, x_axis_label="first axis", y_axis_label="second axis", match_aspect=True)
    lines = _source("map_lines", "x0", "y0", "x1", "y1")
    drawn.segment("x0", "y0", "x1", "y1", source=lines, line_color="#777", line_alpha=0.5)
    corners = ColumnDataSource({"x": [0], "y": [0]}, name="map_corners")  # whatever is filtered, the axes stay
    drawn.scatter("x", "y", source=corners, alpha=0)
    points = _source("map_points", "x", "y", "color", "fill", "marker", "row")
    renderer = drawn.scatter(
        "x", "y", source=points, marker="marker", size=6, line_color="color", fill_color="fill", fill_alpha=0.8
    )
    _unchanged_when_selected(renderer)
    near = _source("map_near", "x0", "y0", "x1", "y1")
    drawn.segment("x0", "y0", "x1", "y1", source=near, line_color="#111", line_width=2)
    ends = _source("map_ends", "x", "y", "marker", "name")
    drawn.scatter("x", "y", source=ends, size=13, marker="marker", line_color="#111", fill_color=None, line_width=2)
    drawn.text("x", "y", "name", source=ends, x_offset=9, y_offset=-6, text_font_size=FONT)
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=None), TapTool(renderers=[renderer]))
    drawn.add_tools(BoxSelectTool(renderers=[renderer]))
    return drawn
