"""Parts of empty Bokeh figures: axes, data sources and matrices, which a page's script finds by name and fills."""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, LinearColorMapper, TapTool
from bokeh.palettes import interp_palette
from bokeh.plotting import figure

TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
FONT = "12px"
UP = tuple(interp_palette(("#ffffff", "#9ecae1", "#2171b5", "#08306b", "#000000"), 256))
DOWN = tuple(interp_palette(("#2d004b", "#8073ac", "#f7f7f7", "#e08214", "#7f3b08"), 255))


def empty_figure(name: str, tools: str = TOOLS, height: int = 320, **more: Any) -> Any:
    """A figure as wide as the page, without data.

    No tool is active at first, so that dragging with a finger scrolls the page.

    Args:
        height: in pixels.
        more: further arguments of ``bokeh.plotting.figure``.
    """
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


def source(name: str, *columns: str) -> ColumnDataSource:
    """An empty data source with these columns, which the page's script finds by its name."""
    return ColumnDataSource({column: [] for column in columns}, name=name)


def named_ticks(axis: Any, name: str) -> None:
    """Name an axis and its ticker, so that the page's script can label the axis's whole numbers."""
    axis.ticker = FixedTicker(ticks=[], name=f"{name}_ticks")
    axis.name = name


def named_columns(drawn: Any, name: str) -> None:
    """``named_ticks`` for a figure's x axis, with slanted labels."""
    named_ticks(drawn.xaxis[0], name)
    drawn.xaxis.major_label_orientation = 0.9


def unchanged_when_selected(renderer: Any) -> None:
    """Draw selected and other points as they are drawn without a selection."""
    renderer.nonselection_glyph = renderer.selection_glyph = None


def matrix(name: str, row: str = "true class", item: str = "images") -> Any:
    """An empty confusion matrix of model A, of model B, or of their difference.

    Args:
        name: "matrix_a", "matrix_b" or "matrix_difference".
        row: what a row is, in words.
        item: what is counted, in words.
    """
    title = {"matrix_a": "A", "matrix_b": "B", "matrix_difference": "A minus B"}[name]
    ranges: dict[str, Any] = {"x_range": (-0.5, 0.5), "y_range": (0.5, -0.5)}
    drawn = empty_figure(name, height=380, title=title, x_axis_label="answer", y_axis_label=row, **ranges)
    named_columns(drawn, f"{name}_x")
    named_ticks(drawn.yaxis[0], f"{name}_y")
    drawn.grid.visible = False
    low, palette = (-1, DOWN) if name == "matrix_difference" else (0, UP)
    colours = LinearColorMapper(palette=palette, low=low, high=1)
    cells = source(f"{name}_cells", "x", "y", "share", "count", "true", "answer")
    renderer = drawn.rect(
        "x", "y", 1, 1, source=cells, fill_color={"field": "share", "transform": colours}, line_color=None
    )
    unchanged_when_selected(renderer)
    tooltips = [(row, "@true"), ("answer", "@answer"), (item, "@count"), ("share of the class", "@share{0.0 %}")]
    drawn.add_tools(HoverTool(renderers=[renderer], tooltips=tooltips), TapTool(renderers=[renderer]))
    drawn.add_layout(renderer.construct_color_bar(height=8, padding=2, major_label_text_font_size="10px"), "below")
    return drawn
