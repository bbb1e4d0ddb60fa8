"""Plain, obviously correct versions of the project's steps, with which its times are compared.

Nothing here shares code with the project, except the definitions of the models.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as transforms

PAD = 4  # pixels on every side
SCALE = 1000  # divisor in IU's recursion, see ``recursion``


class PerImage(Dataset):
    """A data set whose images are padded, cropped, flipped and scaled to [0, 1] one at a time.

    Args:
        images: uint8 [N, H, W, 3].
        labels: int64 [N].
        shifts: int [N, 2], top and left corner of every image's crop in the padded image; None for no augmentation.
        flips: whether each image is flipped, bool [N]; used only with ``shifts``.
    """

    def __init__(self, images: np.ndarray, labels: Tensor, shifts: Tensor | None = None, flips: Tensor | None = None):
        self.images, self.labels, self.shifts, self.flips = (
            [Image.fromarray(image) for image in images],
            labels.tolist(),
            shifts,
            flips,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if self.shifts is not None:
            top, left = self.shifts[index].tolist()
            image = transforms.crop(transforms.pad(image, PAD), top, left, image.height, image.width)
            image = transforms.hflip(image) if self.flips[index] else image
        return transforms.to_tensor(image), self.labels[index]


def loader(images: PerImage, size: int) -> DataLoader:
    """Batches of ``size`` images in order, loaded in this process."""
    return DataLoader(images, batch_size=size)


def epoch(model: nn.Module, mask: dict[str, Tensor], data: PerImage, lr: float, size: int) -> dict[str, Tensor]:
    """The state dict after an epoch of SGD on cross-entropy, with weights pruned by torch's reparametrisation.

    Args:
        mask: bool tensors by parameter name, True for weights that are kept.
        size: images in a batch.
    """
    model = copy.deepcopy(model).train()
    layers = [(model.get_submodule(name.removesuffix(".weight")), name) for name in mask]
    for layer, name in layers:
        prune.custom_from_mask(layer, "weight", mask[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    for images, labels in loader(data, size):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for layer, _ in layers:
        prune.remove(layer, "weight")
    return model.state_dict()


def fisher(model: nn.Module, data: PerImage, size: int) -> dict[str, Tensor]:
    """FF's curvature by parameter name, with one backward pass for every batch and class."""
    model.eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    batches = loader(data, size)
    for images, _ in batches:
        log_probs = F.log_softmax(model(images), dim=1)
        belief = log_probs.detach().exp().mean(0)
        for label in range(log_probs.shape[1]):
            model.zero_grad()
            (-log_probs[:, label].mean()).backward(retain_graph=True)
            for name, p in model.named_parameters():
                total[name] += belief[label] * p.grad**2 / len(batches)
    return total


def influence(model: nn.Module, forget: PerImage, retain: PerImage, size: int, samples: int) -> dict[str, Tensor]:
    """IU's direction by parameter name: gradients batch by batch, then ``recursion`` over ``samples`` retain images."""
    model.eval()
    parameters = dict(model.named_parameters())

    def summed(data: PerImage) -> list[Tensor]:
        sums = [torch.zeros_like(p) for p in parameters.values()]
        for images, labels in loader(data, size):
            for total, gradient in zip(
                sums,
                torch.autograd.grad(F.cross_entropy(model(images), labels, reduction="sum"), list(parameters.values())),
            ):
                total += gradient
        return sums

    count = len(forget) + len(retain)
    step = [f / count - r * len(forget) / (count * len(retain)) for f, r in zip(summed(forget), summed(retain))]
    return dict(zip(parameters, recursion(model, step, retain, samples)))


def recursion(model: nn.Module, step: list[Tensor], retain: PerImage, samples: int) -> list[Tensor]:
    """IU's recursion for the inverse Hessian times ``step`` (a tensor per parameter), one image at a time."""
    parameters = list(model.parameters())
    first, sigma, moved = None, 1.0, [value.clone() for value in step]
    for index in range(samples):
        image, label = retain[index]
        gradient = torch.autograd.grad(F.cross_entropy(model(image[None]), torch.tensor([label])), parameters)
        if first is None:
            first = gradient
            continue
        sigma = sigma + sum((a * b).sum() for a, b in zip(first, gradient)) / SCALE
        along = sum((a * b).sum() for a, b in zip(moved, gradient))
        moved = [value - along / (SCALE * sigma) * direction for value, direction in zip(moved, first)]
    return moved


@torch.no_grad()
def probabilities(model: nn.Module, data: PerImage, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax outputs, float32 [N, C], and labels, int64 [N], by one pass over the data."""
    model.eval()
    found = [(F.softmax(model(images), dim=1), labels) for images, labels in loader(data, size)]
    return torch.cat([p for p, _ in found]).numpy(), torch.cat([y for _, y in found]).numpy()


def scores(model: nn.Module, sets: dict[str, PerImage], size: int) -> dict[str, Any]:
    """Accuracies by set and both SVC attacks, in [0, 1]: one pass over the data per metric, one SVC per feature."""
    accuracy = {}
    for name, data in sets.items():
        outputs, labels = probabilities(model, data, size)
        accuracy[name] = float((outputs.argmax(1) == labels).mean())
    result: dict[str, Any] = {"accuracy": accuracy}
    retain, test = (probabilities(model, sets[name], size) for name in ("retain", "test"))
    count = min(len(test[1]), len(retain[1]))
    forget = probabilities(model, sets["forget"], size)
    result["SVC_MIA_forget_efficacy"] = _attacks(_part(retain, 0, count), _part(test, 0, count), None, forget)
    retain, test = (probabilities(model, sets[name], size) for name in ("retain", "test"))
    half = min(len(test[1]) // 2, len(retain[1]) // 2)
    result["SVC_MIA_training_privacy"] = _attacks(
        _part(retain, 0, half), _part(test, 0, half), _part(retain, half, None), _part(test, half, None)
    )
    return result


def _part(outputs: tuple[np.ndarray, np.ndarray], start: int, stop: int | None) -> tuple[np.ndarray, np.ndarray]:
    return outputs[0][start:stop], outputs[1][start:stop]


def _columns(probs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    true = probs[np.arange(len(labels)), labels]
    rest = probs * np.log(np.maximum(1 - probs, 1e-30))
    rest[np.arange(len(labels)), labels] = 0
    return {
        "correctness": (probs.argmax(1) == labels)[:, None],
        "confidence": true[:, None],
        "entropy": -(probs * np.log(np.where(probs > 0, probs, 1))).sum(1)[:, None],
        "m_entropy": (-(1 - true) * np.log(np.maximum(true, 1e-30)) - rest.sum(1))[:, None],
        "prob": probs,
    }


def _attacks(members: Any, others: Any, target_members: Any, target_others: Any) -> dict[str, float]:
    from sklearn.svm import SVC

    result = {}
    for key in ("correctness", "confidence", "entropy", "m_entropy", "prob"):
        rows = [
            None if part is None else _columns(*part)[key].astype(np.float64)
            for part in (members, others, target_members, target_others)
        ]
        judge = SVC(C=3, kernel="rbf", gamma="auto").fit(
            np.concatenate(rows[:2]), np.repeat([1, 0], [len(rows[0]), len(rows[1])])
        )
        right = 1 - judge.predict(rows[3]).mean()
        result[key] = float(right if rows[2] is None else (judge.predict(rows[2]).mean() + right) / 2)
    return result


def synflow(model: nn.Module, rate: float, steps: int, side: int = 32) -> dict[str, Tensor]:
    """SynFlow's masks by parameter name, through torch's own global pruning.

    Args:
        rate: fraction of the convolutions' weights to prune.
        steps: number of pruning steps.
        side: of the input in pixels.
    """
    blank, model = copy.deepcopy(model).eval(), copy.deepcopy(model)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    pairs = [(layer, "weight") for layer in layers.values()]
    total = remaining = sum(layer.weight.numel() for layer in layers.values())
    goal = total - round(rate * total)
    for layer, name in pairs:
        prune.identity(layer, name)
    for step in range(1, steps + 1):
        flow = _flow(blank, {name: layer.weight.detach() for name, layer in layers.items()}, side)
        count = round((1 - (1 - rate) ** (1 / steps)) * remaining) if step < steps else remaining - goal
        prune.global_unstructured(pairs, prune.L1Unstructured, importance_scores=dict(zip(pairs, flow)), amount=count)
        remaining -= count
    return {f"{name}.weight": layer.weight_mask.bool() for name, layer in layers.items()}


def _flow(model: nn.Module, weights: dict[str, Tensor], side: int) -> list[Tensor]:
    positive = copy.deepcopy(model)
    layers = [positive.get_submodule(name) for name in weights]
    for layer, weight in zip(layers, weights.values()):
        layer.weight.data = weight.clone()
    for tensor in positive.state_dict().values():
        tensor.abs_()
    positive(torch.ones(1, 3, side, side)).sum().backward()
    return [(layer.weight * layer.weight.grad).detach().abs() for layer in layers]
