"""The record of one run, which its script writes as ``result.json`` and tables, pictures and pages read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from utils import lanes
from utils.environment import environment


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run found, and what tables need to place it. A field that is None is not written.

    Attributes:
        label: names the run in its folder.
        script: "main_forget.py" for example.
        config: everything that decides the run's numbers, as plain data; its fingerprint is the run's identity.
        status: "done", or "failed" with a ``reason``.
        method, paper_name: of unlearning, as typed and as papers have it.
        seeds: of the "split", "train" (of the model to unlearn), "forget" set, "unlearn" and "eval".
        scenario: what is forgotten: ``kind``, ``words``, and the choice in numbers.
        poison: what an attacker did: ``words``, ``digest``, ``target``, ``images``, ``trigger``, and the numbers.
        removed: source classes that are removed before a transfer: ``count``, ``classes``, ``names``.
        removal_order: source classes by number, the first to be removed first.
        target: of a transfer: ``name``, ``classes``, and its numbers of images.
        split: digests of the index arrays, and the number of images in each set.
        model: architecture, data set, sparsity in [0, 1], and where the model comes from.
        adapters: what trained in place of the weights (``unlearn.lora.Plan.facts``).
        rounds: one summary per round of training.
        masks: how many weights each saliency mask leaves free, in words, by file name.
        points: the rows of a run of several stages.
        scores: the paper's scores, fractions in [0, 1]; RTE in minutes.
        original, retrained: UA, MIA-Efficacy, RA and TA of the models that the unlearned one is set beside.
        accuracy: by image set, fractions in [0, 1].
        seconds, memory: what each stage took, in active seconds and bytes.
        models_at_once: runs that were computed together with this one, itself included, if it was not alone; its
            seconds are then its share of theirs.
        units: of the numbers, in words.
        measured: further findings by name; each is an entry of its own in the file.
    """

    label: str
    script: str
    config: dict[str, Any]
    device: str
    status: str = "done"
    reason: str | None = None
    method: str | None = None
    paper_name: str | None = None
    compat: str | None = None
    seed: int | None = None
    seeds: dict[str, int | None] | None = None
    scenario: dict[str, Any] | None = None
    poison: dict[str, Any] | None = None
    removed: dict[str, Any] | None = None
    removal_order: tuple[int, ...] | None = None
    target: dict[str, Any] | None = None
    split: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    adapters: dict[str, Any] | None = None
    rounds: list[dict[str, Any]] | None = None
    masks: dict[str, str] | None = None
    points: list[dict[str, Any]] | None = None
    scores: dict[str, Any] | None = None
    original: dict[str, float] | None = None
    retrained: dict[str, float] | None = None
    accuracy: dict[str, float | None] | None = None
    seconds: dict[str, float | None] | None = None
    memory: dict[str, int | None] | None = None
    models_at_once: int | None = field(default_factory=lanes.count)
    units: str | None = None
    environment: dict[str, Any] = field(default_factory=environment)
    measured: dict[str, Any] = field(default_factory=dict)

    def failed(self, reason: str) -> Result:
        """The record of a run that ended so."""
        return replace(self, status="failed", reason=reason)

    def plain(self) -> dict[str, Any]:
        """The entries of ``result.json`` but for those that the file adds itself."""
        entries = {name: value for name, value in asdict(self).items() if value is not None and name != "measured"}
        return {**entries, **self.measured}
