"""LoRA: unlearn by training small adapters and the classifier of a frozen model, through peft.

A layer's weight W acts as W + (alpha / rank) B A, where only the low-rank A and B train. B starts at zero, so training
starts at the given model (Hu et al. 2022). Everything else is frozen to the bit. Batch norm's running statistics follow
the images as in any training, but in copies that belong to the adapters, so the frozen model does not change. peft is
imported only here, inside functions.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import pruner
from models import parts
from pruner import Mask
from utils import files, seeds
from utils.errors import RunError, UsageError

if TYPE_CHECKING:
    from peft import PeftModel

KINDS = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # peft puts this before every name
AFTERWARDS = {"masked": "afterwards merged, then masked", "none": "afterwards kept apart"}


@dataclass(frozen=True)
class Plan:
    """Which layers of an architecture get adapters.

    Attributes:
        flags: rank, alpha, dropout and what becomes of the adapters (``unlearn.unlearn_flags.Lora``).
        targets: names of the layers with adapters, in module order.
        head: name of the classifier's last layer, which trains as a whole.
        norms: names of the batch norms, whose statistics follow the images.
        trainable: number of parameters that train.
        total: number of all parameters, frozen ones included.
    """

    flags: Any
    targets: tuple[str, ...]
    head: str
    norms: tuple[str, ...]
    trainable: int
    total: int

    @property
    def stored_separately(self) -> bool:
        """Whether adapters and frozen model are stored separately instead of being merged."""
        return self.flags.lora_merge == "none"

    def facts(self) -> dict[str, Any]:
        """The plan as plain data."""
        settings = {name.removeprefix("lora_"): value for name, value in vars(self.flags).items() if name != "lora"}
        counts = {"trainable": self.trainable, "total": self.total}
        return {**settings, "targets": list(self.targets), "head": self.head, **counts}

    def words(self) -> str:
        """The plan in words."""
        return (
            f"LoRA of rank {self.flags.lora_rank} (alpha {self.flags.lora_alpha:g}, "
            f"dropout {self.flags.lora_dropout:g}) on {len(self.targets)} layers, and {self.head} whole; "
            f"{self.trainable:,} of {self.total:,} parameters train "
            f"({100 * self.trainable / self.total:.2f} %); {AFTERWARDS[self.flags.lora_merge]}"
        )


def plan(flags: Any, blank: nn.Module) -> Plan:
    """Choose the layers and count parameters.

    Args:
        flags: ``unlearn.unlearn_flags.Lora``.
        blank: the architecture on the meta device; it is changed and must not be used afterwards.
    Raises:
        UsageError: peft is not installed, the architecture has no linear classifier, or a target is no layer that can
            have adapters.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UsageError("--lora: peft is not installed; pip install peft") from error
    if parts.head(blank) is None:
        raise UsageError("--lora: this architecture has no linear classifier to train")
    head, classifier = parts.named_head(blank)
    targets = _by_default(blank, head) if flags.lora_targets is None else _named(blank, head, flags.lora_targets)
    norms = tuple(name for name, module in blank.named_modules() if isinstance(module, _BatchNorm))
    whole, last = (sum(p.numel() for p in module.parameters()) for module in (blank, classifier))
    adapted = attach(blank, Plan(flags, targets, head, norms, 0, 0), 0)
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    return Plan(flags, targets, head, norms, trainable, whole - last + trainable)


def _by_default(model: nn.Module, head: str) -> tuple[str, ...]:
    """The layers that are pruned: convolutions, or the linear layers of a transformer; see ``pruner.prunable``."""
    names = {name.rpartition(".")[0] for name in pruner.prunable(model)}
    fitting = [name for name, module in _layers(model).items() if name != head and _mergeable(module)]
    return tuple(name for name in fitting if name in names)


def _named(model: nn.Module, head: str, endings: tuple[str, ...]) -> tuple[str, ...]:
    """The layers that a user names, by full names or by the ends of names, as in peft."""
    layers, names = _layers(model), set[str]()
    for target in endings:
        matching = [name for name, _ in model.named_modules() if name == target or name.endswith(f".{target}")]
        strange = [name for name in matching if name not in layers or not _mergeable(layers[name])]
        if not matching or strange:
            fitting = [name for name, module in layers.items() if name != head and _mergeable(module)]
            ends = sorted({name.rpartition(".")[2] for name in fitting})
            problem = f"{strange[0]} is no layer that can have adapters" if strange else "no layer's name ends so"
            raise UsageError(f"--lora_targets {target}: {problem}; names that do: {', '.join(ends)}")
        names |= set(matching) - {head}
    if not names:
        raise UsageError(
            f"--lora_targets {','.join(endings)}: is the classifier alone, which trains whole; name other layers too"
        )
    return tuple(name for name in layers if name in names)


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers of the types ``KINDS`` by name, without attention's output projection, which is part of the attention."""
    attention = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)]
    layers = {name: module for name, module in model.named_modules() if isinstance(module, KINDS)}
    return {name: module for name, module in layers.items() if not name.startswith(tuple(attention))}


def _mergeable(module: nn.Module) -> bool:
    return getattr(module, "groups", 1) == 1  # peft cannot merge a grouped convolution


def attach(model: nn.Module, adapters: Plan, seed: int) -> nn.Module:
    """Freeze ``model`` and give it adapters, in place; returns peft's model around it.

    Args:
        seed: the run's seed, which seeds the initial values of the adapters; they are drawn on the CPU.
    """
    import peft

    flags = adapters.flags
    config = peft.LoraConfig(
        r=flags.lora_rank,
        lora_alpha=flags.lora_alpha,
        lora_dropout=flags.lora_dropout,
        target_modules=list(adapters.targets),
        modules_to_save=[adapters.head, *adapters.norms],
    )
    config._register_custom_module({nn.MultiheadAttention: _exact_attention()})
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses names of transformers that are deprecated
        torch.manual_seed(seeds.derive(seed, "adapters"))
        adapted = peft.get_peft_model(model, config)
    for module in adapted.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
        elif isinstance(module, _exact_attention()):
            module.get_base_layer().out_proj.requires_grad_(False)
    return parts.lay_out(adapted)


@functools.cache
def _exact_attention() -> type[Any]:
    """peft's adapter of attention with packed weights, corrected; a class made here because peft is imported late."""
    from peft.tuners.lora.layer import MultiheadAttention

    class ExactAttention(MultiheadAttention):
        """peft's adapter of torch's packed attention under the same names, without two faults.

        In every pass, peft adds the update to the frozen weights and subtracts it again, which changes their last
        digits. Here the weights are not changed. peft 0.21 also counts the update of the output projection twice. Here
        ``attach`` freezes that update at zero, so that it makes no difference.
        """

        def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
            base = self.get_base_layer()
            if self.disable_adapters or self.merged:
                return base(query, *args, **kwargs)
            update = sum(self.get_delta_weight(name) for name in self.active_adapters)
            weights = {"in_proj_weight": base.in_proj_weight + update}
            return torch.func.functional_call(base, weights, (query, *args), kwargs)

        def _restore_weights(self) -> None:
            """Does nothing, since ``forward`` does not change the weights."""

    return ExactAttention


def without(model: nn.Module) -> nn.Module:
    """The model without its adapters, which are removed; a model without adapters is returned unchanged."""
    return model.unload().requires_grad_(True) if is_adapted(model) else model


def is_adapted(model: nn.Module) -> TypeGuard[PeftModel]:
    """Whether ``model`` is peft's, with adapters in it."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def frozen(adapted: nn.Module) -> dict[str, str]:
    """Names of the frozen model's entries, by their names in the state dict of the adapted model."""
    return {
        key: key.removeprefix(PREFIX).replace(".base_layer", "").replace(".original_module", "")
        for key in adapted.state_dict()
        if ".lora_" not in key and ".modules_to_save." not in key
    }


def base_state(adapted: nn.Module) -> dict[str, Tensor]:
    """State dict of the frozen model, under its own names."""
    state = adapted.state_dict()
    return {name: state[key] for key, name in frozen(adapted).items()}


def check_frozen(adapted: nn.Module, start: nn.Module, mask: Mask, who: str) -> None:
    """Raise unless the frozen model is exactly equal to ``start`` under ``mask``.

    Raises:
        RunError: names ``who`` and the first entry that changed.
    """
    now = base_state(adapted)
    for name, value in start.state_dict().items():
        expected = value * mask[name].to(value) if name in mask else value
        if not torch.equal(now[name], expected):
            raise RunError(f"{who} changed {name}, which is frozen under the adapters")


def merge(adapted: PeftModel, mask: Mask) -> nn.Module:
    """The plain model, with the adapters added to its weights and pruned weights at zero.

    ``adapted`` is changed and must not be used afterwards.

    Raises:
        RunError: a weight is not finite.
    """
    try:
        merged = adapted.merge_and_unload(safe_merge=True).requires_grad_(True)
    except ValueError as error:
        raise RunError(f"the adapters cannot be merged ({error})") from error
    pruner.MaskEnforcer(merged, mask)
    return merged


def write(adapted: PeftModel, folder: Path) -> None:
    """Store the adapters as peft does, each file in one step; equal adapters give equal bytes.

    Raises:
        RunError: a method changed the number of classes, so the classifier does not fit the frozen model.
    """
    from peft.utils import ModulesToSaveWrapper

    kept = [module for module in adapted.modules() if isinstance(module, ModulesToSaveWrapper)]
    if any(module.original_module.weight.shape != module.modules_to_save["default"].weight.shape for module in kept):
        raise RunError("the classifier has other classes than the frozen model has; --lora_merge masked can store it")
    with tempfile.TemporaryDirectory() as place:
        adapted.save_pretrained(place)
        config = json.loads(Path(place, CONFIG).read_text())
        weights = Path(place, WEIGHTS).read_bytes()
    # These name a class that is made at run time, and a path of the machine.
    config |= {"auto_mapping": None, "base_model_name_or_path": None}
    files.make_folder(folder)
    files.write_bytes(folder / WEIGHTS, weights)
    files.write_json(
        folder / CONFIG, {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    )


def read(model: nn.Module, adapters: Plan, folder: Path, flag: str = "--resume") -> nn.Module:
    """Give ``model`` the adapters that are stored in ``folder``, in place; returns peft's model around it.

    Args:
        flag: the flag for which they are read, for errors.
    Raises:
        UsageError: the folder holds no adapters, or those of another plan.
    """
    import peft
    from safetensors.torch import load_file

    adapted = attach(model, adapters, 0)
    try:
        stored = load_file(folder / WEIGHTS)
        fitting = stored.keys() == peft.get_peft_model_state_dict(adapted).keys()
        if fitting:
            peft.set_peft_model_state_dict(adapted, stored)
    except Exception as error:  # noqa: BLE001  (a missing, damaged or other adapter fails in many ways)
        raise UsageError(f"{flag} {folder}: holds no adapters of this run ({' '.join(str(error).split())})") from error
    if not fitting:
        raise UsageError(f"{flag} {folder}: its adapters are of other layers than this run's")
    return adapted
