"""Other papers' settings of methods, for ``--preset``: the flags' values where they differ from the defaults."""

from __future__ import annotations

from typing import Any

_RELABELLING = {"batch_size": 128, "schedule": "cosine", "order": "joint", "relabel": "once"}
_PLAIN_SGD = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "no_aug": True}

# Huang et al. 2024 (SFR-on), by method.
SFRON: dict[str, dict[str, Any]] = {
    "BT": {"optimizer": "sgd", "unlearn_lr": 0.02, "unlearn_epochs": 10, "batch_size": 128, "schedule": "cosine"}
    | {"weight_decay": 5e-4, "no_aug": False},
    "FT": {"batch_size": 128, "schedule": "cosine"},
    "GA": {"unlearn_epochs": 9, "batch_size": 128, "schedule": "constant", "eval_mode": True, "max_norm": 0.1},
    "retrain": {"unlearn_epochs": 200, "batch_size": 128, "schedule": "cosine"},
    "RL": _RELABELLING | {"unlearn_lr": 0.003},
    "SalUn": _RELABELLING | {"unlearn_lr": 0.007, "saliency_threshold": 0.2},
    "SCRUB": {"unlearn_epochs": 6, "unlearn_lr": 8e-5, "schedule": "cosine", "weight_decay": 5e-4, "max_steps": 2}
    | {"gamma": 0.99, "alpha": 1e-3, "temperature": 4.0, "no_rewind": True, "batch_size": 128}
    | {"forget_batch_size": 128, "no_aug": False},
}
# Cadet et al. 2025 (Deep Unlearn), by method; ``benchmark.benchmarked`` adds those whose defaults are its own.
DEEP_UNLEARN: dict[str, dict[str, Any]] = {
    "fisher_new": {"alpha": 0.2, "fisher_batch_size": 64, "keep_rows": True, "no_aug": True},
    "FT": {"unlearn_epochs": 5, "unlearn_lr": 0.1, "schedule": "cosine", "no_aug": True},
    "GA": {"unlearn_epochs": 10, "unlearn_lr": 0.01, "schedule": "constant", "no_aug": True},
    "raw": {},
    "retrain": {"unlearn_epochs": 182, "schedule": "cosine"},
    "SalUn": {"unlearn_lr": 0.01, "order": "joint"} | _PLAIN_SGD,
    "wfisher": {"alpha": 0.2, "no_aug": True},
}
# Andreou et al. 2026 (SUPREME), by method; values that depend on the scenario are those for classes.
SUPREME: dict[str, dict[str, Any]] = {
    "JiT": {"noise_std": 0.1, "noisy_copies": 10, "unlearn_lr": 1e-3},
    "LFSSD": {"alpha": 10.0},
    "RL": {"optimizer": "adam", "unlearn_lr": 1e-4, "unlearn_epochs": 3, "batch_size": 128, "schedule": "constant"}
    | {"weight_decay": 0.0, "order": "joint", "relabel": "once"},
    "SSD": {"alpha": 10.0},
    "UNSIR": {},
}


def of(method: str) -> dict[str, dict[str, Any]]:
    """The presets of a method by their names."""
    tables = {"deepunlearn": DEEP_UNLEARN, "sfron": SFRON, "supreme": SUPREME}
    return {name: table[method] for name, table in tables.items() if method in table}
