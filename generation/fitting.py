"""Hyper-parameters that suit a diffusion model. Imports no torch, because ``--help`` needs it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from unlearn.registry import Method

# What suits a diffusion model where it differs from the classifier's defaults, by method: the hyper-parameters of
# Huang et al. 2024 (SFR-on) and Fan et al. 2024 (SalUn) for the DDPM of CIFAR-10.
_STEPS = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "batch_size": 128, "max_norm": 1.0}
_STEPS |= {"unlearn_lr": 1e-4}
_RELABEL = _STEPS | {"iterations": 1000, "order": "paired"}
FITTING: dict[str, dict[str, Any]] = {
    "SFRon": _STEPS
    | {"iterations": 150, "forget_freq": 1, "forget_alpha": 10.0, "forget_decay": "cosine", "retain_max_norm": 1.0},
    "FT": _STEPS | {"iterations": 150},
    "GA": _STEPS | {"iterations": 50, "unlearn_lr": 1e-5},
    "RL": _RELABEL,
    "SalUn": _RELABEL,
    "SalUn_soft": _RELABEL,
    "SA": _STEPS | {"iterations": 20_000},
    "ESD": _STEPS | {"iterations": 1000, "unlearn_lr": 1e-5, "batch_size": 1, "max_norm": 0.0},
}
REMAIN = {"fixed": 3.0, "reference": 1e-3}  # weight of SalUn's retain loss; both alike at 3,072 numbers in an image
AVERAGE = {"fixed": 0.9, "reference": 0.0}  # of the weights after every step


def of(method: Method, compat: str) -> dict[str, Any]:
    """The defaults of a method's flags for a diffusion model."""
    known = {field.name for field in fields(method.config)}
    values = FITTING.get(method.name, _STEPS) | {"ema_decay": AVERAGE[compat]}
    if method.name in ("RL", "SalUn", "SalUn_soft"):
        values["remain_alpha"] = REMAIN[compat]
    return {name: value for name, value in values.items() if name in known}
