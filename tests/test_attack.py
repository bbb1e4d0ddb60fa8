"""``main_attack.py`` on populations that are made for it: known answers, controls, and wrong input."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import main_attack
from evaluation.populations import outputs
from evaluation.populations.outputs import Outputs

IMAGES, TEST = 60, 1000  # images that train some models, and images that train none
APART = {"Original": 3.0, "FT": 1.5, "exact": 0.0}  # spreads between forgotten and never seen images
RESULT = {"status": "done", "compat": "fixed", "environment": {}}


def analytic(apart: float) -> float:
    """AUC between two normal distributions of one spread."""
    return norm.cdf(apart / math.sqrt(2))


class Made:
    """A study below a folder: every margin is normal, of another mean and spread for each image."""

    def __init__(self, folder: Path, splits: int = 24, sets: int = 4, sparsity: float = 0.0, seed: int = 0):
        self.folder, self.sparsity, self.random = folder, sparsity, np.random.default_rng(seed)
        self.centre = self.random.normal(0, 2, IMAGES + TEST)
        self.spread = self.random.uniform(0.5, 2, IMAGES + TEST)
        self.sets: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for split in range(splits):
            train = np.random.default_rng([seed, split]).permutation(IMAGES)[: IMAGES // 2]
            for place, forgotten in enumerate(np.split(train[: sets * 7], sets)):
                retain, forget = np.zeros((2, IMAGES + TEST), bool)
                retain[np.setdiff1d(train, forgotten)], forget[forgotten] = True, True
                self.sets[split, place] = retain, forget

    def model(self, method: str, split: int, place: int, name: str = "", apart: float | None = None) -> Path:
        """One model; what it retains, and an original forgets, is as far ahead as an original's."""
        retain, forget = self.sets[split, place]
        kind = {"Original": "original", "Retrain": "retrained"}.get(method, "unlearned")
        ahead = APART["Original"] * retain + (APART.get(method, 0.0) if apart is None else apart) * forget
        margin = self.centre + self.spread * (self.random.normal(0, 1, len(retain)) + ahead)
        folder = self.folder / (name or f"{method}-{self.sparsity}-{split}-{place}")
        folder.mkdir(parents=True)
        mark = hashlib.sha256(f"{folder.name} {self.sparsity}".encode()).hexdigest()[:16]
        run = f"{mark}-0" if kind == "original" else mark
        about = (margin.astype(np.float32), retain, forget, kind, run, "digest", split, place)
        outputs.write(folder / outputs.NAME, Outputs(*about))
        (folder / "result.json").write_text(json.dumps(self.result(method, kind, mark)))
        return folder

    def result(self, method: str, kind: str, mark: str) -> dict:
        config = {"data": {"dataset": "cifar10"}, "run": {"compat": "fixed"}, "hyper": {}}
        if kind == "original":
            rounds = [{"round": 0, "density": 1 - self.sparsity}]
            about = {"label": "imp", "script": "main_imp.py", "rounds": rounds, "model": {"arch": "resnet20s"}}
        else:
            name = "retrain" if kind == "retrained" else method
            about = {"label": name, "script": "main_forget.py", "method": name, "paper_name": method, "seed": 1}
            about |= {"model": {"arch": "resnet20s", "dataset": "cifar10", "sparsity": self.sparsity}}
            about |= {"scenario": {"kind": "indices", "words": "7 images"}}
            about |= {"scores": dict.fromkeys(("UA", "MIA-Efficacy", "RA", "TA", "RTE"), 0.5)}
        return {**RESULT, "fingerprint": mark, "config": config, **about}

    def all(self, *methods: str) -> Made:
        for method in methods:
            for pair in self.sets:
                self.model(method, *pair)
        return self


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, dict]:
    """A dense and a sparse population, attacked, and what was found."""
    folder = tmp_path_factory.mktemp("study")
    Made(folder).all("Original", "Retrain", "FT", "exact")
    Made(folder, sparsity=0.9, seed=1).all("Retrain", "FT")
    assert main_attack.main([str(folder), "--out", str(folder / "out"), "--bootstrap", "300"]) == 0
    return folder / "out", json.loads((folder / "out" / "attack.json").read_text())
