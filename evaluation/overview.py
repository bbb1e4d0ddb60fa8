"""A table as pictures: bars, at a glance, against sparsity, cost against gap. matplotlib is imported only when one is drawn."""
from __future__ import annotations

import math
from typing import Any

from evaluation.plots import DASHES, HATCHES, MARKERS, colours, figure
from evaluation.results import METRICS, Table
from evaluation.rows import Model

GAP = "average gap to Retrain"
EDGED = {"markeredgecolor": "black", "linestyle": "none"}


def pictures(table: Table) -> dict[str, Any]:
    """Figures by the end of their file names; those that there is too little for are left out."""
    if not any(table.runs(row, model.name) for row in table.rows for model in table.models):
        return {}
    drawn = {"bars": bars(table)} if len(table.models) <= len(HATCHES) else {}
    if any(table.average_gap(row, model.name) is not None for row in others(table) for model in table.models):
        drawn |= {"glance": glance(table), "cost": cost(table)}
    for pruner, models in families(table).items():
        drawn["sparsity" + (f"-{pruner}" if len(families(table)) > 1 else "")] = against_sparsity(table, models, pruner)
    return drawn


def others(table: Table) -> list[str]:
    """Rows with any run, without Retrain, which every other row is held against."""
    return [row for row in table.rows if row != "Retrain" and any(table.runs(row, model.name) for model in table.models)]


def height(table: Table, row: str, model: Model, panel: str) -> tuple[float, float] | None:
    """Mean and standard deviation of a metric in per cent, or the average gap in points."""
    if panel == GAP:
        gap = table.average_gap(row, model.name)
        return None if gap is None else (100 * gap, 0.0)
    cell = table.cell(row, model.name, panel)
    return None if cell is None else (100 * cell.mean, 100 * cell.std)


def bars(table: Table) -> Any:
    """The four metrics and the average gap, one bar per method and model; whiskers are one standard deviation.

    A line across each bar is Retrain on the same model, which every other method should meet.
    """
    methods, shades = others(table), colours(len(table.models))
    drawn, axes, panels = grid(min(max(4.0, 1.0 + 0.22 * len(methods) * len(table.models)), 6.0))
    width = 0.8 / len(table.models)
    for axis, panel in panels.items():
        for place, (model, shade) in enumerate(zip(table.models, shades)):
            exact = height(table, "Retrain", model, panel) if panel != GAP else None
            for position, row in enumerate(methods):
                found, where = height(table, row, model, panel), position + (place - (len(table.models) - 1) / 2) * width
                if found is not None:
                    axis.bar(where, found[0], width * 0.92, yerr=found[1] or None, capsize=2, color=shade, **_bar(place, shade), label=model.name)
                if found is not None and exact is not None:
                    axis.hlines(exact[0], where - width / 2, where + width / 2, colors="white", linewidths=3.5, zorder=3)
                    axis.hlines(exact[0], where - width / 2, where + width / 2, colors="black", linewidths=1.5, zorder=4, label="Retrain, same model")
        axis.set_xticks(range(len(methods)), methods, rotation=50, ha="right", fontsize=8)
        axis.set(ylim=(0, None if panel == GAP else 105))
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    legend(axes[1, 2], axes[0, 0], loc="center")
    drawn.suptitle(table.title, fontsize=10)
    return drawn


def grid(width: float) -> tuple[Any, Any, dict[Any, str]]:
    """A figure with a panel of ``width`` inches for each metric and for the average gap, and room for the legend in the last one."""
    drawn, axes = figure(3 * width, 7.0, 2, 3)
    axes[1, 2].axis("off")
    panels = dict(zip(axes.flat, [*METRICS, GAP]))
    for axis, panel in panels.items():
        axis.set(title=panel, ylabel="points" if panel == GAP else "%")
    return drawn, axes, panels


def _bar(place: int, shade: Any) -> dict[str, Any]:
    dark = sum(shade[:3]) < 1.2
    return {"hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white" if dark and HATCHES[place % len(HATCHES)] else "black", "linewidth": 0.5, "ecolor": "0.35"}


def legend(owner: Any, axis: Any, **where: Any) -> None:
    """One legend for all panels with the names in ``axis``, each once; of a figure, below them unless told otherwise."""
    named = dict(zip(reversed(axis.get_legend_handles_labels()[1]), reversed(axis.get_legend_handles_labels()[0])))
    labels = list(reversed(named))
    where = where or {"loc": "outside lower center", "ncols": min(len(labels), 6)}
    owner.legend([named[label] for label in labels], labels, fontsize=8, handlelength=3, **where)


def glance(table: Table) -> Any:
    """One radar per method: how near each metric is to Retrain's, and what share of Retrain's time is saved.

    The rim is Retrain's score, at no cost. With more than four models, the dense and the sparsest one.
    """
    models = table.models if len(table.models) <= 4 else [table.models[0], table.models[-1]]
    methods = [row for row in others(table) if any(table.average_gap(row, model.name) is not None for model in models)]
    spokes = ["UA", "MIA", "RA", "TA", "time saved"]
    nearness = {(row, model.name): _nearness(table, row, model) for row in methods for model in models}
    lowest = min((value for values in nearness.values() if values for value in values[:-1]), default=0.0)
    centre = max(0.0, 10 * math.floor((lowest - 5) / 10))
    columns = min(len(methods), 4)
    drawn, axes = figure(3.7 * columns, 1.0 + 2.9 * math.ceil(len(methods) / columns), math.ceil(len(methods) / columns), columns, subplot_kw={"projection": "polar"})
    angles = [2 * math.pi * step / len(spokes) for step in range(len(spokes))]
    for axis, row in zip(axes.flat, methods):
        for place, (model, shade) in enumerate(zip(models, colours(len(models)))):
            values = nearness[row, model.name]
            if values is not None:
                around = [max(value, centre) for value in values]
                axis.plot([*angles, angles[0]], [*around, around[0]], linestyle=DASHES[place], color=shade, linewidth=1.8, marker=MARKERS[place], markersize=4, label=model.name)
                axis.fill(angles, around, color=shade, alpha=0.08)
        axis.set_theta_offset(math.pi / 2)
        axis.set_theta_direction(-1)
        axis.set_xticks(angles, spokes, fontsize=7)
        for label, angle in zip(axis.get_xticklabels(), angles):
            label.set_horizontalalignment("center" if abs(math.sin(angle)) < 0.1 else "left" if math.sin(angle) > 0 else "right")
        axis.set_ylim(centre, 100)
        ticks = [centre + (100 - centre) * step / 4 for step in (1, 2, 3, 4)]
        axis.set_yticks(ticks, [f"{tick:.4g}" for tick in ticks], fontsize=6, color="0.35")
        axis.set_rlabel_position(36)
        axis.set_title(row, fontsize=9)
    for axis in list(axes.flat)[len(methods):]:
        axis.set_visible(False)
    legend(drawn, axes.flat[0])
    drawn.suptitle(f"{table.title}\n100 minus the gap to Retrain (points); time saved in % of Retrain's; the centre is {centre:g} or less", fontsize=9)
    return drawn


def _nearness(table: Table, row: str, model: Model) -> list[float] | None:
    """Per cent: 100 minus the four gaps, then the share of Retrain's time that is saved; None where a gap is not known."""
    gaps = [table.gap(row, model.name, metric) for metric in METRICS]
    if None in gaps:
        return None
    spent, full = table.cell(row, model.name, "RTE"), table.cell("Retrain", model.name, "RTE")
    saved = max(0.0, 1 - spent.mean / full.mean) if spent and full and full.mean else 0.0
    return [100 - 100 * gap for gap in gaps] + [100 * saved]


def families(table: Table) -> dict[str, list[Model]]:
    """Models by pruner, dense ones in each, where there are at least three sparsities."""
    known = [model for model in table.models if model.sparsity is not None]
    dense = [model for model in known if model.sparsity == 0][:1]
    pruners = list(dict.fromkeys(model.pruner for model in known if model.sparsity))
    grouped = {pruner: dense + [model for model in known if model.sparsity and model.pruner == pruner] for pruner in pruners}
    return {pruner: models for pruner, models in grouped.items() if len(models) >= 3}


def against_sparsity(table: Table, models: list[Model], pruner: str) -> Any:
    """The four metrics and the average gap over the pruned share of the weights, one line per method; bars are one standard deviation."""
    rows = [row for row in table.rows if row in ("Retrain", *others(table))]
    drawn, axes, panels = grid(4.0)
    styles = dict(zip(rows, zip(colours(len(rows)), MARKERS * 3, DASHES * 4)))
    for axis, panel in panels.items():
        for row in rows:
            points = [(-math.log10(1 - model.sparsity), height(table, row, model, panel)) for model in models]
            places = [(place, *found) for place, found in points if found is not None]
            if places:
                shade, marker, dash = styles[row]
                look = {"color": "black", "linewidth": 2.2} if row == "Retrain" else {"color": shade, "linewidth": 1.3}
                axis.errorbar(*zip(*((place, value) for place, value, _ in places)), yerr=[spread for *_, spread in places], marker=marker, markersize=4, linestyle=dash, capsize=2, label=row, **look)
        axis.set_xticks([-math.log10(1 - model.sparsity) for model in models], [f"{100 * model.sparsity:.3g}" for model in models], fontsize=8)
        axis.set(xlabel="pruned weights (%)")
        axis.grid(alpha=0.3)
    legend(axes[1, 2], axes[0, 0], loc="center")
    drawn.suptitle(table.title + (f"; pruned by {pruner}" if pruner else ""), fontsize=10)
    return drawn


def cost(table: Table) -> Any:
    """Average gap to Retrain over the minutes that unlearning took: markers tell methods apart, shades models.

    Where there are more methods than markers, each model has a panel of its own with the methods' names in it. What doing
    nothing (Original) leaves of the gap takes no time and is a line across.
    """
    rows = [row for row in table.rows if row in ("Retrain", *others(table)) and row != "Original"]
    named = len(rows) > len(MARKERS)
    count = len(table.models) if named else 1
    drawn, axes = figure(7.5, 5.0 * count if named else 4.2, rows=count, sharex=True)
    panels = list(axes[:, 0]) if named else [axes[0, 0]] * len(table.models)
    points: dict[Any, dict[str, tuple[float, float]]] = {axis: {} for axis in panels}
    for model, shade, axis in zip(table.models, colours(len(table.models)), panels):
        for row, marker in zip(rows, ["o"] * len(rows) if named else MARKERS):
            gap, spent = table.average_gap(row, model.name), table.cell(row, model.name, "RTE")
            if gap is not None and spent is not None and spent.mean > 0:
                axis.plot(spent.mean, 100 * gap, marker, color=shade, markersize=8, clip_on=False, zorder=3, **EDGED)
                points[axis][row] = (spent.mean, 100 * gap)
                if not named:
                    axis.plot([], [], marker, color="white", markersize=8, label=row, **EDGED)
    for model, shade, axis in zip(table.models, colours(len(table.models)), panels):
        axis.plot([], [], "s", color=shade, markersize=10, label=model.name, **EDGED)
        nothing = table.average_gap("Original", model.name)
        if nothing is not None:
            axis.axhline(100 * nothing, color=shade, linestyle=":", linewidth=2, label=f"Original, {model.name}")
    for axis in axes[:, 0]:
        axis.set(xscale="log", ylabel="average gap to Retrain (points)")
        axis.set_ylim(bottom=0)
        _decades(axis)
        legend(axis if named else drawn, axis, loc="best" if named else "outside right center")
    axes[-1, 0].set(xlabel="RTE: minutes that unlearning took")
    drawn.suptitle(table.title, fontsize=10)
    if named:
        drawn.draw_without_rendering()  # from here on the axes stay where they are
        for axis in panels:
            _name(axis, points[axis])
    return drawn


PLACES = [(6, 3, "left"), (6, -9, "left"), (-6, 3, "right"), (-6, -9, "right"), (0, 8, "center"), (0, -14, "center")]  # of a name beside its marker, in points


def _name(axis: Any, points: dict[str, tuple[float, float]]) -> None:
    """Write each name beside its marker, where it covers least of the names before it, of markers and of what is outside the axes."""
    to_points = 72 / axis.figure.dpi
    centres = {row: tuple(axis.transData.transform(point) * to_points) for row, point in points.items()}
    (left, low), (right, high) = axis.bbox.get_points() * to_points
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres.values()]
    for row, (x, y) in sorted(centres.items(), key=lambda item: -item[1][1]):
        width = 4.3 * len(row)  # of letters of seven points
        boxes = []
        for across, up, side in PLACES:
            start = x + across - {"left": 0, "center": width / 2, "right": width}[side]
            boxes.append((start, y + up, start + width, y + up + 7))
        covered = [
            sum(_overlap(box, other) for other in taken) + 1e3 * (box[0] < left or box[2] > right or box[1] < low or box[3] > high) for box in boxes
        ]
        best = covered.index(min(covered))
        across, up, side = PLACES[best]
        taken.append(boxes[best])
        axis.annotate(row, points[row], (across, up), textcoords="offset points", ha=side, fontsize=7, zorder=4).set_in_layout(False)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Area that two boxes share; a box is left, low, right, high."""
    return max(0.0, min(one[2], other[2]) - max(one[0], other[0])) * max(0.0, min(one[3], other[3]) - max(one[1], other[1]))


def _decades(axis: Any) -> None:
    """Label a logarithmic axis of minutes at 1, 2 and 5, or at powers of ten where that were too many."""
    from matplotlib.ticker import LogLocator, NullLocator

    least, most = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 1e4 * least else (1,)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.3, which="both")
    axis.set_axisbelow(True)
