"""Adapter through which numbers of the reference implementation are compared with ours.

Every function runs in ``--compat reference`` and speaks in plain arrays and tensors.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import models
import pruner
from dataset import split as splits
from dataset.images import ImageSet
from dataset.scenario import Scenario
from evaluation import divergence as divergences
from evaluation import mia
from evaluation import weight_distance as weights
from evaluation.populations import lira as lira_attack
from evaluation.populations import rmia as rmia_attack
from evaluation.populations.klom import klom  # noqa: F401  (the group populations takes four functions as they are)
from evaluation.populations.roc import roc  # noqa: F401
from evaluation.populations.scaled_logit import scaled_logit  # noqa: F401
from evaluation.populations.ulira import ulira  # noqa: F401
from evaluation.predict import Predictions
from evaluation.privacy_score import privacy_score  # noqa: F401  (the group peers takes two functions as they are)
from evaluation.similarity import cka  # noqa: F401
from generation import samplers
from generation.diffusion import Diffusion
from generation.schedule import Schedule, sequence
from generation.unet import ConditionalUNet, Shape
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Batch
from unlearn import amnesia, curvature, layers, registry, wrong_targets
from unlearn import saliency as salient
from unlearn.apply import apply
from unlearn.context import Context, Progress
from unlearn.draws import Draws
from unlearn.fast_slow import Ascent
from unlearn.fisher_noise import noise, wiped_rows
from unlearn.methods import boundary_expanding, msg, selective_amnesia
from utils.log import Log

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _build(arch: str) -> torch.nn.Module:
    return models.build(
        arch.removesuffix("_imagenet"), 10, CIFAR10, imagenet_stem=arch.endswith("_imagenet"), compat="reference"
    )


def _with_state(arch: str, state: dict[str, Tensor]) -> torch.nn.Module:
    model = _build(arch)
    model.load_state_dict(state)
    return model.eval()


def state_dict_shapes(arch: str) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in _build(arch).state_dict().items()}


def logits(arch: str, state: dict[str, Tensor], images: Tensor) -> Tensor:
    return _with_state(arch, state)(images)


def split(
    labels: np.ndarray, class_to_replace: int | None, num_indexes_to_replace: int | None, seed: int
) -> dict[str, np.ndarray]:
    base = splits.split_base(labels, seed)
    label = None if class_to_replace in (None, -1) else class_to_replace
    found = splits.split_for_unlearning(
        labels, labels, base, Scenario(None if label is None else (label,), num_indexes_to_replace), seed
    )
    return {"retain": found.retain, "forget": found.forget, "val": found.val}


def masks(arch: str, state: dict[str, Tensor], kind: str, rate: float) -> dict[str, Tensor]:
    model = _with_state(arch, state)
    return pruner.prune(model, kind, rate, pruner.Sample(1, torch.zeros(1, 3, 32, 32)))


def _load(checkpoint: str) -> tuple[torch.nn.Module, pruner.Mask]:
    loaded = checkpoints.read(Path(checkpoint), "checkpoint")
    model = _build("resnet20s")
    checkpoints.load_weights(model, loaded)
    return model, loaded.mask


def _image_set(data: tuple) -> ImageSet:
    images, labels = (torch.as_tensor(np.asarray(part)) for part in data)
    return ImageSet(images.permute(0, 3, 1, 2), labels)


def _context(mask: pruner.Mask, hyper: dict, draws: Draws | None = None) -> Context:
    label = hyper.get("class_to_replace", 0)
    scenario = Scenario(None if label in (None, -1) else (label,), hyper.get("num_indexes_to_replace"))
    return Context(mask, torch.device("cpu"), 1, "reference", "cifar10", 10, scenario, (), Log(None), draws=draws)


def unlearn(method: str, checkpoint: str, retain: tuple, forget: tuple, hyper: dict) -> dict[str, Tensor]:
    model, mask = _load(checkpoint)
    chosen = registry.get(method)
    known = chosen.config.__dataclass_fields__
    values = {key: value for key, value in hyper.items() if key in known}
    if hyper.get("batch") == "full":
        values["batch_size"] = max(len(retain[1]), len(forget[1]))
    sets = {"retain": _image_set(retain), "forget": _image_set(forget)}
    return apply(chosen, model, sets, chosen.config(**values), _context(mask, hyper)).model.state_dict()


def fisher_noise(checkpoint: str, retain: tuple, hyper: dict) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model, mask = _load(checkpoint)
    model.eval()
    context = _context(mask, hyper)
    h = curvature.fisher_of_batches(model, _image_set(retain).batches(hyper["batch"]), mask)
    return noise(model, h, hyper["alpha"], wiped_rows(context), context)


def svc_mia(shadow_train, shadow_test, target_train, target_test) -> dict[str, float]:
    def predictions(pair):
        if pair is None:
            return None
        return Predictions(torch.as_tensor(pair[0]).clamp_min(1e-38).log(), torch.as_tensor(pair[1]))

    return mia.svc_mia(
        *(predictions(pair) for pair in (shadow_train, shadow_test, target_train, target_test)), compat="reference"
    )


def modified_entropy(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return mia.modified_entropy(np.asarray(probs), np.asarray(labels))


# --- SalUn and SFR-on ---

METHODS = {
    "sfronrepo_FT": "FT",
    "sfronrepo_GA": "GA",
    "sfronrepo_RL": "RL",
    "sfronrepo_salun": "RL",
    "RL": "RL",
    "GA": "GA",
    "FT": "FT",
    "FT_l1": "FT_l1",
    "boundary_shrink": "boundary_shrink",
    "boundary_expanding": "boundary_expanding",
    "bad_teacher": "BT",
    "scrub": "SCRUB",
    "scrub_adamw": "SCRUB",
}
FLAGS = {  # ours by the references' names
    "lr": "unlearn_lr",
    "retain_lr": "unlearn_lr",
    "epochs": "unlearn_epochs",
    "n_iters": "iterations",
    "opt": "optimizer",
    "lambd": "adaptive_power",
    "th": "fisher_ratio",
    "ema_beta": "slow_rate",
    "KL_temperature": "temperature",
    "sched": "schedule",
    "kd_T": "temperature",
    "msteps": "max_steps",
    "sgda_epochs": "unlearn_epochs",
    "sgda_learning_rate": "unlearn_lr",
    "sgda_weight_decay": "weight_decay",
    "sgda_momentum": "momentum",
}


def saliency(name: str, checkpoint: str, retain: tuple, forget: tuple, hyper: dict, extra: dict) -> dict[str, Tensor]:
    model, _ = _load(checkpoint)
    sets = {"retain": _image_set(retain).in_order(), "forget": _image_set(forget).in_order()}
    whole = len(retain[1]) + len(forget[1])
    size = whole if hyper.get("batch_size", "full") == "full" else hyper["batch_size"]
    context = _context({}, {}, _UntrainedTeacher(hyper["teacher_phase"]) if "teacher_phase" in hyper else None)
    if "mask" in name and name.startswith(("sfron", "salun")):
        return _saliency_mask(name.startswith("sfron_"), model, sets, size, hyper, context)
    method = registry.get("SFRon" if name.startswith("sfron_") or name == "sfron" else METHODS[_known(name)])
    values = {FLAGS.get(key, key): value for key, value in hyper.items()} | {"batch_size": size}
    values |= _switches(name, hyper)
    context.update_mask = (
        {key: torch.as_tensor(value) for key, value in extra["mask"].items()} if "mask" in extra else None
    )
    if name == "sfronrepo_salun":
        context.update_mask = _saliency_mask(False, model, sets, size, hyper, context)
    known = {field.name for field in fields(method.config)}
    config = method.config(**{key: value for key, value in values.items() if key in known})
    return apply(_with_given_draws(method, extra), model, sets, config, context).model.state_dict()


def _known(name: str) -> str:
    """The method that a case is of: the longest name that it starts with."""
    return max((method for method in METHODS if f"{name}_".startswith(f"{method}_")), key=len)


class _UntrainedTeacher(Draws):
    """The formula in place of a network's initial weights: a sine of the place in the tensor and of the tensor's
    number.
    """

    def __init__(self, phase: float):
        super().__init__(0)
        self._phase = phase

    def network(self, model, *purpose):
        fresh = copy.deepcopy(model)
        for number, (key, value) in enumerate(fresh.state_dict().items()):
            if key.startswith("normalize"):
                continue
            wave = torch.sin(
                12.9898 * torch.arange(value.numel(), dtype=torch.float64) + 78.233 * number + self._phase
            ).view(value.shape)
            if key.endswith("num_batches_tracked"):
                wave = torch.zeros(())
            elif key.endswith("running_var"):
                wave = 1 + 0.5 * wave
            elif value.ndim == 1:
                wave = 1 + 0.3 * wave if key.endswith("weight") else 0.1 * wave
            else:
                wave = wave * (2 / value[0].numel()) ** 0.5
            value.copy_(wave)
        return fresh


def _switches(name: str, hyper: dict) -> dict:
    """Flags that follow from which repository a case is of."""
    if name in ("bad_teacher", "scrub", "scrub_adamw"):
        size = hyper.get("batch_size", "full")
        return {"no_rewind": True, "forget_batch_size": 10**6 if size == "full" else size}
    if name.startswith("sfronrepo"):
        return {
            "order": "joint",
            "schedule": hyper.get("sched", "constant"),
            "eval_mode": name == "sfronrepo_GA",
            "saliency_outside": "drift",
        }
    if name.startswith("sfron"):
        decay = {"expdecay": "quadratic"}.get(hyper["sched"], hyper["sched"])
        plain = hyper["unlearn_loss"] == "ga"
        slow = hyper["ema_beta"] if hyper["ema_enabled"] else 1.0
        return {
            "schedule": "cosine",
            "forget_decay": decay,
            "no_adaptive": plain,
            "no_saliency": not hyper["mask"],
            "slow_rate": slow,
        }
    return {"order": "alternate", "saliency_outside": "held"}


def _saliency_mask(
    by_fisher: bool, model: torch.nn.Module, sets: dict, size: int, hyper: dict, context: Context
) -> pruner.Mask:
    if by_fisher:
        return salient.at_least(
            salient.fisher_ratio(model, sets["forget"], sets["retain"], size, False, context), hyper["th"], {}
        )
    return salient.largest(
        salient.gradient(model, sets["forget"], size, False, context), hyper.get("density", hyper.get("th")), {}
    )


def _with_given_draws(method: registry.Method, extra: dict) -> registry.Method:
    """The method with what it would draw replaced by what the case records."""
    if method.name == "RL":
        labels = torch.as_tensor(extra["labels"])
        return replace(method, run=lambda *arguments: wrong_targets.train(*arguments, lambda epoch: labels))
    if method.name == "boundary_expanding":

        def expand(model, *arguments):
            row = 0.1 * torch.sin(0.1 * torch.arange(models.head(model).in_features, dtype=torch.float64) + 1)
            boundary_expanding.expand(model, *arguments, row.float()[None], torch.tensor([0.05]))

        return replace(method, run=expand)
    return method


def divergence(p: Tensor, q: Tensor) -> dict[str, float]:
    return {"js": divergences.jensen_shannon(p, q), "kl": divergences.kullback_leibler(p, q)}


def entropy_attack(retain: Tensor, test: Tensor, forget: Tensor) -> float:
    return mia.entropy_attack(
        *(Predictions(probs.log(), torch.zeros(len(probs), dtype=torch.int64)) for probs in (retain, test, forget))
    )


# --- Deep Unlearn ---


class GivenDraws(Draws):
    """Formulas and lists in place of random draws."""

    def __init__(self, extra: dict):
        super().__init__(0)
        self._extra, self._phase = extra, extra.get("phase")

    def weight(self, name, like, initialise, *purpose):
        return self._extra["weight"](name, self._phase).to(like)

    def normal(self, name, like, *purpose):
        return self._extra["noise"](name, self._phase + (purpose[-1] == "final")).to(like)

    def uniform(self, name, like, *purpose):
        return self._extra["uniform"](name, self._phase).to(like)

    def labels(self, labels, classes, *purpose):
        return torch.as_tensor(self._extra["labels"])

    def order(self, count, *purpose):
        return torch.arange(count)

    def pick(self, names, count, purpose, epoch):
        return self._extra[{"selected": "selected_tensors", "noisy": "noise_candidates"}[purpose]][epoch]

    def network(self, model, *purpose):
        fresh = copy.deepcopy(model)
        shapes = fresh.state_dict()
        fresh.load_state_dict({key: self._extra["weight"](key, self._phase) for key in shapes})
        return fresh


# The reference's names of hyper-parameters, a group's after a dot, and ours; what is not listed has no effect there.
NAMES = {
    "batch_size": "batch_size",
    "num_epochs": "unlearn_epochs",
    "optimizer.learning_rate": "unlearn_lr",
    "optimizer.momentum": "momentum",
    "optimizer.weight_decay": "weight_decay",
    "alpha": "alpha",
}
OWN_NAMES = {
    "NG+": {**NAMES, "weight_decay": "anchor"},
    "SCRUB": {
        "retain_batch_size": "batch_size",
        "forget_batch_size": "forget_batch_size",
        "gamma": "gamma",
        "alpha": "alpha",
        "msteps": "max_steps",
        "kd_T": "temperature",
        "sgda_num_epochs": "unlearn_epochs",
        "sgda_learning_rate": "unlearn_lr",
        "sgda_weight_decay": "weight_decay",
        "sgda_momentum": "momentum",
        "lr_decay_rate": "lr_decay_rate",
    },
    "BT": {**NAMES, "kl_temperature": "temperature"},
    "CF-k": {
        "batch_size": "batch_size",
        "num_epochs": "unlearn_epochs",
        "num_blocks": "blocks",
        "learning_rate": "unlearn_lr",
        "sgda_decay_rate": "lr_decay_rate",
        "sgda_weight_decay": "anchor",
    },
    "MSG": {**NAMES, "init_rate": "init_rate"},
    "FCS": {
        "batch_size": "batch_size",
        "num_epochs": "unlearn_epochs",
        "temperature": "temperature",
        "eta_min": "contrast_floor",
        "optimizer.learning_rate": "erase_lr",
        "optimizer.weight_decay": "erase_weight_decay",
        "optimizer.momentum": "momentum",
        "retain_optimizer.learning_rate": "unlearn_lr",
        "retain_optimizer.weight_decay": "weight_decay",
        "forget_optimizer.learning_rate": "contrast_lr",
        "forget_optimizer.weight_decay": "contrast_weight_decay",
    },
    "CFW": {**NAMES, "start_confuser_std": "start_std", "final_confuser_std": "final_std"},
    "PRMQ": {**NAMES, "prune_amount": "prune_amount"},
    "KDE": {
        "batch_size": "batch_size",
        "num_epochs": "distil_epochs",
        "retain_num_epochs": "unlearn_epochs",
        "temperature": "temperature",
        "optimizer.learning_rate": "distil_lr",
        "optimizer.weight_decay": "distil_weight_decay",
        "optimizer.momentum": "momentum",
        "retain_optimizer.learning_rate": "unlearn_lr",
        "retain_optimizer.weight_decay": "weight_decay",
    },
    "RNI": {
        **NAMES,
        "fine_num_epochs": "fine_epochs",
        "reset_num_epochs": "reset_epochs",
        "noise_ratio": "noise_ratio",
        "origin_noise": "noise_std",
        "fine_optimizer.learning_rate": "fine_lr",
        "fine_optimizer.weight_decay": "fine_weight_decay",
    },
    "FF": {"batch_size": "fisher_batch_size", "alpha": "alpha"},
}
ROUNDED = 1e-3  # of a selection's entries may differ by rounding; any other rule moves a tenth or more
OWN_NAMES["EU-k"] = OWN_NAMES["CF-k"]


def _values(name: str, hyper: dict, known: dict) -> dict:
    """Our configuration's values from the reference's."""
    flat = {}
    for key, value in hyper.items():
        flat |= {f"{key}.{own}": each for own, each in value.items()} if isinstance(value, dict) else {key: value}
    names = OWN_NAMES.get(name, NAMES)
    values = {names[key]: value for key, value in flat.items() if names.get(key) in known and value is not None}
    if isinstance(values.get("fine_lr"), (int, float, list)):
        values["fine_lr"] = tuple(np.atleast_1d(values["fine_lr"]).tolist())
    return values


def _masked(method: registry.Method, mask: dict) -> registry.Method:
    """The method with the gradients of all weights outside of ``mask`` taken away: what SalUN adds to SRL."""
    scales = {key: torch.as_tensor(bits).float() for key, bits in mask.items()}

    def run(model, *arguments):
        with layers.scaled_gradients(model, scales):
            method.run(model, *arguments)

    return replace(method, run=run)


def _selecting(method: registry.Method, mask: dict) -> registry.Method:
    """MSG with the reference's choice of small gradients, where the method's own is that but for rounding.

    Gradients near the threshold fall on either side of it as a processor rounds: 64 of 267,696 where there is no AVX, 0
    where there is. One weight more or less drawn anew is then a hundred times the tolerance of what comes after.
    """
    given = {name: torch.as_tensor(bits) for name, bits in mask.items()}

    def run(model, sets, config, context):
        def chosen(*arguments):
            gradients = contrast(*arguments)
            own = {
                name: ~pruner.choose({name: value.abs()}, config.init_rate)[name] for name, value in gradients.items()
            }
            wrong = sum(int((own[name] != bits).sum()) for name, bits in given.items())
            near = own.keys() == given.keys() and wrong <= ROUNDED * sum(bits.numel() for bits in given.values())
            return {name: (~bits).float() for name, bits in given.items()} if near else gradients

        with mock.patch.object(msg, "contrast", chosen):
            method.run(model, sets, config, context)

    contrast = msg.contrast
    return replace(method, run=run)


def deepunlearn(
    method: str, checkpoint: str, retain: tuple, forget: tuple, hyper: dict, extra: dict
) -> dict[str, Tensor]:
    name = method.removesuffix("_batches").removesuffix("_mask")
    chosen = _masked(registry.get("SRL"), extra["mask"]) if name == "SalUN" else registry.get(name)
    chosen = _selecting(chosen, extra["mask"]) if name == "MSG" and "mask" in extra else chosen
    known = chosen.config.__dataclass_fields__
    values = chosen.presets["deepunlearn"] | _values(name, hyper, known)
    if "forget_batch_size" in known:
        values.setdefault("forget_batch_size", extra["loader_batch"]["forget"])
    sets = {
        key: _image_set(data).in_order()
        for key, data in (("retain", retain), ("forget", forget), ("val", extra["val"]))
    }
    model, _ = _load(checkpoint)
    return apply(
        chosen, model.train(), sets, chosen.config(**values), _context({}, hyper, GivenDraws(extra))
    ).model.state_dict()


# --- Population attacks ---


def lira(
    shadow_z: np.ndarray,
    shadow_in: np.ndarray,
    target_z: np.ndarray,
    variant: str,
    fixed_variance: bool = False,
    as_coded: bool = False,
) -> np.ndarray:
    attack = lira_attack.lira_as_coded if as_coded else lira_attack.lira
    return attack(shadow_z, shadow_in, target_z, variant, fixed_variance)


def rmia(
    target, refs, refs_in, z_target, z_refs, z_in, variant: str, gamma: float = 2.0, offline_a: float = 0.3
) -> np.ndarray:
    images, population = rmia_attack.Signals(target, refs, refs_in), rmia_attack.Signals(z_target, z_refs, z_in)
    if variant == "as_coded":
        return rmia_attack.rmia_as_coded(images, population, offline_a)
    return rmia_attack.rmia(images, population, variant, gamma, offline_a)


# --- Peers ---


class StepDraws(Draws):
    """A case's formula for the j-th draw of the method."""

    def __init__(self, draw):
        super().__init__(0)
        self._draw, self._count = draw, 0

    def step(self, like, random):
        self._count += 1
        return self._draw(self._count - 1, like.shape).to(like)

    def normal(self, name, like, *purpose):
        return self.step(like, None)


PEER_NAMES = {
    "lambda": "dampening",
    "lr": "unlearn_lr",
    "impair_lr": "unlearn_lr",
    "impair_batch_size": "batch_size",
    "epochs": "unlearn_epochs",
    "sigma": "noise_std",
    "n_samples": "noisy_copies",
    "mode": "noise_mode",
    "noise_batch_size": "noise_images",
}


def peers(case: str, checkpoint: str, retain: tuple, forget: tuple, hyper: dict, extra: dict) -> dict[str, Tensor]:
    method = registry.get(case.split("_")[0])
    known = method.config.__dataclass_fields__
    values = method.presets.get("supreme", {}) | {PEER_NAMES.get(key, key): value for key, value in hyper.items()}
    values["importance"] = "images" if hyper.get("per_sample") else "batches"
    values["no_aug"] = True
    reference = hyper.get("stale_gradient") or hyper.get("accumulate")
    if reference and hyper.get("images_per_copy") is None:
        values["images_per_copy"] = hyper.get("noise_batch_size")
    model, mask = _load(checkpoint)
    pruner.MaskEnforcer(model, mask)
    context = _context({}, {"class_to_replace": hyper.get("forget_class", 0)}, StepDraws(extra["draw"]))
    context.compat = "reference" if reference else "fixed"
    context.whole_classes = (hyper.get("forget_class", 0),)
    sets = {"retain": _image_set(retain).in_order(), "forget": _image_set(forget).in_order()}
    config = method.config(**{key: value for key, value in values.items() if key in known})
    return apply(_with_given_draws(method, extra), model, sets, config, context).model.state_dict()


def output_distances(p: Tensor, q: Tensor) -> dict[str, float]:
    return divergences.distances(p, q)


def weight_distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict:
    return weights.weight_distance(a, b, dict(_build("resnet20s").named_parameters()).keys())


# --- Image generation ---


def _network(config: dict, state: dict[str, Tensor] | None = None) -> ConditionalUNet:
    names = {"ch": "width", "mult": "multipliers", "attn": "attention", "chan": "channels", "ncls": "classes"}
    shape = {names.get(key, key): tuple(v) if isinstance(v, list) else v for key, v in config.items() if key != "T"}
    model = ConditionalUNet(Shape(**shape, dropout=0.0))
    if state is not None:
        model.load_state_dict(state)
    return model.eval()


def gen_shapes(config: dict) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in _network(config).state_dict().items()}


def gen_betas(kind: str, start: float, end: float, n: int) -> np.ndarray:
    return Schedule(kind, start, end, n).betas().numpy()


def gen_sequence(kind: str, steps: int, T: int) -> list[int]:
    return sequence(kind, steps, T)


def gen_eps(config: dict, state: dict, x: Tensor, t: Tensor, c: Tensor, keep: Tensor) -> Tensor:
    return _network(config, state)(x, t, c, keep)


def gen_guided(config: dict, state: dict, x: Tensor, t: Tensor, c: Tensor, w: float) -> Tensor:
    return samplers.guided(_network(config, state), x, t, c, w)


@torch.no_grad()
def gen_sample(config, state, kind, x, c, w, seq, eta, noise) -> Tensor:
    model, drawn = _network(config, state), iter(noise)
    trajectory = samplers.trajectory(
        kind,
        lambda noisy, times: samplers.guided(model, noisy, times, c, w),
        x,
        seq,
        Schedule(steps=config["T"]),
        lambda like: next(drawn),
        eta,
    )
    return torch.stack([x, *trajectory])


class _Batches(ImageSet):
    """These very batches, in order."""

    def __init__(self, batches: list[dict]):
        images = torch.cat([(batch["x0"] + 1) / 2 for batch in batches])
        super().__init__(images, torch.cat([batch["c"] for batch in batches]))
        self.shuffle, self._sizes = False, [len(batch["c"]) for batch in batches]

    def sizes(self, size):
        return self._sizes

    def _read(self, order, size, seed, part=None):
        yield from zip(*(values[order].split(self._sizes) for values in (self.source, self._labels)))


class _Recorded(Diffusion):
    """What the task would draw comes from a list: times t, noise e, and which classes to keep."""

    def __init__(self, draws, *arguments, **named):
        super().__init__(*arguments, **named)
        vars(self).update(_draws=iter(draws), _left=[])

    def draw(self, batch):
        drawn = next(self._draws)
        self._left[:] = [drawn.get("keep"), drawn.get("keep_pseudo")]
        return drawn["t"], drawn["e"]

    def keep(self, batch):
        return self._left.pop(0)


class _EveryStep(Progress):
    """The weights after every step, and their moving average after the last."""

    def __init__(self):
        super().__init__()
        self.states, self.average = [], {}

    def save(self, **state):
        self.states.append({key: value.clone() for key, value in state["state_dict"].items()})
        self.average = {key.removeprefix("module."): value.clone() for key, value in state["average"].items()}


def _diffusion(config: dict, draws: list[dict], **more) -> Context:
    task = _Recorded(draws, config["ncls"], Schedule(steps=config["T"]), compat="reference", **more)
    return replace(_context({}, {}), task=task, save_every=1, progress=_EveryStep())


def gen_loss(config, state, x0, t, c, e, keep, lambd=None):
    model, drawn = _network(config, state), {"x0": x0, "t": t, "c": c, "e": e, "keep": keep}
    context = _diffusion(config, [drawn, drawn])
    batch = Batch((x0 + 1) / 2, c)
    each = context.task.losses(model, batch)[0]
    ascent = Ascent(model, context, _Batches([drawn]), lambd or 0.0, "batch", 0)
    value, _ = ascent.objective(-1.0, model, replace(batch, targets=torch.arange(len(c))))
    value.backward()
    return each, value, {name: parameter.grad for name, parameter in model.named_parameters()}


def gen_fisher(config, state, batches, w, clip) -> dict[str, Tensor]:
    context = _diffusion(config, batches, cond_scale=w, clip=clip)
    return salient.fisher(_network(config, state), _Batches(batches), 0, True, context)


def gen_ratio_mask(forget: dict, retain: dict, threshold: float) -> dict[str, Tensor]:
    return salient.at_least(salient.ratio(forget, retain), threshold, {})


def gen_saliency_mask(config, state, batches, w, clip, density) -> dict[str, Tensor]:
    context = _diffusion(config, batches, cond_scale=w, clip=clip)
    return salient.largest(salient.gradient(_network(config, state), _Batches(batches), 0, True, context), density, {})


def gen_sa_fisher(config, state, images, c, e, keep) -> dict[str, Tensor]:
    task = Diffusion(config["ncls"], Schedule(steps=e.shape[1]), compat="reference")
    draws = zip(e, keep)
    found = amnesia.of_sums(_network(config, state), [((images + 1) / 2, c)], task, lambda batch: next(draws))
    return found


def gen_unlearn(method, config, state, steps, mask, hyper) -> tuple[list[dict], dict]:
    order = {"sfron": ("forget", "retain"), "salun": ("retain", "forget"), "pretrain": ("retain",), "sa": ("retain",)}
    context = _diffusion(config, [step[part] for step in steps for part in order[method]])
    context.update_mask, model = mask, _network(config, state)
    if "forget" in steps[0]:
        context.whole_classes = tuple(steps[0]["forget"]["c"].unique().tolist())
    stepping = {"optimizer": hyper["optimizer"].lower(), "momentum": 0.9, "weight_decay": 0.0, "batch_size": 8}
    stepping |= {"max_norm": hyper["clip"], "ema_decay": hyper["ema_rate"], "schedule": "constant"}
    sets = {part: _Batches([step[part] for step in steps]) for part in steps[0]}
    if method == "pretrain":
        recipe = Recipe(1, hyper["lr"], **stepping)
        training, saved = Training(model, recipe, {}), context.progress

        def save() -> None:
            saved.save(**training.state(), state_dict=model.state_dict())

        list(training.run(sets["retain"], 1, context.task.mean, save=save, every=1))
        save()
        return saved.states, saved.average
    chosen, values = _generation_method(method, hyper, mask)
    if method == "sa":
        noise = iter([((step["forget"]["x0"] + 1) / 2, step["forget"]["e"]) for step in steps])
        chosen = replace(
            chosen, run=lambda *given: selective_amnesia.remember(*given, hyper["fisher"], lambda batch: next(noise))
        )
    stepping |= {"iterations": hyper["n_iters"], "unlearn_lr": hyper["lr"], "no_aug": True}
    apply(chosen, model, sets, chosen.config(**stepping | values), context)
    return context.progress.states, context.progress.average


def _generation_method(method: str, hyper: dict, mask: dict | None) -> tuple[registry.Method, dict]:
    """Our method of a case, and its flags beside those of every step."""
    if method == "sa":
        return registry.get("SA"), {"gamma": hyper["gamma"], "lmbda": hyper["lmbda"]}
    values = {key: hyper[key] for key in ("unlearn_loss", "forget_alpha", "remain_alpha")}
    if method == "salun":
        return registry.get("RL"), values | {"order": "paired"}
    joint = hyper["method"] == "joint"
    values |= {"forget_freq": 1, "adaptive_power": hyper["lambd"], "retain_max_norm": hyper["clip"]}
    values |= {"forget_decay": "cosine" if hyper["decay_forget_alpha"] else "none", "no_fast_slow": joint}
    values |= {"no_saliency": joint or mask is None} | ({"max_norm": 0.0} if joint else {})
    return registry.get("SFRon"), values
