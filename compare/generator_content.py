"""The data that a page of generators shows: pictures, the judge's answers to them, and scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from compare.packed import Packed
from compare.page_content import Content
from compare.scored_entries import Scored
from compare.thumbnails import Sheet, fitting

TILES = 12_000  # most pictures on a page
SCORES = {  # by entry of result.json: title, and whether it is a fraction shown in per cent
    "UA": ("UA", True),
    "RA": ("RA", True),
    "rejected": ("rejected", True),
    "plausibility": ("plausible", True),
    "fd_judge": ("FD(judge)", False),
    "fd_floor": ("floor", False),
    "fd_judge_retrain": ("FD(judge, retrain)", False),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "diversity": ("diversity", False),
    "rejected_retained": ("rejected of others", True),
    "fid": ("FID", False),
    "inception_score": ("Inception Score", False),
}
DRAWING = ("n_samples_per_class", "sample_type", "skip_type", "timesteps", "eta", "cond_scale")  # flags of drawing


def collect(entries: Sequence[Scored]) -> Content:
    """The page's data without the pictures themselves.

    Arrays have a row per picture, the pictures of all generators one after the other.
    """
    names, arrays, starts = entries[0].judged.names, Packed(), _starts(entries)
    pictured = np.concatenate([start + places for start, places in zip(starts, _shown(entries))])
    arrays.add("model", np.repeat(np.arange(len(entries)), [len(one.judged.labels) for one in entries]))
    arrays.add("label", np.concatenate([one.judged.labels for one in entries]))
    arrays.add("answer", np.concatenate([one.judged.answers for one in entries]))
    arrays.add_rounded("confidence", np.concatenate([one.judged.confidence for one in entries]).astype(np.float64))
    arrays.add("pictured", pictured)
    first = entries[0].result
    known = [key for key in SCORES if any(one.result.get(key) is not None for one in entries)]
    plain = {
        "dataset": first["model"]["dataset"],
        "classes": [str(name) for name in names],
        "gone": list(entries[0].forgotten),
        "scores": [{"key": key, "title": SCORES[key][0], "share": SCORES[key][1]} for key in known],
        "models": [_about(one, known) for one in entries],
        "first": _first(entries),
        "forgotten": (first.get("scenario") or {}).get("words", "nothing that the scores know of"),
        "judge": {"name": first["judge"], "accuracy": first["judge_accuracy"]},
        "arrays": arrays.index,
    }
    return Content("generators", plain, arrays, pictured, _remarks(entries))


def sheet(entries: Sequence[Scored], most: int) -> Sheet:
    """The pictures of the rows ``Content.pictured``, in their order, as one picture.

    Args:
        most: bytes that it should not exceed; its quality is reduced until it fits, if possible.
    """
    chosen = zip(entries, _shown(entries))
    tiles = [one.judged.pictures[np.searchsorted(one.judged.pictured, places)] for one, places in chosen]
    side = max(each.shape[1] for each in tiles)
    return fitting(np.concatenate([_enlarged(each, side) for each in tiles]), most)


def _enlarged(tiles: np.ndarray, side: int) -> np.ndarray:
    if tiles.shape[1] == side:
        return tiles
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
    return F.interpolate(images, (side, side), mode="nearest").byte().permute(0, 2, 3, 1).numpy()


def _starts(entries: Sequence[Scored]) -> list[int]:
    return np.cumsum([0, *(len(one.judged.labels) for one in entries)]).tolist()


def _shown(entries: Sequence[Scored]) -> list[np.ndarray]:
    """For each generator the places of its pictures on the page: as many of every class as there is room for."""
    each = max(1, TILES // sum(len(one.judged.drawn) for one in entries))
    shown = []
    for one in entries:
        labels = one.judged.labels[one.judged.pictured]
        kept = [one.judged.pictured[labels == label][:each] for label in one.judged.drawn]
        shown.append(np.sort(np.concatenate(kept)))
    return shown


def _about(entry: Scored, known: Sequence[str]) -> dict[str, Any]:
    """The page's entry of a generator: names, commands, scores and run time."""
    drawn, seconds = entry.judged.drawn.tolist(), entry.run.get("seconds") or {}
    return {
        "name": entry.name,
        "unlearned": entry.unlearned,
        "retrained": entry.retrained,
        "arch": entry.result["model"]["arch"],
        "command": "\n".join(filter(None, dict.fromkeys((entry.command(), entry.command(scores=True))))),
        "scores": dict(zip(known, _plain([entry.result.get(key) for key in known]))),
        "seconds": seconds.get("unlearning", seconds.get("training")),
        "distance": dict(zip(drawn, _plain(entry.judged.distance))),
        "floor": dict(zip(drawn, _plain(entry.judged.floor))),
    }


def _plain(values: Iterable[float | None]) -> list[float | None]:
    """Numbers that JSON can hold: None in place of those that are missing or not finite."""
    return [float(value) if value is not None and np.isfinite(value) else None for value in values]


def _first(entries: Sequence[Scored]) -> list[int]:
    """Places of the two generators that the page shows first: one that unlearned, and Retrain, or else the first."""
    reference = next((place for place, one in enumerate(entries) if one.retrained), 0)
    others = [place for place in range(len(entries)) if place != reference]
    return [next((place for place in others if entries[place].unlearned), others[0]), reference]


def _remarks(entries: Sequence[Scored]) -> list[str]:
    """Sentences about generators whose pictures were drawn with other flags, and about pictures that are left out."""
    remarks = []
    first = entries[0].result["config"]["settings"]
    for one in entries[1:]:
        own = one.result["config"]["settings"]
        differ = [f"--{key} {own.get(key)}, not {first.get(key)}" for key in DRAWING if own.get(key) != first.get(key)]
        if differ:
            remarks.append(f"{one.name} was drawn otherwise than {entries[0].name}: {'; '.join(differ)}.")
    total, shown = sum(len(one.judged.labels) for one in entries), sum(map(len, _shown(entries)))
    if shown < total:
        remarks.append(f"{shown:,} of {total:,} pictures are shown; answers and scores are of all.")
    return remarks
