"""Pictures of population attacks: ROC curves, the vulnerability of single images, the most and least forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.populations.all_attacks import ATTACKS, Finding, Findings
from report.marks import reference
from report.page import Section
from report.plots import DASHES, colours, figure, fullest, legend
from utils.names import file_name

if TYPE_CHECKING:
    from dataset.gallery import Gallery
    from report.writer import Report

SHOWN = 8  # most and least forgotten images shown of each method
CONTROL = {"Original": {"color": "black", "linestyle": "-"}, "Retrain": {"color": "0.55", "linestyle": "-"}}
SHARES = (1e-3, 1)  # limits of both axes of the ROC curves
NAMES = [name for names in ATTACKS.values() for name in names if name != "KLoM"]


def add(report: Report, by_density: dict[str, Findings], gallery: Gallery | None) -> None:
    """Add a section with all pictures of population attacks to the report.

    Args:
        by_density: findings by the name of the model, "dense" or "95 % sparse" for example.
        gallery: the data set's images; None if they cannot be shown.
    """
    section = Section("ROC curves, and single images")
    pictures = {"roc": roc(by_density), "vulnerability": vulnerability(by_density)}
    if gallery is not None:
        pictures |= {
            file_name(f"images-{title}"): images(title, findings, gallery) for title, findings in by_density.items()
        }
    report.draw(section, {name: picture for name, picture in pictures.items() if picture is not None})
    if section.pictures:
        report.sections.append(section)


def roc(by_density: dict[str, Findings]) -> Any | None:
    """A figure of true against false positive rates on log axes: a row of panels per model, a column per attack.

    The offline form of an attack is left out where the online one was run. None if no attack was run.
    """
    attacked = {finding.attack for findings in by_density.values() for finding in findings.found}
    names = [name for name in NAMES if name in attacked and name.replace("offline", "online") not in attacked - {name}]
    if not names:
        return None
    size = (max(2.9 * len(names), 5.0), 0.8 + 2.9 * len(by_density))
    drawn, axes = figure(*size, len(by_density), len(names), sharex=True, sharey=True)
    looks = _looks(by_density)
    for line, (title, findings) in enumerate(by_density.items()):
        for column, name in enumerate(names):
            axis = axes[line, column]
            axis.plot([1e-9, 1], [1e-9, 1], ":", color="0.6", linewidth=1, label="nothing to find")
            for finding in findings.found:
                if finding.attack == name and finding.curve is not None:
                    axis.plot(
                        *finding.curve, label=finding.row, linewidth=1.4, drawstyle="steps-post", **looks[finding.row]
                    )
            axis.set(xscale="log", yscale="log", xlim=SHARES, ylim=SHARES)
            axis.set_title(f"{name}, {title}", fontsize=9)
            axis.set_xlabel("false positive rate" if line == len(by_density) - 1 else "")
            axis.set_ylabel("true positive rate" if column == 0 else "")
            axis.grid(alpha=0.3)
    legend(drawn, fullest(axes))
    return drawn


def vulnerability(by_density: dict[str, Findings]) -> Any | None:
    """A figure of the share of images on which U-LiRA reaches at least a given balanced accuracy, a panel per model.

    None if U-LiRA was not run.
    """
    by_title = {title: _by_image(findings) for title, findings in by_density.items()}
    if not any(by_title.values()):
        return None
    drawn, axes = figure(4.2 * max(len(by_title), 2), 4.2, 1, len(by_title), sharey=True)
    looks = _looks(by_density)
    for axis, (title, findings) in zip(axes.flat, by_title.items()):
        axis.axvline(50, linestyle=":", color="0.6", linewidth=1)
        for finding in findings:
            assert finding.per_image is not None, "U-LiRA judges images"
            values = np.sort(100 * finding.per_image[~np.isnan(finding.per_image)])
            edges = np.concatenate([[0], values, values[-1:]])
            shares = 100 * np.append(1, np.arange(len(values), -1, -1) / len(values))
            axis.step(edges, shares, where="pre", label=finding.row, linewidth=1.5, **looks[finding.row])
        axis.set(title=title, xlim=(0, 101), ylim=(0, 101))
        axis.set_xlabel("balanced accuracy of U-LiRA on an image, at least (%)", fontsize=8)
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("share of the images (%)")
    legend(drawn, fullest(axes))
    return drawn


def images(title: str, findings: Findings, gallery: Gallery) -> Any | None:
    """A figure with a row per method: its least forgotten images, which U-LiRA detects best, and its most forgotten.

    Args:
        title: name of the model, for the figure's title.
    Returns:
        None if U-LiRA was run on no method.
    """
    chosen = {finding.row: ends(finding) for finding in _by_image(findings) if not reference(finding.row)}
    if not chosen:
        return None
    columns = 2 * SHOWN + 1
    drawn, axes = figure(0.72 * columns + 1.4, 0.85 * len(chosen) + 0.6, len(chosen), columns)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
    for line, (row, (most, least)) in enumerate(chosen.items()):
        axes[line, 0].set_ylabel(row, rotation=0, ha="right", va="center", fontsize=8)
        for start, group in ((0, least), (SHOWN + 1, most)):
            for place, index in enumerate(group):
                axis = axes[line, start + place]
                axis.imshow(gallery.images[index].squeeze(), cmap="gray", vmin=0, vmax=255)
                axis.set_title(f"{gallery.classes[gallery.labels[index]][:9]}\n{index}", fontsize=5.5, pad=1.5)
    drawn.suptitle(f"{title}: least forgotten (left) and most forgotten (right), with class and position", fontsize=9)
    return drawn


def ends(finding: Finding) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the most and of the least forgotten images, int64 [n] each with n at most ``SHOWN``.

    An image is the more forgotten, the lower the accuracy of U-LiRA on it. Ties are broken by ``finding.lead``, how
    much higher the image scores where it was forgotten than where it was never seen; the smaller, the more forgotten.
    """
    assert finding.per_image is not None and finding.lead is not None, "U-LiRA judges images"
    known = np.flatnonzero(~np.isnan(finding.per_image))
    order = known[np.lexsort((finding.lead[known], finding.per_image[known]))]
    shown = min(SHOWN, len(order) // 2)
    return order[:shown], order[::-1][:shown]


def _by_image(findings: Findings) -> list[Finding]:
    """The findings of U-LiRA, which alone judges each image."""
    return [finding for finding in findings.found if finding.attack == NAMES[0]]


def _looks(by_density: dict[str, Findings]) -> dict[str, dict[str, Any]]:
    """Colour and line style of every row, so that all panels use the same."""
    rows = list(dict.fromkeys(finding.row for findings in by_density.values() for finding in findings.found))
    others = [row for row in rows if row not in CONTROL]
    looks = {
        row: {"color": shade, "linestyle": DASHES[place % len(DASHES)]}
        for place, (row, shade) in enumerate(zip(others, colours(len(others))))
    }
    return looks | {row: look for row, look in CONTROL.items() if row in rows}
