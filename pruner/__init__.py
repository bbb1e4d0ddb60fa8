"""Masks: score weights, choose which to keep, hold the pruned ones at zero.

A mask is plain data: a ``dict`` from parameter name to a boolean tensor of the parameter's shape,
True where the weight is kept. ``density`` is the fraction kept, ``sparsity`` the fraction pruned.
A pruning score is one function in ``pruner/scores.py``.
"""

from pruner.enforcer import MaskEnforcer, check_held
from pruner.masks import Mask, Scores, choose, density, empty_layers, sparsity
from pruner.prunable_weights import prunable
from pruner.scores import Sample, prune, score, scores

Hold = MaskEnforcer  # its name until version 0.1
