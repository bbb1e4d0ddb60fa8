"""Pictures; matplotlib is imported only when one is drawn.

Colours are steps of one map whose lightness rises evenly, so that grey prints keep them apart;
lines differ in dashes and markers too, bars in hatches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def save(folder: Path, name: str, picture: Any) -> list[Path]:
    """Write a figure as PNG and as SVG."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        files.write_figure(path, picture)
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


def fullest(axes: Any) -> Any:
    """The panel of a figure in which most is named."""
    return max(axes.flat, key=lambda axis: len(axis.get_legend_handles_labels()[1]))


def legend(owner: Any, axis: Any, **placement: Any) -> None:
    """One legend for all panels with the names in ``axis``, each once; a figure's is below them by default."""
    handles, names = axis.get_legend_handles_labels()
    named = dict(zip(reversed(names), reversed(handles)))
    labels = list(reversed(named))
    placement = placement or {"loc": "outside lower center", "ncols": min(len(labels), 6)}
    owner.legend([named[label] for label in labels], labels, fontsize=8, handlelength=3, **placement)
