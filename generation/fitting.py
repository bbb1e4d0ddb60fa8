"""Default hyper-parameters for diffusion models, by back end. Imports no torch, so that ``--help`` is fast."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from unlearn.registry import Method

# By method, defaults that differ from those for classifiers: the hyper-parameters of Huang et al. 2024 (SFR-on) and
# Fan et al. 2024 (SalUn) for the DDPM on CIFAR-10.
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
# Huang et al. 2024, released code, for DiT-XL/2 on ImageNet.
_DIT = _STEPS | {"optimizer": "adamw", "batch_size": 1, "iterations": 600}
FITTING_DIT: dict[str, dict[str, Any]] = {
    "SFRon": _DIT | {"forget_freq": 1, "forget_alpha": 1e-3, "forget_decay": "none", "unlearn_loss": "ga"},
    "GA": _DIT | {"iterations": 50, "unlearn_lr": 1e-5},
    "RL": _DIT | {"order": "paired", "remain_alpha": 1.0},
    "SalUn": _DIT | {"order": "paired", "remain_alpha": 1.0},
    "SalUn_soft": _DIT | {"order": "paired", "remain_alpha": 1.0},
}
# Fan et al. 2024 and Huang et al. 2024, released code, for Stable Diffusion v1.4.
_SD = _STEPS | {"unlearn_lr": 1e-5, "batch_size": 8, "max_norm": 0.0, "iterations": 600}
FITTING_SD: dict[str, dict[str, Any]] = {
    "SFRon": _SD
    | {"batch_size": 2, "iterations": 1000, "forget_freq": 1, "forget_alpha": 1.0, "forget_decay": "none"}
    | {"unlearn_loss": "rl"},
    "GA": _SD | {"iterations": 100},
    "RL": _SD | {"order": "paired", "remain_alpha": 0.1},
    "SalUn": _SD | {"order": "paired", "remain_alpha": 0.1},
    "SalUn_soft": _SD | {"order": "paired", "remain_alpha": 0.1},
    "ESD": _SD | {"iterations": 1000, "batch_size": 1},
}
BY_KIND = {"ddpm": (_STEPS, FITTING), "dit": (_DIT, FITTING_DIT), "sd": (_SD, FITTING_SD)}
# Defaults of other flags that differ from those for a DDPM, by the attribute of ``GenerateArguments`` that holds them.
SUITED: dict[str, dict[str, dict[str, Any]]] = {
    "ddpm": {},
    "vae": {},
    "dit": {
        "settings": {"steps": 400_000, "batch_size": 256, "lr": 1e-4, "max_norm": 0.0},
        "drawing": {"timesteps": 250, "cond_scale": 3.0, "sample_batch_size": 32, "sample_type": "pipeline"},
    },
    "sd": {
        "settings": {"steps": 1000, "batch_size": 8, "lr": 1e-5, "class_drop": 0.0},
        "erase": {"class_drop": 0.0},
        "drawing": {"timesteps": 50, "cond_scale": 6.5, "sample_batch_size": 8, "sample_type": "pipeline", "eta": 0.0},
    },
}
# Weight of SalUn's retain loss. "reference" averages the forget loss over an image's 3,072 numbers but sums the retain
# loss, so that 1e-3 there has about the effect of 3 where both are sums.
REMAIN = {"fixed": 3.0, "reference": 1e-3}
AVERAGE = {"fixed": 0.9, "reference": 0.0}  # decay of the moving average of the weights, by step


def of(method: Method, compat: str, kind: str = "ddpm") -> dict[str, Any]:
    """Defaults of a method's flags for a diffusion model, by the flag's name.

    Args:
        compat: "fixed" or "reference".
        kind: the back end: "ddpm", "dit" or "sd".
    """
    known = {field.name for field in fields(method.config)}
    steps, fitting = BY_KIND[kind]
    values = {"remain_alpha": REMAIN[compat]} if method.name in ("RL", "SalUn", "SalUn_soft") else {}
    values |= fitting.get(method.name, steps) | {"ema_decay": AVERAGE[compat]}
    return {name: value for name, value in values.items() if name in known}


def suited(kind: str) -> dict[str, dict[str, Any]]:
    """Defaults in which a back end differs from a DDPM: by part of ``GenerateArguments``, then by flag."""
    return SUITED[kind]
