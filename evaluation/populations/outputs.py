"""``outputs.npz``: what one model says of every image, and which images it was trained on; arranged for each attack.

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
LAST_EPOCH = "last_"  # in front of it: a training's weights of the last epoch, not those of the best
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
    """The splits and forget sets that a whole population has, to judge by those that there are.

    That is every split with every forget set; these pairs alone where no two splits have a forget set of one number,
    as where each split draws its own.
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
        unlearned: models of one method, one for each of some splits times some forget sets, or the same number for
            each; originals or retrained ones in their place are the controls.
        retrained: as many models of the same splits and forget sets that never saw the forgotten images, to compare
            with in this order; by default the models of ``unlearned`` on the images outside of their own split.
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
        images: which images these are, int [n].
        members: images that the target was to forget, bool [T, n].
        scored: those and the ones that it never saw, bool [T, n]; what it retains is not asked for.
    """

    shadow_z: np.ndarray
    shadow_in: np.ndarray
    target_z: np.ndarray
    images: np.ndarray
    members: np.ndarray
    scored: np.ndarray


def for_lira(shadows: Sequence[Outputs], targets: Sequence[Outputs], variant: str = "online") -> ForLira:
    """The images of which ``lira`` can tell whether a target was trained on them, as it takes them.

    Args:
        shadows: original or retrained models of other splits than the targets.
        targets: unlearned models.
    Raises:
        UsageError: the shadow models do not do, or no image has enough of them.
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
    """The first two arguments of ``rmia``, and what its scores are of.

    The population are all images that trained nobody. Judged are the forgotten images, and as non-members those that
    the target never saw; both were in the training set of at least one reference model and outside of another's.

    Args:
        references: original or retrained models of other splits than the target.
        least: images that the population must have.
    Returns:
        Judged images; population; which images are judged, int [n]; whether each was forgotten, bool [n].
    Raises:
        UsageError: the references do not do, no image can be judged, or the population is too small.
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
    """Refuse no models, one that is given twice, and images of another data set."""
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
    """Refuse models to compare with that saw what was to be forgotten."""
    for model in models:
        if model.kind != "retrained":
            raise UsageError(
                f"run {model.run} is {model.kind}, not retrained; compare with models retrained from scratch"
            )


def _check_grid(words: str, models: Sequence[Outputs], grid: set[tuple[int, int]]) -> None:
    """Refuse a population that has not one model for every split and forget set."""
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
    """Refuse two models that were trained on, or are to forget, other images."""
    if not (np.array_equal(model.retain, other.retain) and np.array_equal(model.forget, other.forget)):
        raise UsageError(
            f"runs {model.run} and {other.run} retain or forget other images; give models of one split and forget set"
        )


def _check_attack(shadows: Sequence[Outputs], targets: Sequence[Outputs]) -> None:
    """Refuse shadow models that unlearned, and those that share their training set with a target."""
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
