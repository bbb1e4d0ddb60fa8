"""Adapter through which numbers of the reference implementation are compared with ours.

Every function runs in ``--compat reference`` and speaks in plain arrays and tensors.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import models
import pruner
from dataset import split as splits
from dataset.images import ImageSet
from dataset.scenario import Scenario
from evaluation import mia
from evaluation.predict import Predictions
from unlearn import curvature, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.methods import fisher_forgetting
from utils import checkpoints
from utils.log import Log

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _build(arch: str) -> torch.nn.Module:
    return models.build(arch.removesuffix("_imagenet"), 10, *CIFAR10, imagenet_stem=arch.endswith("_imagenet"), compat="reference")


def _with_state(arch: str, state: dict[str, Tensor]) -> torch.nn.Module:
    model = _build(arch)
    model.load_state_dict(state)
    return model.eval()


def state_dict_shapes(arch: str) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in _build(arch).state_dict().items()}


def logits(arch: str, state: dict[str, Tensor], images: Tensor) -> Tensor:
    return _with_state(arch, state)(images)


def split(labels: np.ndarray, class_to_replace: int | None, num_indexes_to_replace: int | None, seed: int) -> dict[str, np.ndarray]:
    base = splits.split_base(labels, seed)
    label = None if class_to_replace in (None, -1) else class_to_replace
    found = splits.split_for_unlearning(labels, labels, base, base, Scenario(None if label is None else (label,), num_indexes_to_replace), seed)
    return {"retain": found.retain, "forget": found.forget, "val": found.val}


def masks(arch: str, state: dict[str, Tensor], kind: str, rate: float) -> dict[str, Tensor]:
    model = _with_state(arch, state)
    return pruner.prune(model, kind, rate, pruner.Sample(1, torch.zeros(1, 3, 32, 32)))


def _load(checkpoint: str) -> tuple[torch.nn.Module, pruner.Mask]:
    loaded = checkpoints.read(Path(checkpoint), "checkpoint")
    model = _build("resnet20s")
    checkpoints.load_weights(model, loaded)
    return model, loaded.mask


def _image_set(data: tuple) -> ImageSet:
    images, labels = (torch.as_tensor(np.asarray(part)) for part in data)
    return ImageSet(images.permute(0, 3, 1, 2), labels)


def _context(mask: pruner.Mask, hyper: dict) -> Context:
    label = hyper.get("class_to_replace", 0)
    scenario = Scenario(None if label in (None, -1) else (label,), hyper.get("num_indexes_to_replace"))
    return Context(mask, torch.device("cpu"), 1, "reference", "cifar10", 10, scenario, (), Log(None))


def unlearn(method: str, checkpoint: str, retain: tuple, forget: tuple, hyper: dict) -> dict[str, Tensor]:
    model, mask = _load(checkpoint)
    chosen = registry.get(method)
    known = chosen.config.__dataclass_fields__
    values = {key: value for key, value in hyper.items() if key in known}
    if hyper.get("batch") == "full":
        values["batch_size"] = max(len(retain[1]), len(forget[1]))
    sets = {"retain": _image_set(retain), "forget": _image_set(forget)}
    return apply(chosen, model, sets, chosen.config(**values), _context(mask, hyper)).model.state_dict()


def fisher_noise(checkpoint: str, retain: tuple, hyper: dict) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model, mask = _load(checkpoint)
    model.eval()
    context = _context(mask, hyper)
    h = curvature.fisher_of_batches(model, _image_set(retain).batches(hyper["batch"]), mask)
    return fisher_forgetting.noise(model, h, mask, hyper["alpha"], 10, fisher_forgetting.wiped_rows(context), "reference")


def svc_mia(shadow_train, shadow_test, target_train, target_test) -> dict[str, float]:
    def predictions(pair):
        if pair is None:
            return None
        return Predictions(torch.as_tensor(pair[0]).clamp_min(1e-38).log(), torch.as_tensor(pair[1]))

    return mia.svc_mia(*(predictions(pair) for pair in (shadow_train, shadow_test, target_train, target_test)), compat="reference")


def modified_entropy(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return mia.modified_entropy(np.asarray(probs), np.asarray(labels))
