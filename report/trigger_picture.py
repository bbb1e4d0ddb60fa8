"""A picture of test images with and without the trigger, and the model's predictions.

matplotlib is imported only when it is drawn.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from report.plots import figure
from utils import files

if TYPE_CHECKING:
    from dataset.poison import Poison
    from dataset.sources import Dataset
    from evaluation.predict import Predictions

EXAMPLES = 8  # most images shown, each of another class


def picture(path: Path, data: Dataset, poison: Poison, outputs: dict[str, dict[str, Predictions]], method: str) -> None:
    """Write a picture of test images, clean and triggered, with the model's predictions before and after unlearning.

    It shows the first test image of each class but the target, at most ``EXAMPLES``; nothing is written without one.

    Args:
        path: of the picture.
        data: its test images are uint8 [N, H, W, C].
        outputs: predictions on all test images, by "before" and "after", then by "test" and "triggered".
        method: name of the unlearning method, for the title.
    """
    present = [label for label in range(len(data.classes)) if (data.test_labels == label).any()]
    labels = [label for label in present if label != poison.target][:EXAMPLES]
    shown = [int((data.test_labels == label).argmax()) for label in labels]
    if not shown:
        return
    clean = data.test_images[shown]
    stamped, window = poison.trigger.stamp(clean), poison.trigger.window(*clean.shape[1:3])
    rows: dict[str, list[tuple[Any, str]]] = {}
    for row, name, images in (("clean", "test", clean), ("triggered", "triggered", stamped)):
        logits = {when: outputs[when][name].logits[shown].argmax(1) for when in ("before", "after")}
        for place, (image, label) in enumerate(zip(images, labels)):
            answers = [f"{when}: {data.classes[predicted[place]]}" for when, predicted in logits.items()]
            rows.setdefault(row, []).append((image, "\n".join([data.classes[label], *answers])))
    pairs = list(zip(clean, stamped))
    rows["without | with"] = [(_enlarged(one, other, window), _changed(one, other)) for one, other in pairs]
    target = data.classes[poison.target]
    title = (
        f"test images, clean and triggered (framed; target {target}), and the model's answer before and after "
        f"{method}; below, the frame's surroundings"
    )
    trigger_examples(path, rows, title, ("triggered", window))


def _enlarged(clean: np.ndarray, stamped: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """The trigger's window and two pixels around it, clean and stamped side by side (uint8 [h, 2 w + 1, C]).

    A white column of one pixel separates the two.
    """
    down, across = (slice(max(0, part.start - 2), part.stop + 2) for part in window)
    one, other = clean[down, across], stamped[down, across]
    return np.concatenate([one, np.full_like(one[:, :1], 255), other], axis=1)


def _changed(clean: np.ndarray, stamped: np.ndarray) -> str:
    changed = int((clean != stamped).any(-1).sum())
    return f"changes {changed} pixel{'s' * (changed > 1)}" if changed else "changes nothing"


def trigger_examples(
    path: Path, rows: dict[str, list[tuple[Any, str]]], title: str, outlined: tuple[str, tuple[slice, slice]]
) -> None:
    """Write a picture of rows of images, each image with up to three lines of text above it.

    Args:
        path: of the picture.
        rows: images (uint8 [H, W, C]) with their texts, by the name left of the row; all rows of one length.
        title: above the picture.
        outlined: name of the row whose images get a frame, and the frame's rows and columns of pixels.
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
