"""Common parts of all figures: size, colours, legend and files. matplotlib is imported only when one is drawn.

Colours are taken from a map of evenly rising lightness, so that they stay distinct in grey print. Lines differ in
dashes and markers too, bars in hatches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils import files

HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Any, Any]:
    """A matplotlib figure and its axes, object array [rows, columns].

    It needs no display, and is freed with its last reference because pyplot does not know it.

    Args:
        width, height: in inches.
        kwargs: further arguments of ``Figure.subplots``.
    """
    from matplotlib import rcdefaults
    from matplotlib.figure import Figure

    rcdefaults()  # a matplotlibrc in the current folder must not change figures
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False, **kwargs)


def colours(count: int) -> list[Any]:
    """``count`` colours (RGBA tuples) from dark to light, the lightest still visible on white."""
    from matplotlib import colormaps

    return [colormaps["cividis"](0.85 * step / max(count - 1, 1)) for step in range(count)]


def save(folder: Path, name: str, picture: Any) -> list[Path]:
    """Write a figure as ``name`` with .png and .svg appended; the two paths, in this order."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        files.write_figure(path, picture)
    return paths


def training_curves(path: Path, result: dict[str, list[float]], title: str) -> None:
    """Write a figure of the accuracy on training and validation images after each epoch.

    Args:
        path: of the picture.
        result: per cent after each epoch, by "train_ta" and "val_ta".
    """
    drawn, axes = figure(6, 4)
    axis = axes[0, 0]
    for key, name, style in (("train_ta", "training", "-"), ("val_ta", "validation", "--")):
        axis.plot(range(1, len(result[key]) + 1), result[key], style, label=name)
    axis.set(xlabel="epoch", ylabel="accuracy (%)", title=title)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    files.write_figure(path, drawn)


def fullest(axes: Any) -> Any:
    """The axes with the most legend entries."""
    return max(axes.flat, key=lambda axis: len(axis.get_legend_handles_labels()[1]))


def legend(owner: Any, axis: Any, **placement: Any) -> None:
    """Add one legend with the names in ``axis``, each once.

    Args:
        owner: the figure or axes that gets the legend.
        placement: arguments of ``legend`` that place it; without any it is below the panels of a figure.
    """
    handles, names = axis.get_legend_handles_labels()
    named = dict(zip(reversed(names), reversed(handles)))
    labels = list(reversed(named))
    placement = placement or {"loc": "outside lower center", "ncols": min(len(labels), 6)}
    owner.legend([named[label] for label in labels], labels, fontsize=8, handlelength=3, **placement)
