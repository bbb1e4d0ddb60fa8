"""``outputs.npz``: one model's margin on every image and which images it was trained on; arranged for each attack.

The entries of the file, none of which needs pickle:

========== ================= =========================================================================
margin     float32 [images]  ``scaled_logit`` of every image, the training part first, then the test part
retain     bool [images]     trained on, and not to be forgotten
forget     bool [images]     asked to be forgotten; a retrained model never saw them
kind       text              ``original``, ``retrained`` or ``unlearned``
run        text              identity of the run, unlike that of any other model
data       text              digest of images and labels, equal for all models of a population
split      int               which split of the images, so which training set
forget_set int               which forget set of that split
========== ================= =========================================================================
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import expit

from evaluation.populations.rmia import Signals
from utils import files
from utils.errors import UsageError

NAME = "outputs.npz"
LAST_EPOCH = "last_"  # prefix of NAME for the weights of a training's last epoch instead of its best
KINDS = ("original", "retrained", "unlearned")
MOST = 1 << 30  # bytes of a file, and of what it unpacks to
ENOUGH = 1000  # images of RMIA's population: a score is a multiple of one over their number


@dataclass(frozen=True, eq=False)
class Outputs:
    """One model's entries, by their names in the file; the module's docstring says what they are."""

    margin: np.ndarray
    retain: np.ndarray
    forget: np.ndarray
    kind: str
    run: str
    data: str
    split: int
    forget_set: int

    def __post_init__(self) -> None:
        for name, kind in (("margin", "float32"), ("retain", "bool"), ("forget", "bool")):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != self.margin.shape or array.ndim != 1 or not array.size:
                raise UsageError(f"{name} must be {kind} [images], not {array.dtype} {list(array.shape)}")
        if not np.isfinite(self.margin).all():
            raise UsageError("a margin is NaN or infinite; the model diverged, leave it out")
        if (self.retain & self.forget).any():
            raise UsageError("an image is both retained and forgotten")
        if self.kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")

    @property
    def trained(self) -> np.ndarray:
        """Images that took part in the model's training, before it unlearned: bool [images]."""
        return self.retain if self.kind == "retrained" else self.retain | self.forget

    @property
    def never(self) -> np.ndarray:
        """Images that neither it nor the original model was trained on: bool [images]."""
        return ~(self.retain | self.forget)

    @property
    def pair(self) -> tuple[int, int]:
        """Split and forget set, which an original, a retrained and an unlearned model have in common."""
        return self.split, self.forget_set


def wanted(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """The pairs of split and forget set that a complete population has, inferred from the pairs that there are.

    These are all combinations of a split and a forget set. If no two pairs share the number of a forget set, as when
    each split draws its own, they are the given pairs alone.
    """
    known = set(pairs)
    splits, sets = ({pair[side] for pair in known} for side in (0, 1))
    return known if len(sets) == len(known) else set(product(splits, sets))


def write(path: Path, outputs: Outputs) -> None:
    """Write a model's ``outputs.npz``; equal entries give equal bytes.

    Raises:
        RunError: names the file and the reason.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{field.name: getattr(outputs, field.name) for field in fields(Outputs)})
    files.write_bytes(path, buffer.getvalue())


def read(path: Path) -> Outputs:
    """Read a model's ``outputs.npz``; nothing in it is run.

    Raises:
        UsageError: names the file and what is wrong with it.
    """
    content = files.read_bytes(path, str(path), "outputs.npz", MOST)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            if sum(member.file_size for member in members.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST / 1e6:,.0f} MB")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {field.name: stored[field.name] for field in fields(Outputs)}
        texts = {name: str(arrays[name][()]) for name in ("kind", "run", "data")}
        numbers = {name: int(arrays[name]) for name in ("split", "forget_set")}
        return Outputs(**arrays | texts | numbers)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001  (a damaged file can raise anything)
        raise UsageError(
            f"{path}: is damaged or no outputs.npz ({error}); run the command that wrote it again"
        ) from None


def for_ulira(
    unlearned: Sequence[Outputs], retrained: Sequence[Outputs] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first three arguments of ``ulira``.

    Args:
        unlearned: models of one method, equally many for every combination of split and forget set (``wanted``).
            Originals or retrained models may be given instead, as controls.
        retrained: models that never saw the forgotten images, as many as there are ``unlearned`` for each split and
            forget set. Their margins of the forgotten images are compared with, in this order. None compares with the
            margins of the ``unlearned`` models on images that they never saw.
    Returns:
        Margins of forgotten and of never seen images, float32 [models, images], NaN elsewhere; splits, int [models].
    Raises:
        UsageError: a model is missing, given twice, or of other data.
    """
    _check_population(unlearned)
    _check_grid("unlearned", unlearned, wanted(model.pair for model in unlearned))
    forgot = [np.where(model.forget, model.margin, np.nan) for model in unlearned]
    if retrained is None:
        never = [np.where(model.never, model.margin, np.nan) for model in unlearned]
    else:
        _check_population([*unlearned, *retrained])
        _check_retrained(retrained)
        _check_grid("retrained", retrained, {model.pair for model in unlearned})
        if len(retrained) != len(unlearned):
            counts = f"{len(unlearned)} unlearned and {len(retrained)} retrained models"
            raise UsageError(f"{counts} are given; give as many of each, of every split and forget set")
        others: dict[tuple[int, int], list[Outputs]] = {}
        for model in reversed(retrained):
            others.setdefault(model.pair, []).append(model)
        partners = [others[model.pair].pop() for model in unlearned]
        for model, partner in zip(unlearned, partners):
            _check_sets(model, partner)
        never = [np.where(model.forget, other.margin, np.nan) for model, other in zip(unlearned, partners)]
    return np.stack(forgot), np.stack(never), np.array([model.split for model in unlearned])


@dataclass(frozen=True, eq=False)
class ForLira:
    """Arguments of ``lira``, and which of its scores count.

    Attributes:
        shadow_z, shadow_in, target_z: as ``lira`` takes them, one query per image: [M, n, 1], [M, n], [T, n, 1].
        images: indices of the n images, int [n].
        members: which of them the target was to forget, bool [T, n].
        scored: which scores count, bool [T, n]: those of members and of images that the target never saw, but not of
            retained images.
    """

    shadow_z: np.ndarray
    shadow_in: np.ndarray
    target_z: np.ndarray
    images: np.ndarray
    members: np.ndarray
    scored: np.ndarray


def for_lira(shadows: Sequence[Outputs], targets: Sequence[Outputs], variant: str = "online") -> ForLira:
    """The arguments of ``lira``, for the images that a target forgot or never saw and that have enough shadow models.

    Args:
        shadows: original or retrained models of other splits than the targets.
        targets: unlearned models.
        variant: "online" needs 2 shadow models that were and 2 that were not trained on an image, "offline" the latter.
    Raises:
        UsageError: a shadow model has unlearned or shares a target's split, or no image has enough of them.
    """
    _check_attack(shadows, targets)
    inside, never = np.stack([model.trained for model in shadows]), np.stack([model.never for model in targets])
    members = np.stack([model.forget for model in targets])
    enough = (~inside).sum(0) >= 2
    if variant == "online":
        enough &= inside.sum(0) >= 2
    images = np.flatnonzero(enough & (members | never).any(0))
    if not images.size:
        raise UsageError(
            f"LiRA: no image has 2 shadow models that were and 2 that were not trained on it, of {len(shadows)}; "
            "train more shadow models, each on a random half of the images"
        )
    shadow_z, target_z = (
        np.stack([model.margin[images] for model in group])[..., None] for group in (shadows, targets)
    )
    members, never = members[:, images], never[:, images]
    return ForLira(shadow_z, inside[:, images], target_z, images, members, members | never)


def for_rmia(
    target: Outputs, references: Sequence[Outputs], least: int = ENOUGH
) -> tuple[Signals, Signals, np.ndarray, np.ndarray]:
    """The first two arguments of ``rmia``, and which images its scores belong to.

    The population are all images that neither the target nor a reference model was trained on. The images to judge are
    the forgotten ones, and as non-members those that the target never saw. Of both, only images count that at least one
    reference model was trained on and at least one was not.

    Args:
        references: original or retrained models of other splits than the target.
        least: how many images the population must have.
    Returns:
        Signals of the judged images; those of the population; indices of the judged images, int [n]; whether each was
        forgotten, bool [n].
    Raises:
        UsageError: a reference model has unlearned or shares the target's split, no image can be judged, or the
            population is too small.
    """
    _check_attack(references, [target])
    inside = np.stack([model.trained for model in references])
    population = np.flatnonzero(~inside.any(0) & target.never)
    if len(population) < least:
        raise UsageError(
            f"RMIA: {least:,} images that no model was trained on are needed, and there are {len(population):,}; "
            "train the models on fewer images"
        )
    images = np.flatnonzero((target.forget | target.never) & inside.any(0) & ~inside.all(0))
    if not images.size:
        raise UsageError("RMIA: no image trained some reference models and not others; give references of more splits")

    def signals(chosen: np.ndarray) -> Signals:
        margins = np.stack([model.margin[chosen] for model in references])
        return Signals(expit(target.margin[chosen]), expit(margins), inside[:, chosen])

    return signals(images), signals(population), images, target.forget[images]


def for_klom(unlearned: Sequence[Outputs], oracles: Sequence[Outputs]) -> tuple[np.ndarray, np.ndarray]:
    """The arguments of ``klom``: float32 [models, images] each, all models of one split and forget set.

    Raises:
        UsageError: a model is given twice, or was trained on other images than the rest.
    """
    if not (unlearned and oracles):
        raise UsageError(f"KLoM: needs unlearned and retrained models, not {len(unlearned)} and {len(oracles)}")
    _check_population([*unlearned, *oracles])
    _check_retrained(oracles)
    for model in [*unlearned, *oracles]:
        _check_sets(model, unlearned[0])
    return np.stack([model.margin for model in unlearned]), np.stack([model.margin for model in oracles])


def _check_population(models: Sequence[Outputs]) -> None:
    """Refuse an empty list, a model that is given twice, and models of different data sets."""
    if not models:
        raise UsageError("a population attack needs models, and none is given; name folders with an outputs.npz")
    seen: set[str] = set()
    for model in models:
        if model.run in seen:
            raise UsageError(f"run {model.run} is given twice; name each model once")
        if model.data != models[0].data or len(model.margin) != len(models[0].margin):
            raise UsageError(f"run {model.run} is of other images than run {models[0].run}; attack each data set alone")
        seen.add(model.run)


def _check_retrained(models: Sequence[Outputs]) -> None:
    """Refuse models that were not retrained, since they saw the images to forget."""
    for model in models:
        if model.kind != "retrained":
            raise UsageError(
                f"run {model.run} is {model.kind}, not retrained; compare with models retrained from scratch"
            )


def _check_grid(words: str, models: Sequence[Outputs], grid: set[tuple[int, int]]) -> None:
    """Refuse a population that has not equally many models for every pair of split and forget set in ``grid``."""
    pairs = [model.pair for model in models]
    for split, forget_set in sorted(grid.symmetric_difference(pairs)):
        wrong = "is missing" if (split, forget_set) in grid else "has nothing to be compared with"
        raise UsageError(
            f"the {words} model of split {split}, forget set {forget_set} {wrong}; {len(grid)} are needed, "
            f"and there are {len(pairs)}"
        )
    if len(set(Counter(pairs).values())) > 1:
        raise UsageError(
            f"{len(pairs)} {words} models are given for {len(grid)} splits and forget sets; give one each, or the "
            "same number"
        )


def _check_sets(model: Outputs, other: Outputs) -> None:
    """Refuse two models whose retain or forget images differ."""
    if not (np.array_equal(model.retain, other.retain) and np.array_equal(model.forget, other.forget)):
        raise UsageError(
            f"runs {model.run} and {other.run} retain or forget other images; give models of one split and forget set"
        )


def _check_attack(shadows: Sequence[Outputs], targets: Sequence[Outputs]) -> None:
    """Refuse shadow models that have unlearned, and those of the same split as a target."""
    if not (shadows and targets):
        raise UsageError(f"an attack needs shadow and target models, not {len(shadows)} and {len(targets)}")
    _check_population([*shadows, *targets])
    attacked = {model.split: model.run for model in targets}
    for model in shadows:
        if model.kind == "unlearned":
            raise UsageError(f"run {model.run} has unlearned and cannot be a shadow model; give original models")
        if model.split in attacked:
            raise UsageError(
                f"shadow model {model.run} and target {attacked[model.split]} are both of split {model.split}, so it "
                "would judge its own images; give shadow models of other splits"
            )
