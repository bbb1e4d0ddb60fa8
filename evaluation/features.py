"""What a classifier computes on its way to the logits: the input of its last layer, and every layer's output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dataset.images import Images
from evaluation.predict import Predictions, at_once, predict
from evaluation.similarity import gram
from models.parts import named_head

BATCH = 256  # images of a Gram matrix


class _WithInput(nn.Module):
    """A last layer that appends its input to its output."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.head(features), features], dim=-1)


def predict_with_features(
    model: nn.Module, sets: Mapping[str, Images]
) -> tuple[dict[str, Predictions], dict[str, Tensor]]:
    """Predictions, and features: the inputs of the model's last linear layer, from one pass over the images.

    If the model's outputs are not those of its last linear layer, the logits serve as features.

    Args:
        model: put into eval mode.
        sets: images by name.
    Returns:
        Predictions by set, and features by set, float32 [N, D] on the CPU.
    Raises:
        DivergedError: an output is NaN or infinite.
    """
    wide = _handing_on(model, next(iter(sets.values())))
    predictions = predict(model if wide is None else wide, sets)
    if wide is None:
        return predictions, {name: one.logits for name, one in predictions.items()}
    classes = named_head(model)[1].out_features
    plain = {name: Predictions(one.logits[:, :classes], one.labels) for name, one in predictions.items()}
    return plain, {name: one.logits[:, classes:] for name, one in predictions.items()}


@torch.inference_mode()
def _handing_on(model: nn.Module, images: Images) -> nn.Module | None:
    """A copy that returns logits and features in one row; None if the logits are not the last linear layer's output."""
    try:
        name, head = named_head(model)
    except ValueError:
        return None
    wide = copy.deepcopy(model).eval()
    parent, _, own = name.rpartition(".")
    setattr(wide.get_submodule(parent), own, _WithInput(wide.get_submodule(name)))
    batch, _ = next(images.first(2).batches(2))
    try:
        outputs, plain = wide(batch), model.eval()(batch)
    except Exception:  # noqa: BLE001  (a forward pass that looks into its last layer can fail in any way)
        return None
    whole = outputs.shape == (len(batch), head.out_features + head.in_features)
    return wide if whole and torch.allclose(outputs[:, : head.out_features], plain, atol=1e-5) else None


@torch.inference_mode()
def layer_grams(model: nn.Module, layers: Sequence[str], images: Images) -> dict[str, list[Tensor]]:
    """Gram matrices of layers' centred outputs, for ``similarity.alignment``.

    Args:
        model: put into eval mode.
        layers: names of modules; one that does not run, or returns no tensor, is absent from the result.
        images: every ``BATCH`` of them give one matrix. The remainder gives one too if it has more than 3 images.
    Returns:
        By layer a list of matrices, float64 [B, B] on the CPU, with zeros on the diagonal.
    """
    grams: dict[str, list[Tensor]] = {name: [] for name in layers}
    model.eval()
    for begin in range(0, len(images), BATCH):
        part = images.at(images.indices[begin : begin + BATCH])
        if len(part) <= 3:
            continue
        with _kept(model, layers) as outputs:
            for batch, _ in part.batches(min(at_once(part), BATCH)):
                model(batch)
        for name, parts in outputs.items():
            if parts:
                rows = torch.cat(parts)
                grams[name].append(gram(rows - rows.mean(0)).double().cpu())
    return {name: matrices for name, matrices in grams.items() if matrices}


@contextmanager
def _kept(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Context that records the outputs of these layers; yields by layer a float [B, D] for each batch."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs[name].append(output.flatten(1).float())

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
