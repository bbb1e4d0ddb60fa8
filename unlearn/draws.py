"""Random numbers of unlearning methods, each drawn for a named purpose."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from trainer.task import Classification
from unlearn import lora
from unlearn.layers import Initialise, renew
from utils import seeds
from utils.device import moved


class Draws:
    """All random numbers of a method, from one seed.

    A draw depends on its purpose (and on the parameter's name, if there is one), never on earlier draws, so a resumed
    run repeats an undisturbed one. Tensors are drawn on the CPU, so every device gets the same numbers.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int):
        self._seed = seed

    def weight(self, name: str, like: Tensor, initialise: Initialise, *purpose: object) -> Tensor:
        """A new weight in the shape of ``like``, filled in place by ``initialise(tensor, generator)``."""
        drawn = torch.empty(like.shape)
        initialise(drawn, self._generator(*purpose, name))
        return drawn.to(like)

    def normal(self, name: str, like: Tensor, *purpose: object) -> Tensor:
        """Standard normal numbers in the shape of ``like``."""
        return torch.randn(like.shape, generator=self._generator(*purpose, name)).to(like)

    def step(self, like: Tensor, random: torch.Generator | None) -> Tensor:
        """Standard normal numbers in the shape of ``like`` for one step of training, from that training's generator."""
        return moved(torch.randn(like.shape, generator=random), like.device)

    def uniform(self, name: str, like: Tensor, *purpose: object) -> Tensor:
        """Uniform numbers in [0, 1) in the shape of ``like``."""
        return torch.rand(like.shape, generator=self._generator(*purpose, name)).to(like)

    def labels(self, labels: Tensor, classes: int, *purpose: object) -> Tensor:
        """A random class for each of ``labels``, int64 [N]; it may be the label itself."""
        return Classification(classes).wrong_targets(labels, seeds.derive(self._seed, *purpose), exclude_true=False)

    def order(self, count: int, *purpose: object) -> Tensor:
        """A random permutation of the numbers below ``count``, int64 [count] on the CPU."""
        return torch.randperm(count, generator=self._generator(*purpose))

    def pick(self, names: list[str], count: int, *purpose: object) -> list[str]:
        """``count`` of ``names``, drawn without repetition, in the order of ``names``; all if there are fewer."""
        return [names[position] for position in sorted(self.order(len(names), *purpose)[:count].tolist())]

    def network(self, model: nn.Module, *purpose: object) -> nn.Module:
        """A network of the model's architecture with new weights, on the model's device."""
        fresh = lora.without(copy.deepcopy(model).cpu())
        renew(fresh, seeds.derive(self._seed, *purpose))
        return fresh.to(next(model.parameters()).device)

    def _generator(self, *purpose: object) -> torch.Generator:
        return seeds.generator(self._seed, *purpose)
