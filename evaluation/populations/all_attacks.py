"""All attacks on the models of one density: each method against the same originals and retrained models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evaluation.populations.klom import klom
from evaluation.populations.lira import lira
from evaluation.populations.outputs import Outputs, for_klom, for_lira, for_rmia, for_ulira
from evaluation.populations.rmia import rmia
from evaluation.populations.roc import Bootstrap, curve, interval, roc, samples, thinned
from evaluation.populations.ulira import halved, mean, pooled, ulira
from utils.errors import UsageError

ATTACKS = {  # names of findings, by the word that --attack takes
    "ulira": ("U-LiRA", "U-LiRA against Retrain"),
    "lira": ("LiRA online", "LiRA offline"),
    "rmia": ("RMIA online", "RMIA offline"),
    "klom": ("KLoM",),
}
ENOUGH = 64  # with fewer shadow models on a side, LiRA takes one variance for all images
REFERENCES = 64  # RMIA takes at most so many reference models

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Models:
    """The models of one density.

    Attributes:
        shadows: models that LiRA and RMIA learn from: originals, each once, or retrained models if there are none.
        retrained: models that the judged ones are compared with.
        rows: models to judge by row: each method's, and as controls the originals and the retrained models.
    """

    shadows: list[Outputs]
    retrained: list[Outputs]
    rows: dict[str, list[Outputs]]


@dataclass(frozen=True, eq=False)
class Finding:
    """The result of one attack on one row.

    Attributes:
        attack: name of the attack, from ``ATTACKS``.
        row: name of the row.
        numbers: the numbers of ``roc`` with ``balanced_accuracy``, in [0, 1]; for KLoM means in nats.
        intervals: (lower, upper) by the same names; empty if there is one split.
        models: how many models were judged.
        splits: their split numbers, ascending.
        members, others: how many scores are of forgotten and of never seen images. For KLoM ``members`` is the mean
            size of the forget sets.
        curve: false and true positive rates at some hundred points; None for KLoM.
        per_image: balanced accuracy by image, in [0, 1], NaN for images without a score; for U-LiRA only.
        lead: by how many nats an image scores higher on average where it was forgotten than where it was never seen,
            NaN likewise; for U-LiRA only.
        samples: the AUC, or KLoM of forgotten images, on bootstrap samples of splits, float64 [draws]; sample i of
            every finding on the same splits draws the same splits. None if there is one split.
    """

    attack: str
    row: str
    numbers: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    models: int
    splits: tuple[int, ...]
    members: int = 0
    others: int = 0
    curve: tuple[np.ndarray, np.ndarray] | None = None
    per_image: np.ndarray | None = None
    lead: np.ndarray | None = None
    samples: np.ndarray | None = None


@dataclass
class Findings:
    """The findings, and the rows for which there are none, by attack and reason."""

    found: list[Finding] = field(default_factory=list)
    skipped: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def run(models: Models, attacks: Sequence[str], bootstrap: Bootstrap) -> Findings:
    """Run every attack on every row that has enough models for it.

    Args:
        attacks: keys of ``ATTACKS``.
        bootstrap: how the intervals are drawn.
    """
    findings = Findings()
    for row, targets in models.rows.items():
        for attack in attacks:
            for name in ATTACKS[attack]:
                try:
                    findings.found.append(replace(RUN[attack](models, targets, name, bootstrap), row=row))
                except UsageError as error:
                    reason = str(error).removeprefix(f"{name.split()[0]}: ")
                    findings.skipped.setdefault((name, reason), []).append(row)
    return findings


def standing_in(originals: Sequence[Outputs], others: Sequence[Outputs]) -> list[Outputs]:
    """The originals of every split and forget set of ``others``.

    All originals of a split are trained on the same images. If there is none for a forget set, the originals for
    another forget set of this split, or for none, stand in.

    Returns:
        Originals with the ``retain`` and ``forget`` images of the model in ``others`` that they belong to.
    Raises:
        UsageError: an original was trained on other images, or a split has none.
    """
    partners = {model.pair: model for model in others}
    own: dict[Pair, list[Outputs]] = {}
    for model in originals:
        own.setdefault(model.pair, []).append(model)
    matched = []
    for pair, partner in sorted(partners.items()):
        known = own.get(pair) or next((own[other] for other in sorted(own) if other[0] == pair[0]), [])
        if not known:
            have, needed = (len({split for split, _ in pairs}) for pairs in (own, partners))
            raise UsageError(f"the original of split {pair[0]} is missing; {needed} are needed, and there are {have}")
        for model in known:
            if not np.array_equal(model.trained, partner.retain | partner.forget):
                raise UsageError(f"runs {model.run} and {partner.run} are of one split and know other images")
            matched.append(model if model.pair == pair and model.forget.any() else _in_place(model, partner))
    return matched


def _in_place(original: Outputs, partner: Outputs) -> Outputs:
    """An original, with the retain and forget images of a model of the same split."""
    run = f"{original.run} for forget set {partner.forget_set}"
    return replace(original, retain=partner.retain, forget=partner.forget, forget_set=partner.forget_set, run=run)


# --- One attack on one row ---


def _ulira(models: Models, targets: list[Outputs], name: str, bootstrap: Bootstrap) -> Finding:
    """U-LiRA against images that models never saw, or against retrained models; see ``for_ulira``."""
    if name == ATTACKS["ulira"][0]:
        judged, held_out, split = for_ulira(targets)
    else:
        judged, held_out, split = for_ulira(*_against(targets, models.retrained))
    ranks = np.unique(split, return_inverse=True)[1]
    result = ulira(judged, held_out, ranks)
    scores = pooled(result["unlearned"], result["held_out"], ranks)
    found_lead = mean(result["unlearned"]) - mean(result["held_out"])
    per_image = {"per_image": result["per_sample"], "lead": found_lead}
    return replace(_judged(name, *scores, 0.0, bootstrap), models=len(judged), **per_image)


def _against(targets: list[Outputs], retrained: list[Outputs]) -> tuple[list[Outputs], list[Outputs]]:
    """The models to judge, and the retrained models to compare them with.

    If the retrained models themselves are judged, the first of each split and forget set is compared with the second.
    """
    ranked = _ranked(retrained)
    if targets[0].kind == "retrained":
        halves = ([model for rank, model in ranked if rank == half] for half in (0, 1))
        first, second = halves
        if len(second) < len(first):
            raise UsageError("needs 2 retrained models of each split and forget set to judge Retrain, and there is 1")
        return first, second
    if not retrained:
        raise UsageError("needs a retrained model of each split and forget set, and there is none")
    most = Counter(model.pair for model in targets)
    return targets, [model for rank, model in ranked if rank < most[model.pair]]


def _ranked(models: Sequence[Outputs]) -> Iterator[tuple[int, Outputs]]:
    """Each model with its rank, from 0, among the models of its split and forget set."""
    seen: Counter[Pair] = Counter()
    for model in models:
        yield seen[model.pair], model
        seen[model.pair] += 1


def _lira(models: Models, targets: list[Outputs], name: str, bootstrap: Bootstrap) -> Finding:
    """LiRA: the targets of either half of the splits, judged by the shadow models of the other."""
    variant = name.split()[1]

    def attack(shadows: list[Outputs], mine: list[Outputs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given = for_lira(shadows, mine, variant)
        inside = given.shadow_in.sum(0)
        few = min(inside.min() if variant == "online" else ENOUGH, (len(shadows) - inside).min()) < ENOUGH
        scores = lira(given.shadow_z, given.shadow_in, given.target_z, variant, bool(few))
        splits = np.broadcast_to(np.array([model.split for model in mine])[:, None], scores.shape)
        return scores[given.scored], given.members[given.scored], splits[given.scored]

    return _in_halves(name, models, targets, attack, bootstrap)


def _rmia(models: Models, targets: list[Outputs], name: str, bootstrap: Bootstrap) -> Finding:
    """RMIA: each target by itself, with reference models of the other half of the splits."""
    variant = name.split()[1]

    def attack(shadows: list[Outputs], mine: list[Outputs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        references = [model for _, model in sorted(_ranked(shadows), key=lambda item: item[0])][:REFERENCES]
        parts = []
        for target in mine:
            images, population, judged, members = for_rmia(target, references)
            parts.append((rmia(images, population, variant), members, np.full(len(judged), target.split)))
        scores, members, splits = (np.concatenate(part) for part in zip(*parts))
        return scores, members, splits

    return _in_halves(name, models, targets, attack, bootstrap)


Attack = Callable[[list[Outputs], list[Outputs]], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _in_halves(name: str, models: Models, targets: list[Outputs], attack: Attack, bootstrap: Bootstrap) -> Finding:
    """Attack each half of the splits with shadow models of the other half.

    The score above which an image is called a member, for the balanced accuracy, is also chosen on the other half.

    Args:
        attack: maps shadow models and targets to scores, whether each is of a member, and its split, each [n].
    """
    places = {
        split: place for place, split in enumerate(sorted({model.split for model in (*models.shadows, *targets)}))
    }
    parts = []
    for half in (0, 1):
        mine = [model for model in targets if places[model.split] % 2 == half]
        others = [model for model in models.shadows if places[model.split] % 2 != half]
        if not (mine and others):
            counts = f"there are {len(models.shadows)} original and {len(targets)} targets of {len(places)}"
            raise UsageError(f"needs original models and targets of both halves of the splits, and {counts}")
        parts.append(attack(others, mine))
    cuts = [_cut(*part[:2]) for part in parts]
    scores, members, splits = (np.concatenate(part) for part in zip(*parts))
    finding = _judged(name, scores, members, splits, None, bootstrap)
    predicted = np.concatenate([part[0] > cut for part, cut in zip(parts, reversed(cuts))]).astype(float)
    called = _judged(name, predicted, members, splits, 0.5, bootstrap)
    key = "balanced_accuracy"
    return replace(
        finding,
        models=len(targets),
        numbers=finding.numbers | {key: called.numbers[key]},
        intervals=finding.intervals | ({key: called.intervals[key]} if called.intervals else {}),
    )


def _cut(scores: np.ndarray, members: np.ndarray) -> float:
    """The threshold of the best balanced accuracy: an image of a larger score is called a member."""
    fpr, tpr = curve(scores, members)
    ascending = np.append(np.inf, np.unique(scores)[::-1])
    best = int((tpr - fpr).argmax())
    return float(np.nextafter(ascending[best], -np.inf)) if best else np.inf


def _judged(
    name: str,
    scores: np.ndarray,
    members: np.ndarray,
    splits: np.ndarray,
    threshold: float | None,
    bootstrap: Bootstrap,
) -> Finding:
    """A ``Finding`` from an attack's scores, with intervals if there are several splits."""
    numbers, judged = roc(scores, members, threshold), tuple(np.unique(splits).tolist())
    drawn = samples(scores, members, splits, threshold, halved(splits), bootstrap) if len(judged) > 1 else {}
    intervals = {key: interval(values, bootstrap.level) for key, values in drawn.items()}
    points, count = thinned(*curve(scores, members)), int(members.sum())
    others = len(scores) - count
    return Finding(name, "", numbers, intervals, 0, judged, count, others, points, samples=drawn.get("auc"))


def _klom(models: Models, targets: list[Outputs], name: str, bootstrap: Bootstrap) -> Finding:
    """KLoM of forgotten, retained and never seen images, the mean over splits and forget sets.

    Retrained models are judged by comparing one half of them with the other, which is the least that so few models can
    reach.
    """
    by_pair: dict[Pair, tuple[list[Outputs], list[Outputs]]] = {}
    itself = targets[0].kind == "retrained"
    for side, group in enumerate((targets, models.retrained)):
        for rank, model in _ranked(group):
            if not itself or rank % 2 == side:
                by_pair.setdefault(model.pair, ([], []))[side].append(model)
    usable = {pair: sides for pair, sides in by_pair.items() if min(map(len, sides)) >= 2}
    if not usable:
        most = [max((len(sides[side]) for sides in by_pair.values()), default=0) for side in (0, 1)]
        needed = "4 retrained models" if itself else "2 models to judge and 2 retrained ones"
        present = sum(most) if itself else f"{most[0]} and {most[1]}"
        raise UsageError(
            f"needs {needed} of one split and forget set, 100 of each are usual, and there are at most {present}"
        )
    lines = [_klom_of_pair(*usable[pair]) for pair in sorted(usable)]
    numbers = {key: float(np.mean([line[key] for line in lines])) for key in lines[0]}
    splits = np.array([pair[0] for pair in sorted(usable)])
    drawn = _of_means(lines, splits, bootstrap) if len(set(splits.tolist())) > 1 else {}
    intervals = {key: interval(values, bootstrap.level) for key, values in drawn.items()}
    count = sum(len(sides[0]) for sides in usable.values())
    forgotten = int(np.mean([sides[0][0].forget.sum() for sides in usable.values()]))
    judged, main = tuple(np.unique(splits).tolist()), drawn.get("klom_forget")
    return Finding(name, "", numbers, intervals, count, judged, forgotten, samples=main)


def _klom_of_pair(unlearned: list[Outputs], retrained: list[Outputs]) -> dict[str, float]:
    first = unlearned[0]
    divergences = klom(*for_klom(unlearned, retrained))
    sets = {"forget": first.forget, "retain": first.retain, "never": first.never}
    means = {f"klom_{name}": float(divergences[chosen].mean()) for name, chosen in sets.items() if chosen.any()}
    return means | {"klom_forget_95": float(np.percentile(divergences[first.forget], 95))}


def _of_means(lines: list[dict[str, float]], splits: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Mean of every number over the pairs, for each bootstrap sample of splits: float64 [draws] by name."""
    names, position = np.unique(splits, return_inverse=True)
    times = np.random.default_rng(bootstrap.seed).multinomial(
        len(names), [1 / len(names)] * len(names), bootstrap.draws
    )
    times = times[:, position]
    return {key: times @ np.array([line[key] for line in lines]) / times.sum(1) for key in lines[0]}


RUN: dict[str, Callable[[Models, list[Outputs], str, Bootstrap], Any]] = {
    "ulira": _ulira,
    "lira": _lira,
    "rmia": _rmia,
    "klom": _klom,
}
