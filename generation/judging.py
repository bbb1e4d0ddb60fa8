"""The stages of ``main_generate.py score``, which draws pictures and scores them by a judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dataset.images import Images
from evaluation import judged
from evaluation.judged import Judged
from generation import drawing, inception, judge, picture_scores
from generation.drawing import Pictures
from generation.generation_flags import GenerateArguments, Prompts
from generation.generator_setup import GeneratorProblem, GeneratorSetup, facts, header, opened, preview, read, set_up
from trainer import messages
from trainer.pipeline import Place, Stages
from utils import files, seeds
from utils.errors import UsageError
from utils.log import Log
from utils.result import Result

GRID_PER_CLASS = 10  # most pictures of each class that the retrained generator has in the grid
COLUMNS = {  # printed scores by title: entry of result.json, and whether it is a fraction shown in per cent
    "UA": ("UA", True),
    "RA": ("RA", True),
    "rejected": ("rejected", True),
    "plausible": ("plausibility", True),
    "FD(judge)": ("fd_judge", False),
    "floor": ("fd_floor", False),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "diversity": ("diversity", False),
    "FD(judge, retrain)": ("fd_judge_retrain", False),
}


@dataclass(frozen=True)
class Seen:
    """The judge's view of N pictures.

    Attributes:
        labels: the classes that they were asked for, or those of real images, int64 [N]; empty if not known yet.
        probs: the judge's probabilities, [N, classes + 1].
        features: the judge's features, [N, 64].
    """

    labels: Tensor
    probs: Tensor
    features: Tensor

    def part(self, which: Tensor) -> Seen:
        """The pictures for which ``which``, bool [N], is True."""
        return Seen(self.labels[which], self.probs[which], self.features[which])


def set_up_scoring(arguments: GenerateArguments) -> GeneratorSetup:
    """Check everything that can be checked without reading an image, including the retrained generator."""
    outputs = [judge.FILE, drawing.GRID, judged.NAME]
    setup = set_up(arguments, label="scores", title="draw pictures and judge them", outputs=outputs)
    drawing.check(arguments.settings, setup)
    drawn = drawing.wanted(arguments.settings.classes_to_generate, setup.dataset.classes)
    _check_numbers(setup, drawn)
    flags = arguments.judging
    assert flags is not None
    if flags.judge is not None:
        path = Path(flags.judge)
        files.size_of(path, f"--judge {flags.judge}", "judge")
        setup = replace(setup, config=setup.config | {"judge": files.sha256(path)})
    if flags.retrained is not None:
        if setup.scenario is None:
            raise UsageError("--retrained: needs --forget beside it, the class that was forgotten")
        left_out = set(setup.scenario.labels or ()) - set(drawn)
        if left_out:
            raise UsageError(
                f"--classes_to_generate {arguments.settings.classes_to_generate}: leaves out class {min(left_out)}, "
                "in which --retrained is compared"
            )
        generator = opened(flags.retrained, "--retrained", setup.dataset, setup.run)
        setup = replace(setup, config=setup.config | {"retrained": generator.sha256})
    if flags.inception_weights is not None:
        digest = inception.check(Path(flags.inception_weights))
        setup = replace(setup, config=setup.config | {"inception": digest})
    return setup


def _check_numbers(setup: GeneratorSetup, drawn: list[int]) -> None:
    """Refuse fewer than two pictures of the classes that stay, since FD, precision and recall need two."""
    settings, gone = setup.arguments.settings, () if setup.scenario is None else setup.scenario.labels or ()
    stay = [label for label in drawn if label not in gone]
    if not stay:
        reason = "has only the class to forget; scores also need pictures of classes that stay"
        raise UsageError(f"--classes_to_generate {settings.classes_to_generate}: {reason}")
    if len(stay) * settings.n_samples_per_class < 2:
        given = f"--n_samples_per_class {settings.n_samples_per_class}"
        raise UsageError(f"{given}: scores need at least 2 pictures of the classes that stay")


def score(setup: GeneratorSetup, problem: GeneratorProblem, known: Result, place: Place) -> Result:
    """Train or read the judge, draw pictures, compute all scores, and write grid and ``judged.npz``.

    Raises:
        UsageError: what is forgotten is not whole classes.
    """
    split, flags = problem.split, setup.arguments.judging
    assert flags is not None
    gone = [] if split is None else list(split.whole_classes)
    if split is not None and not gone:
        raise UsageError("--forget: scores are of classes that are forgotten whole; give class:C")
    judging, sure, digest = the_judge(setup, problem, place)
    settings = setup.arguments.settings
    way = drawing.way(settings, setup)
    classes = drawing.wanted(settings.classes_to_generate, setup.dataset.classes)
    drawn = drawing.draw(problem.model, setup.schedule, classes, settings.n_samples_per_class, way, setup.run.seed)
    beside, exact = {}, None
    if flags.retrained is not None:
        lost, few = retrained(setup, flags.retrained, gone, classes)
        beside, exact = {"retrained": few}, seen(judging, lost)
    drawing.write_grid(place.folder.path / drawing.GRID, drawn, beside)
    held_out, others = (real(judging, images) for images in (problem.data.test_images, problem.data.train_images))
    real_sets = {
        "test": replace(held_out, labels=torch.from_numpy(problem.data.test_labels)),
        "train": replace(others, labels=torch.from_numpy(problem.data.train_labels)).part(trained_on(problem)),
    }
    looked_at = seen(judging, drawn)
    measured = figures(looked_at, real_sets, gone, exact)
    judged.write(place.folder.path, to_keep(drawn, looked_at, real_sets, problem.data.classes))
    if flags.inception_weights is not None:
        measured |= of_inception(drawn, problem, gone, Path(flags.inception_weights), setup.device)
    measured |= {"judge": digest, "judge_accuracy": sure, "per_class": settings.n_samples_per_class}
    return replace(known, measured=measured)


def of_inception(
    drawn: Pictures, problem: GeneratorProblem, gone: list[int], weights: Path, device: torch.device
) -> dict[str, Any]:
    """FID between pictures of the retained classes and real test images of these, and the pictures' Inception Score.

    Args:
        gone: numbers of the forgotten classes.
        weights: file of Inception's weights.
    """
    lost = torch.tensor(gone, dtype=torch.int64)
    real = torch.from_numpy(problem.data.test_images).permute(0, 3, 1, 2)
    held_out = real[~torch.isin(torch.from_numpy(problem.data.test_labels), lost)]
    measured = inception.scores(drawn.images[~torch.isin(drawn.labels, lost)], held_out, weights, device)
    return {**measured, "fid_real": len(held_out)}


def retrained(setup: GeneratorSetup, path: str, gone: list[int], classes: list[int]) -> tuple[Pictures, Pictures]:
    """Pictures by the retrained generator: of the forgotten classes for scoring, and a few of all classes for the grid.

    The pictures for scoring start from noise with a seed of their own. From the same noise as the pictures that they
    are compared with, each would resemble one of these.

    Args:
        path: of the retrained generator.
        gone: numbers of the forgotten classes.
        classes: numbers of all classes that are drawn.
    """
    flags, few = setup.arguments.settings, min(GRID_PER_CLASS, setup.arguments.settings.n_samples_per_class)
    generator = opened(path, "--retrained", setup.dataset, setup.run)
    generator = generator.with_prompts(setup.arguments.prompts or Prompts(), setup.dataset, setup.scenario)
    network, way, seed = generator.network().to(setup.device), drawing.way(flags, setup), setup.run.seed
    own_noise = seeds.derive(seed, "retrained")
    lost = drawing.draw(network, generator.schedule, gone, flags.n_samples_per_class, way, own_noise)
    return lost, drawing.draw(network, generator.schedule, classes, few, way, seed)


def trained_on(problem: GeneratorProblem) -> Tensor:
    """Which of the N official training images are in the training set, not set apart for validation: bool [N]."""
    which = torch.zeros(len(problem.data.train_labels), dtype=torch.bool)
    which[torch.from_numpy(problem.base.train)] = True
    return which


def the_judge(setup: GeneratorSetup, problem: GeneratorProblem, place: Place) -> tuple[judge.JudgeNet, float, str]:
    """The judge (read, or trained and written), its accuracy on all real test images in [0, 1], and its name."""
    flags, classes, digest = setup.arguments.judging, setup.dataset.classes, problem.base.digest
    assert flags is not None
    if flags.judge is not None:
        path = Path(flags.judge)
        network, sure = judge.read(path, classes, digest)
    else:
        path = place.folder.path / judge.FILE
        some: Images = next(iter(problem.sets.values()))
        network = judge.train(some.at(problem.base.train), classes, flags.judge_epochs, setup.run.train_seed)
        labels = torch.from_numpy(problem.data.test_labels)
        sure, _, _ = picture_scores.answers(real(network, problem.data.test_images).probs, labels)
        judge.write(path, network, sure, digest)
    return network.to(setup.device), sure, judge.name(path)


def seen(judging: judge.JudgeNet, pictures: Pictures) -> Seen:
    """The judge's view of drawn pictures."""
    return Seen(pictures.labels, *judge.look(judging, pictures.images))


def real(judging: judge.JudgeNet, images: Any) -> Seen:
    """The judge's view of real images, a numpy array uint8 [N, H, W, C]; without labels."""
    return Seen(torch.empty(0), *judge.look(judging, torch.from_numpy(images).permute(0, 3, 1, 2)))


def figures(drawn: Seen, real_sets: dict[str, Seen], gone: list[int], exact: Seen | None) -> dict[str, Any]:
    """All scores by their names in ``result.json``. Shares are in [0, 1], entropies in nats.

    Scores of forgotten classes are absent if no picture is of such a class, and that against the retrained generator
    is absent without one.

    Args:
        drawn: pictures of the generator.
        real_sets: real images, "test" and "train".
        gone: numbers of the forgotten classes.
        exact: pictures of the retrained generator, or None.
    """
    kept, lost = (drawn.part(which) for which in (~among(drawn, gone), among(drawn, gone)))
    test, train = (each.part(~among(each, gone)) for each in (real_sets["test"], real_sets["train"]))
    asked, unclear, entropy = picture_scores.answers(kept.probs, kept.labels)
    measured = {
        "RA": asked,
        "rejected_retained": unclear,
        "entropy_retained": entropy,
        "fd_judge": picture_scores.frechet(kept.features, test.features),
        "fd_floor": picture_scores.frechet(some(train.features, len(kept.labels)), test.features),
        "precision": picture_scores.inside(kept.features, test.features),
        "recall": picture_scores.inside(test.features, kept.features),
        "diversity": picture_scores.diversity(kept.features, kept.labels),
    }
    if gone and len(lost.labels):
        asked, unclear, entropy = picture_scores.answers(lost.probs, lost.labels)
        every = torch.cat([each.features for each in real_sets.values()])
        measured |= {"UA": 1 - asked, "rejected": unclear, "entropy": entropy}
        measured |= {"plausibility": picture_scores.inside(lost.features, every)}
    if exact is not None:
        measured["fd_judge_retrain"] = picture_scores.frechet(lost.features, exact.part(among(exact, gone)).features)
    return measured


def to_keep(pictures: Pictures, drawn: Seen, real_sets: dict[str, Seen], names: Any) -> Judged:
    """The content of ``judged.npz``: the judge's answers to all pictures, a distance per class, and some pictures.

    Args:
        pictures: the drawn pictures.
        drawn: the judge's view of them.
        real_sets: real images, "test" and "train".
        names: of the classes.
    """
    labels, classes = drawn.labels.numpy(), drawn.labels.unique()
    places = judged.kept(labels, pictures.images.shape[-1])
    own = {
        int(label): {name: each.part(each.labels == label).features for name, each in real_sets.items()}
        for label in classes
    }
    features = {label: drawn.features[drawn.labels == label] for label in own}
    return Judged(
        names=np.array(list(names)),
        labels=labels,
        answers=drawn.probs.argmax(1).numpy(),
        confidence=drawn.probs.max(1).values.numpy(),
        pictures=small(pictures.images[torch.from_numpy(places)]),
        pictured=places,
        drawn=classes.numpy(),
        distance=np.array([apart(features[label], real["test"]) for label, real in own.items()]),
        floor=np.array([apart(some(real["train"], len(features[label])), real["test"]) for label, real in own.items()]),
    )


def apart(first: Tensor, second: Tensor) -> float:
    """The Frechet distance of features [N, D] and [M, D]; NaN if N or M is below 2, where there is no covariance."""
    return picture_scores.frechet(first, second) if min(len(first), len(second)) > 1 else float("nan")


def small(images: Tensor) -> np.ndarray:
    """Pictures uint8 [M, 3, H, W] as uint8 [M, H, W, 3], reduced to a side of at most ``judged.SIDE`` pixels."""
    side = min(judged.SIDE, images.shape[-1])
    if side < images.shape[-1]:
        images = F.interpolate(images.float(), (side, side), mode="area").round().byte()
    return images.permute(0, 2, 3, 1).numpy()


def some(features: Tensor, count: int) -> Tensor:
    """At most ``count`` rows of a set, the same ones in every call, chosen at random as it may be sorted by class."""
    return features[torch.randperm(len(features), generator=seeds.generator(0, "floor"))[:count]]


def among(pictures: Seen, classes: list[int]) -> Tensor:
    """Which pictures have a label among these classes, bool [N]."""
    return torch.isin(pictures.labels, torch.tensor(classes, dtype=torch.int64))


def show(setup: GeneratorSetup, result: dict[str, Any], log: Log) -> None:
    """Print the scores, the judge and its accuracy."""
    log.line()
    for title, (entry, share) in COLUMNS.items():
        if result.get(entry) is not None:
            log.line(f"{title:<20}{100 * result[entry]:8.2f} %" if share else f"{title:<20}{result[entry]:8.2f}")
    if "fid" in result:
        settings = messages.settings(setup.arguments.settings)
        log.line(f"FID {result['fid']:.2f}  Inception Score {result['inception_score']:.2f}")
        log.line(f"of {result['fid_pictures']:,} pictures to {result['fid_real']:,} real test images; {settings}")
    sure, count = 100 * result["judge_accuracy"], result["per_class"]
    grid = setup.folder / drawing.GRID
    log.line(f"judge={result['judge']}  judge_acc={sure:.2f} %  {count} pictures of each class; {grid}")


STAGES = Stages(set_up_scoring, preview, read, header, facts, score, show)
