"""Train only the last blocks of a model, with a penalty on the distance from the weights that they start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from trainer.task import Batch, Figures
from unlearn import layers
from unlearn.benchmark import reference_drops
from unlearn.context import Context, Sets
from unlearn.penalty import squared_distance


def train(
    model: nn.Module,
    sets: Sets,
    config: Any,
    context: Context,
    blocks: dict[str, nn.Module],
    eval_modules: Sequence[nn.Module] = (),
) -> None:
    """Minimise the loss on the retain set plus ``config.anchor`` / 2 times the squared distance from the start.

    Args:
        config: hyper-parameters of CF-k or EU-k.
        blocks: modules by name whose own parameters train; all others are frozen.
        eval_modules: modules that stay in eval mode.
    """
    config = reference_drops(config, late=1) if context.compat == "reference" else config
    start = {name: model.get_parameter(name).detach().clone() for name in layers.parameter_names(blocks)}

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        loss, figures = context.task.mean(model, batch)
        return loss + config.anchor / 2 * squared_distance(model, start), figures

    with layers.train_only(model, set(start)):
        context.fit(model, sets.retain, config, objective, eval_modules=eval_modules)
