"""The record of one run, which its script writes as ``result.json`` and from which tables and pages are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from utils import lanes
from utils.environment import environment


@dataclass(frozen=True, kw_only=True)
class Result:
    """The findings of one run, and the facts that tables need. Fields that are None are not written.

    Attributes:
        label: the run's name in its folder.
        script: "main_forget.py" for example.
        config: everything that decides the run's numbers, as plain data; its fingerprint is the run's identity.
        status: "done", or "failed" with a ``reason``.
        device: that the run computed on.
        method, paper_name: the unlearning method's name as typed, and as in papers.
        compat: the value of ``--compat``.
        seed: the value of ``--seed``.
        seeds: seeds by purpose: "split", "train" (of the model to unlearn), "forget", "unlearn" and "eval".
        scenario: what is forgotten: ``kind``, ``words``, and the choice in numbers.
        poison: what an attacker did: ``words``, ``digest``, ``target``, ``images``, ``trigger``, and the numbers.
        removed: source classes that are removed before a transfer: ``count``, ``classes``, ``names``.
        removal_order: source classes by number, the first to be removed first.
        target: of a transfer: ``name``, ``classes``, and its numbers of images.
        split: digests of the index arrays, and the number of images in each set.
        model: architecture, data set, sparsity in [0, 1], and where the model comes from.
        adapters: facts about the adapters that were trained instead of the weights (``unlearn.lora.Plan.facts``).
        rounds: one summary per round of training.
        masks: by file name of each saliency mask, the number of weights that it leaves free, in words.
        points: the results of a run that consists of several, such as a curve.
        scores: the paper's scores, fractions in [0, 1]; RTE in minutes.
        original, retrained: UA, MIA-Efficacy, RA and TA of the models that the unlearned one is compared with.
        accuracy: by image set, fractions in [0, 1].
        seconds, memory: by stage, active seconds and peak bytes.
        models_at_once: number of runs that were computed together, this one included; None if it ran alone. Its seconds
            are then its share of the common time.
        units: units of the numbers, in words.
        environment: versions, machine and commit.
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
        """The record of this run as a failed one, with the reason in words."""
        return replace(self, status="failed", reason=reason)

    def plain(self) -> dict[str, Any]:
        """The entries of ``result.json`` without those that ``RunFolder.finish`` adds."""
        entries = {name: value for name, value in asdict(self).items() if value is not None and name != "measured"}
        return {**entries, **self.measured}
