"""Figures of a table: bars of all scores, differences to Retrain, and scores against sparsity.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from report.comparison import Table
from report.plots import DASHES, HATCHES, MARKERS, colours, figure, legend
from report.row_names import Model
from report.runs import AVERAGE, METRICS

Height = tuple[float, float]  # mean and standard deviation, in per cent or points
GAP = "average gap to Retrain"
EXACT = "#d4351c"  # colour of Retrain's mark, visible on dark and on light bars


def by_gap(table: Table) -> list[str]:
    """Rows without Retrain, by the mean over the models of their average gap, ascending; rows without a gap last."""
    gaps = {
        row: [gap for model in table.models if (gap := table.average_gap(row, model.name)) is not None]
        for row in table.tried()
    }
    return sorted(gaps, key=lambda row: statistics.fmean(gaps[row]) if gaps[row] else math.inf)


def height(table: Table, row: str, model: Model, panel: str) -> Height | None:
    """Mean and standard deviation of a metric in per cent; of the average gap in points, with a deviation of 0.

    Args:
        panel: name of a metric, or ``GAP``.
    Returns:
        None if there is no run, or no gap.
    """
    if panel == GAP:
        gap = table.average_gap(row, model.name)
        return None if gap is None else (100 * gap, 0.0)
    cell = table.cell(row, model.name, panel)
    return None if cell is None else (100 * cell.mean, 100 * cell.std)


def bars(table: Table) -> Any:
    """A figure of the four metrics and the average gap, with a bar and its value for every method and model.

    Whiskers are one standard deviation. Methods are sorted by their average gap. The mark across a bar is Retrain's
    value on the same model, which a method should reach.
    """
    methods, shades = by_gap(table), colours(len(table.models))
    drawn, axes = figure(14, 1.6 + len(methods) * (0.1 + 0.16 * len(table.models)), 1, 5, sharey=True)
    thick = 0.85 / len(table.models)
    for axis, panel in zip(axes[0], [*METRICS, GAP]):
        for place, (model, shade) in enumerate(zip(table.models, shades)):
            exact = height(table, "Retrain", model, panel) if panel != GAP else None
            for position, row in enumerate(methods):
                middle = position + (place - (len(table.models) - 1) / 2) * thick
                if (own := height(table, row, model, panel)) is not None:
                    _bar(axis, middle, thick, own, exact, {"label": model.name, **_look(place, shade)})
        axis.set(xlabel="points" if panel == GAP else "%", title=panel, xlim=(0, None if panel == GAP else 103))
        axis.set_yticks(range(len(methods)), methods, fontsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    axes[0, 0].set_ylim(len(methods) - 0.45, -0.55)
    legend(drawn, axes[0, 0])
    drawn.suptitle(table.title, fontsize=10)
    return drawn


def _bar(axis: Any, middle: float, thick: float, own: Height, exact: Height | None, look: dict[str, Any]) -> None:
    """Draw a bar, its value right of the panel, a stroke in place of a bar near zero, and Retrain's mark."""
    value, spread = own
    axis.barh(middle, value, thick * 0.92, xerr=spread or None, capsize=2, **look)
    if value < 0.5:
        stroke = {"color": look["color"], "linewidth": 4, "zorder": 3, "solid_capstyle": "butt"}
        axis.plot([0, 0], [middle - thick * 0.46, middle + thick * 0.46], **stroke)
    if exact is not None:
        mark = {"colors": EXACT, "linewidths": 2, "zorder": 4, "label": "Retrain, same model"}
        axis.vlines(exact[0], middle - thick / 2, middle + thick / 2, **mark)
    text = {"transform": axis.get_yaxis_transform(), "fontsize": 6.5, "va": "center", "family": "monospace"}
    axis.text(1.02, middle, f"{value:.2f}", **text)


def _look(place: int, shade: Any) -> dict[str, Any]:
    """Colour, hatch and edge of a model's bars; whiskers are grey, visible on dark and on light bars."""
    dark, hatch = sum(shade[:3]) < 1.2, HATCHES[place % len(HATCHES)]
    edge = "white" if dark and hatch else "black"
    return {"color": shade, "hatch": hatch, "edgecolor": edge, "linewidth": 0.5, "ecolor": "0.5"}


def glance(table: Table) -> Any:
    """A figure of dots: each metric's difference to Retrain's in points, and RTE in per cent of Retrain's.

    Methods are sorted by their average gap; all metrics share one scale. With more than four models, only the dense
    and the sparsest one are shown.
    """
    models = table.models if len(table.models) <= 4 else [table.models[0], table.models[-1]]
    methods = [row for row in by_gap(table) if any(table.average_gap(row, model.name) is not None for model in models)]
    drawn, axes = figure(13, 1.7 + 0.26 * len(methods), 1, 5, sharey=True)
    for axis, metric in zip(axes[0], METRICS):
        values = {(row, model): table.difference(row, model.name, metric) for row in methods for model in models}
        _dots(axis, methods, models, {key: 100 * value for key, value in values.items() if value is not None})
        axis.axvline(0, color=EXACT, linewidth=1.5, zorder=1, label="Retrain, same model")
        axis.set(title=metric, xlabel="points above or below")
    ends = [end for axis in axes[0, :4] for end in axis.get_xlim()]
    for axis in axes[0, :4]:
        axis.set_xlim(min(ends), max(ends))
    shares = {(row, model): _time(table, row, model) for row in methods for model in models}
    _dots(axes[0, 4], methods, models, {key: share for key, share in shares.items() if share})
    axes[0, 4].axvline(100, color=EXACT, linewidth=1.5, zorder=1)
    axes[0, 4].set(title="RTE", xlabel="% of Retrain's", xscale="log")
    axes[0, 4].xaxis.set_major_formatter("{x:g}")
    for axis in axes[0]:
        axis.set_yticks(range(len(methods)), methods, fontsize=8)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)
    legend(drawn, axes[0, 0])
    drawn.suptitle(f"{table.title}: difference to Retrain", fontsize=10)
    return drawn


def _dots(axis: Any, methods: list[str], models: list[Model], values: dict[tuple[str, Model], float]) -> None:
    """Draw a dot for each value; those of a method's models are shifted vertically, so that none hides another."""
    look = {"markersize": 6, "markeredgecolor": "black", "markeredgewidth": 0.6, "linestyle": "none", "zorder": 3}
    for number, (model, shade, marker) in enumerate(zip(models, colours(len(models)), MARKERS)):
        aside = 0.5 * (number - (len(models) - 1) / 2) / len(models)
        shown = {place + aside: values[row, model] for place, row in enumerate(methods) if (row, model) in values}
        axis.plot(list(shown.values()), list(shown), marker, color=shade, label=model.name, **look)


def _time(table: Table, row: str, model: Model) -> float | None:
    """RTE in per cent of Retrain's; None where unknown, and for the original model, which does not unlearn."""
    spent, full = table.cell(row, model.name, "RTE"), table.cell("Retrain", model.name, "RTE")
    return 100 * spent.mean / full.mean if spent and full and full.mean and row != "Original" else None


def families(table: Table) -> dict[str, list[Model]]:
    """Models by pruner, with the first dense model in each list; only lists of at least three models."""
    dense = [model for model in table.models if model.sparsity == 0][:1]
    grouped: dict[str, list[Model]] = {}
    for model in table.models:
        if model.sparsity:
            grouped.setdefault(model.pruner, list(dense)).append(model)
    return {pruner: models for pruner, models in grouped.items() if len(models) >= 3}


def against_sparsity(table: Table, models: list[Model], pruner: str) -> Any:
    """A figure of the four metrics and the average gap against the share of pruned weights, with a line per method.

    Lines are means over the seeds, bands one standard deviation. The average gap is the mean of single seeds' gaps, as
    in the ranking, so that deviations above and below Retrain do not cancel.

    Args:
        models: those to draw, with known sparsities below 1.
        pruner: what pruned them, for the title; may be empty.
    """
    rows = [row for row in table.rows if row in ("Retrain", *table.tried())]
    drawn, axes = figure(12.0, 7.0, 2, 3)
    axes[1, 2].axis("off")
    styles = dict(zip(rows, zip(colours(len(rows)), MARKERS * 3, DASHES * 4)))
    shares = [model.sparsity or 0.0 for model in models]
    places = [-math.log10(1 - share) for share in shares]
    for axis, panel in zip(axes.flat, [*METRICS, GAP]):
        for row in rows:
            by_seed = [table.by_seed(row, model.name, AVERAGE if panel == GAP else panel) for model in models]
            values = {
                place: [100 * value for value in seeds.values()] for place, seeds in zip(places, by_seed) if seeds
            }
            shade, marker, dash = styles[row]
            look = {"color": "black", "linewidth": 2.2} if row == "Retrain" else {"color": shade, "linewidth": 1.3}
            _line_with_band(axis, values, look | {"marker": marker, "markersize": 4, "linestyle": dash, "label": row})
        axis.set_xticks(places, [f"{100 * share:.3g}" for share in shares], fontsize=8)
        title = f"{GAP}, of each seed" if panel == GAP else panel
        axis.set(title=title, xlabel="pruned weights (%)", ylabel="points" if panel == GAP else "%")
        axis.grid(alpha=0.3)
    legend(axes[1, 2], axes[0, 0], loc="center")
    by = f"; pruned by {pruner}" if pruner else ""
    drawn.suptitle(f"{table.title}{by}; mean over the seeds ± one standard deviation", fontsize=10)
    return drawn


def _line_with_band(axis: Any, values: dict[float, list[float]], look: dict[str, Any]) -> None:
    """Draw the means of values by their place on the axis, and a band of one standard deviation."""
    if not values:
        return
    means = [statistics.fmean(members) for members in values.values()]
    spreads = [statistics.pstdev(members) for members in values.values()]
    if len(values) == 1:  # a band over a single place would be invisible
        axis.errorbar(list(values), means, yerr=spreads, capsize=2, **look)
        return
    axis.plot(list(values), means, **look)
    ends = [[mean + sign * spread for mean, spread in zip(means, spreads)] for sign in (-1, 1)]
    axis.fill_between(list(values), *ends, color=look["color"], alpha=0.15, linewidth=0)
