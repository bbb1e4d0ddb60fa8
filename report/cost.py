"""A figure of the gap to Retrain against the run time of unlearning.

matplotlib is imported only when it is drawn.
"""

from __future__ import annotations

import math
from typing import Any

from report.comparison import Table
from report.plots import MARKERS, colours, figure, legend

EDGED = {"markeredgecolor": "black", "linestyle": "none"}


def cost(table: Table) -> Any:
    """A figure of the average gap to Retrain against the minutes of unlearning; markers are methods, shades models.

    With more methods than markers, each model has a panel of its own, in which the methods' names are written. A
    horizontal line is the gap of Original, a vertical one the time of Retrain. If gaps range from near zero to far
    more, their axis is linear below one percentage point and logarithmic above.
    """
    rows = [row for row in table.tried() if row != "Original"]
    named = len(rows) > len(MARKERS)
    count = len(table.models) if named else 1
    drawn, axes = figure(9.0 if named else 8.0, 5.5 * count if named else 4.6, rows=count, sharex=True)
    panels = list(axes[:, 0]) if named else [axes[0, 0]] * len(table.models)
    points: dict[Any, dict[str, tuple[float, float]]] = {axis: {} for axis in panels}
    for model, shade, axis in zip(table.models, colours(len(table.models)), panels):
        for row, marker in zip(rows, ["o"] * len(rows) if named else MARKERS):
            gap, spent = table.average_gap(row, model.name), table.cell(row, model.name, "RTE")
            if gap is not None and spent is not None and spent.mean > 0:
                axis.plot(spent.mean, 100 * gap, marker, color=shade, markersize=7, clip_on=False, zorder=3, **EDGED)
                points[axis][row] = (spent.mean, 100 * gap)
                if not named:
                    axis.plot([], [], marker, color="white", markersize=8, label=row, **EDGED)
    for model, shade, axis in zip(table.models, colours(len(table.models)), panels):
        _references(axis, table, model.name, shade)
    for axis in axes[:, 0]:
        axis.margins(x=0.08)
        axis.set(xscale="log", ylabel="average gap to Retrain (points)")
        _scales(axis, [gap for _, gap in points[axis].values()])
        legend(axis if named else drawn, axis, loc="lower left" if named else "outside right center")
    axes[-1, 0].set(xlabel="RTE: minutes that unlearning took")
    drawn.suptitle(table.title, fontsize=10)
    if named:
        drawn.draw_without_rendering()  # computes the layout, which must not change once names are placed
        drawn.set_layout_engine("none")
        for axis in panels:
            _name(axis, points[axis])
    return drawn


def _references(axis: Any, table: Table, model: str, shade: Any) -> None:
    axis.plot([], [], "s", color=shade, markersize=10, label=model, **EDGED)
    nothing, exact = table.average_gap("Original", model), table.cell("Retrain", model, "RTE")
    if nothing is not None:
        axis.axhline(100 * nothing, color=shade, linestyle=":", linewidth=2, label=f"Original, {model}")
    if exact is not None and exact.mean > 0:
        axis.axvline(exact.mean, color=shade, linestyle="--", linewidth=1.5, label=f"Retrain, {model}")


Box = tuple[float, float, float, float]  # left, low, right, high, in points of 1/72 inch
TURNS = (0, 1, -1, 4, 3, -3, 2, -2)  # eighths of a circle: east first, then west, north, south
AROUND = [(math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)) for turn in TURNS]
STEPS = (8, 15, 24, 36, 50, 66, 84)  # from a marker's centre to its name


def _name(axis: Any, points: dict[str, tuple[float, float]]) -> None:
    """Write each name near its marker, where it covers markers, names, lines and edges least.

    A name that does not fit right beside its marker gets a line to it.
    """
    to_points = 72 / axis.figure.dpi
    centres = {row: tuple(axis.transData.transform(point) * to_points) for row, point in points.items()}
    (left, low), (right, high) = axis.bbox.get_points() * to_points
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres.values()]
    for line in axis.get_lines():
        if line.get_linestyle() in (":", "--"):  # of Original and Retrain
            (left_end, lower), (right_end, upper) = line.get_transform().transform(line.get_xydata()) * to_points
            taken.append((left_end - 1, lower - 1, right_end + 1, upper + 1))
    for row, (x, y) in sorted(centres.items(), key=lambda item: (-item[1][1], item[1][0])):
        ways = [(step, across, up) for step in STEPS for across, up in AROUND]
        places = [(_box(row, x + step * across, y + step * up, across), step) for step, across, up in ways]
        outside = [box[0] < left or box[2] > right or box[1] < low or box[3] > high for box, _ in places]
        covered = [sum(_overlap(box, other) for other in taken) for box, _ in places]
        costs = [area + 1e3 * out for area, out in zip(covered, outside)]
        box, step = places[costs.index(min(costs))]
        taken.append(box)
        middle = ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y)
        look = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 7, "zorder": 4}
        line = {"arrowstyle": "-", "color": "0.45", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
        look["arrowprops"] = line if step > STEPS[0] else None
        axis.annotate(row, points[row], middle, **look).set_in_layout(False)


def _box(text: str, x: float, y: float, across: float) -> Box:
    """The box of a text in 7 pt that is centred at height ``y`` and begins, ends or is centred at ``x``.

    Args:
        across: where the text lies from its marker: above 0 to the right, below 0 to the left, 0 above or below it.
    """
    width = 4.0 * len(text) + 3
    left = x if across > 0.1 else x - width if across < -0.1 else x - width / 2
    return left, y - 4.5, left + width, y + 4.5


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share, in square points."""
    wide, high = (min(a[end], b[end]) - max(a[end - 2], b[end - 2]) for end in (2, 3))
    return max(0.0, wide) * max(0.0, high)


def _scales(axis: Any, gaps: list[float]) -> None:
    """Set the scales: gaps from zero, symlog if some are near it; ticks of minutes at 1, 2 and 5, or powers of ten."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    top = axis.get_ylim()[1]
    if gaps and min(gaps) < top / 20:
        axis.set_yscale("symlog", linthresh=1, linscale=0.6)
        axis.yaxis.set_major_locator(FixedLocator([0, 0.5, 1, 2, 5, 10, 20, 50, 100]))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(0, 1.15 * top)
    least, most = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 1e4 * least else (1,)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.3, which="both")
    axis.set_axisbelow(True)
