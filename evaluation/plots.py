"""Pictures; matplotlib is imported only when one is drawn."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from utils import files


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure in inches with its axes, drawn without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)


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
