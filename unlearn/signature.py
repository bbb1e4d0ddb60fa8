"""The types in a method's signature, for type checkers only: at run time ``--help`` reads methods without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.task import Batch, Figures
    from unlearn.context import Context, Sets
else:
    Batch = Context = Figures = Sets = Tensor = nn = Any

__all__ = ["Batch", "Context", "Figures", "Sets", "Tensor", "nn"]
