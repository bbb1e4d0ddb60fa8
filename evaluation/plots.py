"""Pictures; matplotlib is imported only when one is drawn.

Colours are steps of one map whose lightness rises evenly, so that grey prints keep them apart;
lines differ in dashes and markers too, bars in hatches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from evaluation.transfer import ACCURACIES, Transfer
from utils import files

HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Any, Any]:
    """A figure in inches with its axes; it needs no screen and goes away with its last reference."""
    from matplotlib import rcdefaults
    from matplotlib.figure import Figure

    rcdefaults()  # whatever a matplotlibrc in the current folder says
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False, **kwargs)


def colours(count: int) -> list[Any]:
    """``count`` colours from dark to light, the lightest still visible on white."""
    from matplotlib import colormaps

    return [colormaps["cividis"](0.85 * step / max(count - 1, 1)) for step in range(count)]


def save(folder: Path, name: str, drawn: Any) -> list[Path]:
    """Write a figure as PNG and as SVG."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        files.write_figure(path, drawn)
    return paths


def training_curves(path: Path, result: dict[str, list[float]], title: str) -> None:
    """Accuracy on the training and validation images after each epoch, in per cent."""
    drawn, axes = figure(6, 4)
    axis = axes[0, 0]
    for key, name, style in (("train_ta", "training", "-"), ("val_ta", "validation", "--")):
        axis.plot(range(1, len(result[key]) + 1), result[key], style, label=name)
    axis.set(xlabel="epoch", ylabel="accuracy (%)", title=title)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    files.write_figure(path, drawn)


BEFORE_AFTER = {  # hollow and dashed, filled and solid: told apart in grey, and where there is one point and no line
    "before": {"linestyle": "--", "marker": "s", "markerfacecolor": "white", "markersize": 9},
    "after": {"linestyle": "-", "marker": "o", "markersize": 5},
}


def backdoor_curve(path: Path, points: list[dict[str, Any]], title: str, method: str, share: float) -> None:
    """Attack success and accuracy against sparsity, before and after unlearning, as in the paper's figure of Trojan cleanse.

    Args:
        points: as ``evaluation.backdoor.table`` takes them.
        share: of the target class among the test images, in [0, 1]: the attack success of a perfect clean model.
    """
    drawn, axes = figure(9, 4.0, 1, 2)
    places = range(len(points))
    for axis, name, words in zip(
        axes[0], ("ASR", "SA"), ("attack success (ASR, %)", "accuracy on clean images (SA, %)")
    ):
        for when, shade, side, up in (("before", "black", "right", 6), ("after", "C0", "left", -11)):
            values = [100 * point[when][name] for point in points]
            look = {"color": shade, "clip_on": False, "zorder": 3, **BEFORE_AFTER[when]}
            axis.plot(places, values, label=f"{when} {method}", **look)
            for place, value in zip(places, values):
                aside = (8 if side == "left" else -8, up)
                text = {"textcoords": "offset points", "ha": side, "fontsize": 7, "color": shade}
                axis.annotate(f"{value:.1f}", (place, value), aside, **text)
        axis.set_xticks(places, [f"{100 * point['sparsity']:.4g} %" for point in points])
        axis.set(xlabel="sparsity", ylabel=words, ylim=(-6, 109), xlim=(-0.4, len(points) - 0.6))
        axis.grid(alpha=0.3)
    axes[0, 0].axhline(100 * share, color="grey", linestyle=":", label="share of the target class")
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    drawn.suptitle(textwrap.fill(title, 120), fontsize=10)
    files.write_figure(path, drawn)


def trigger_examples(
    path: Path, rows: dict[str, list[tuple[Any, str]]], title: str, outlined: tuple[str, tuple[slice, slice]]
) -> None:
    """Rows of images (uint8 [H, W, C], or [H, 2 W + 1, C] for two side by side), each with up to three lines above it.

    Args:
        rows: by what stands left of a row; all of one length.
        outlined: the row whose images get a frame around these rows and columns of pixels.
    """
    from matplotlib.patches import Rectangle

    count = len(next(iter(rows.values())))
    drawn, axes = figure(1.7 * count + 0.6, 2.15 * len(rows) + 0.5)
    axis, step, (framed, (down, across)) = axes[0, 0], 1.36, outlined
    for line, (name, row) in enumerate(rows.items()):
        shares = [0.94 * min(1, image.shape[0] / image.shape[1]) for image, _ in row]
        axis.text(-0.06, -step * line - shares[0] / 2, name, ha="right", va="center", fontsize=8, rotation=90)
        for column, (image, words) in enumerate(row):
            top, (height, width) = -step * line, image.shape[:2]
            axis.imshow(image, extent=(column, column + 0.94, top - shares[column], top), interpolation="nearest")
            axis.text(column + 0.47, top + 0.03, words, ha="center", va="bottom", fontsize=7)
            if name == framed:
                corner = (column + 0.94 * across.start / width, top - shares[column] * down.stop / height)
                size = (0.94 * (across.stop - across.start) / width, shares[column] * (down.stop - down.start) / height)
                axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor="#ff3b30", linewidth=1.5, zorder=3))
    axis.set(xlim=(-0.25, count), ylim=(-step * (len(rows) - 1) - shares[0] - 0.04, 0.42))
    axis.axis("off")
    drawn.suptitle(textwrap.fill(title, 24 * count), fontsize=9)
    files.write_figure(path, drawn)


def transfer_curves(path: Path, table: Transfer) -> None:
    """Accuracy on source and target against the number of removed classes, and the minutes of unlearning.

    Bars are standard deviations over seeds.
    """
    panels = {"source": "source, remaining classes", "target": "target", "unlearning": "unlearning"}
    drawn, axes = figure(3.6 * len(panels), 3.4, 1, len(panels))
    for axis, (metric, title) in zip(axes[0], panels.items()):
        factor = 100 if metric in ACCURACIES else 1 / 60
        for number, (name, points) in enumerate(table.lines.items()):
            cells = {count: found[metric] for count, found in points.items() if metric in found}
            heights, spread = (
                [factor * cell.mean for cell in cells.values()],
                [factor * cell.std for cell in cells.values()],
            )
            axis.errorbar(
                list(cells), heights, spread, color=f"C{number}", marker="os^Dv"[number % 5], capsize=3, label=name
            )
        axis.set(
            title=title, xlabel="source classes removed", ylabel="accuracy (%)" if metric in ACCURACIES else "minutes"
        )
        axis.set_xticks(sorted({count for points in table.lines.values() for count in points}))
        axis.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=8)
    drawn.suptitle(table.title, fontsize=10)
    files.write_figure(path, drawn)
