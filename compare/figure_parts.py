"""Parts of empty figures by Bokeh: axes, sources and matrices; a page's script fills the sources by name."""

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


def source(name: str, *columns: str) -> ColumnDataSource:
    """An empty source that the page's script finds by its name."""
    return ColumnDataSource({column: [] for column in columns}, name=name)


def named_ticks(axis: Any, name: str) -> None:
    """Let the page's script put names to the whole numbers of an axis, which it finds by ``name``."""
    axis.ticker = FixedTicker(ticks=[], name=f"{name}_ticks")
    axis.name = name


def named_columns(drawn: Any, name: str) -> None:
    """Let the page's script put slanted names to the whole numbers below a figure."""
    named_ticks(drawn.xaxis[0], name)
    drawn.xaxis.major_label_orientation = 0.9


def unchanged_when_selected(renderer: Any) -> None:
    """Draw what is selected, and what is not, as before."""
    renderer.nonselection_glyph = renderer.selection_glyph = None


def matrix(name: str, row: str = "true class", item: str = "images") -> Any:
    """Counts by class and answer of A, of B, or their difference.

    Args:
        row, item: what a row is, and what is counted.
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
