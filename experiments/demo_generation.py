#!/usr/bin/env python3
"""A diffusion model forgets to draw a class: Retrain and several methods, a table and pictures.

    python experiments/demo_generation.py runs/demo-generation
    python experiments/demo_generation.py runs/demo-generation --seed 1
    python experiments/demo_generation.py runs/generation --settings experiments/generation/cifar10-small.yaml

Trains a generator on all classes and one without the class (Retrain), unlearns it by every method of the settings, and
lets a judge look at the pictures. What is done already is only shown; after a kill the same command goes on.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import main_generate  # noqa: E402
from evaluation import judged  # noqa: E402
from generation import drawing  # noqa: E402
from report import plots  # noqa: E402
from utils import files  # noqa: E402
from utils.errors import leave  # noqa: E402

DIGITS = HERE / "generation" / "digits.yaml"
COLUMNS = {"UA": "UA", "RA": "RA", "rejected": "rejected", "plausible": "plausibility"}
FORGOTTEN, OTHERS = 12, 3  # pictures of the forgotten class and of each other class in ``pictures.png``
DISTANCES = {"FD(judge)": "fd_judge", "FD(judge, retrain)": "fd_judge_retrain"}


@dataclass(frozen=True)
class Experiment:
    """The runs of ``main_generate.py`` that make up the experiment, all in one folder.

    Attributes:
        folder: where the runs write, each to a subfolder.
        settings: the content of the YAML file: parts of command lines by name.
        seed: of the split and of all draws.
    """

    folder: Path
    settings: dict[str, Any]
    seed: int

    def run(self, work: str, folder: Path, *words: object) -> None:
        """Run ``main_generate.py``; if it fails, end this process with its exit code.

        Args:
            work: "train", "forget" or "score".
            folder: its ``--save_dir``.
            words: further words of the command line.
        """
        seeds = ["--seed", str(self.seed), "--train_seed", str(self.seed - 1)]
        told = [work, *self.words("data"), *map(str, words), *seeds, "--save_dir", str(folder)]
        code = main_generate.main(told)
        if code:
            leave(code)

    def words(self, name: str) -> list[str]:
        """The words of a command line's part in the settings, "data" for example."""
        return self.settings[name].split()

    def models(self, chosen: list[str]) -> dict[str, Path]:
        """Train and unlearn all generators that do not exist yet; their folders by name.

        Args:
            chosen: names of the methods.
        """
        made = {"before": self.folder / "base", "Retrain": self.folder / "retrain"}
        forget = ["--forget", self.settings["forget"]]
        network, training = self.words("network"), self.words("training")
        self.run("train", made["before"], *network, *training)
        self.run("train", made["Retrain"], *network, *training, *forget)
        for method in chosen:
            made[method], flags = self.folder / method, self.settings["methods"][method].split()
            model = ["--model", made["before"] / "generator.pt"]
            self.run("forget", made[method], *model, "--unlearn", method, *flags, *forget)
        return made

    def table(self, made: dict[str, Path]) -> list[str]:
        """Score all generators; lines of a text table, with a head and a last line that helps to read it."""
        lines, judge = [], self.words("judging")
        for name, folder in made.items():
            scores = folder / "scores"
            compared = ["--retrained", made["Retrain"] / "generator.pt", "--forget", self.settings["forget"]]
            self.run("score", scores, "--model", folder / "generator.pt", *self.words("drawing"), *compared, *judge)
            judge = [*self.words("judging"), "--judge", str(made["before"] / "scores" / "judge.pt")]
            found = files.read_json(scores / "result.json", str(scores))
            seconds = files.read_json(folder / "result.json", "").get("seconds") or {}
            lines.append(f"{name:<10}{_figures(found)}{_times(seconds)}")
        head = f"{'':<10}{''.join(f'{title:>11}' for title in COLUMNS)}{''.join(f'{title:>20}' for title in DISTANCES)}"
        sure = f"the judge reads {100 * found['judge_accuracy']:.1f} % of real test images"
        return [
            f"{head}{'seconds':>10}{'of them mask':>14}",
            *lines,
            f"floor of FD(judge): {found['fd_floor']:.1f}; {sure}",
        ]

    def draw(self, made: dict[str, Path]) -> None:
        """Write ``pictures.png``: a row for each generator, pictures of the forgotten class, then of the others."""
        generators = {name: judged.read(folder / "scores") for name, folder in made.items()}
        first = next(iter(generators.values()))
        gone = int(self.settings["forget"].removeprefix("class:"))
        counts = {
            label: FORGOTTEN if label == gone else OTHERS for label in sorted(first.drawn, key=lambda c: c != gone)
        }
        rows = [np.concatenate(_pictures(each, counts), axis=1) for each in generators.values()]
        side = first.pictures.shape[1]
        ends = side * np.cumsum(list(counts.values()))
        figure, [[axes]] = plots.figure(9, 0.8 + 9 * side * len(rows) / ends[-1])
        axes.imshow(np.concatenate(rows), interpolation="nearest")
        axes.set_yticks(side * (np.arange(len(rows)) + 0.5), list(generators))
        axes.set_xticks(
            ends - side * np.array(list(counts.values())) / 2, [str(first.names[c]) for c in counts], rotation=60
        )
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.vlines(ends[:-1] - 0.5, -0.5, side * len(rows) - 0.5, colors="white", linewidth=1.5)
        path = self.folder / "pictures.png"
        files.write_figure(path, figure)
        with Image.open(path) as picture:  # with 256 colours the file has a third of the size
            files.write_bytes(path, drawing.png(picture.convert("RGB").quantize(256)))


def _pictures(found: judged.Judged, counts: dict[int, int]) -> list[np.ndarray]:
    """The first pictures of each class, as many as ``counts`` says by class, each uint8 [H, W, 3]."""
    labels = found.labels[found.pictured]
    return [picture for label, count in counts.items() for picture in found.pictures[labels == label][:count]]


def _figures(found: dict[str, Any]) -> str:
    shares = "".join(f"{100 * found[entry]:11.1f}" for entry in COLUMNS.values())
    return shares + "".join(f"{found[entry]:20.1f}" for entry in DISTANCES.values())


def _times(seconds: dict[str, float | None]) -> str:
    whole, mask = seconds.get("unlearning"), seconds.get("mask")
    return ("" if whole is None else f"{whole:10.1f}") + ("" if mask is None else f"{mask:14.1f}")


def main(argv: list[str] | None = None) -> int:
    """Make the runs that are missing, write table and pictures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", type=Path, default=DIGITS, help="YAML file of the command lines' words")
    parser.add_argument("--seed", type=int, help="of the split and of all draws; the file's without it")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="of the file; all without it")
    told = parser.parse_args(argv)
    settings = yaml.safe_load(told.settings.read_text())
    unknown = [name for name in told.methods or [] if name not in settings["methods"]]
    if unknown:
        parser.error(f"--methods {unknown[0]}: {told.settings} has {', '.join(settings['methods'])}")
    if "Scheduler" in settings["drawing"] and importlib.util.find_spec("diffusers") is None:
        parser.error(f"--settings {told.settings}: draws by a scheduler of diffusers; pip install diffusers")
    experiment = Experiment(told.folder, settings, settings["seed"] if told.seed is None else told.seed)
    made = experiment.models(told.methods or list(settings["methods"]))
    lines = experiment.table(made)
    experiment.draw(made)
    files.write_text(told.folder / "table.txt", "\n".join(lines) + "\n")
    print("\n" + "\n".join(lines))
    print(f"table and pictures: {told.folder}/table.txt, pictures.png; each model beside Retrain: */scores/grid.png")
    return 0


if __name__ == "__main__":
    leave(main())
