"""Finds state dicts in files of other projects, and maps their names to those of a model of this project.

The mapping follows from names and shapes together. Every entry of a file must be mapped, no two to one name, and
whatever is renamed or left out is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, full, nn, tensor

from utils.errors import UsageError

NORMALIZE = ("normalize.mean", "normalize.std")
COUNTER = "num_batches_tracked"
PRUNED = re.compile(r"(?<=weight)_(orig|mask)$")
BRIGHTEST = 3  # larger statistics are not of images in [0, 1]
# DataParallel's, torch.compile's, ...
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
STATISTICS = {"mean": NORMALIZE[0], "mu": NORMALIZE[0], "std": NORMALIZE[1], "sigma": NORMALIZE[1]}
NUMBERS = re.compile(
    r"n_averaged|(global_|last_)?(epochs?|steps?|iter(ation)?s?)|"
    r"((best|test|val|train)_?)*(acc(uracy)?|prec|loss|top)_?[15]?"
)
PROFILED = ("total_ops", "total_params")  # buffers that a profiler leaves in every module
# entries of a file that hold tensors but no model to load
NO_MODELS = re.compile(r"init_weight|.*(optim|sched|scaler|rng_state).*", re.IGNORECASE)
DEPTH = 2  # levels of nesting at which state dicts are looked for

Shapes = Mapping[str, tuple[int, ...]]


def state_dicts(content: Any) -> dict[str, dict[str, Any]]:
    """All state dicts in a file's content, by place: "" for the whole content, "model.weights" for a nested entry.

    A mapping counts as a state dict if it has tensors under names with dots; its other values may be anything. A whole
    module counts as its state dict. States of optimisers, and weights for rewinding, are left out.

    Args:
        content: what ``torch.load`` returned.
    """
    state_dicts: dict[str, dict[str, Any]] = {}

    def look(value: Any, path: tuple[str, ...]) -> None:
        value = value.state_dict() if isinstance(value, nn.Module) else value
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return
        if any("." in key and isinstance(entry, Tensor) for key, entry in value.items()):
            state_dicts[".".join(path)] = dict(value)
        elif len(path) < DEPTH:
            for key, entry in value.items():
                if not NO_MODELS.fullmatch(key):
                    look(entry, (*path, key))

    look(content, ())
    return state_dicts


def shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of a state dict's tensors by name; other values and nested tensors are left out."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    return {key: tuple(value.shape) for key, value in tensors.items() if not value.is_nested}


def with_statistics(state: dict[str, Tensor], entries: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Add input mean and standard deviation to a state dict, if its file holds them beside it.

    Args:
        state: the state dict; unchanged if it has statistics of its own.
        entries: the file's other entries, of which tensors or lists of three numbers are used.
    Returns:
        The state dict, with ``NORMALIZE`` if found, and notes on what was done.
    """
    if any(_is_statistic(name, tuple(value.shape)) for name, value in state.items()):
        return state, ()
    statistics: dict[str, tuple[str, Tensor]] = {}
    for name, value in entries.items():
        numbers = value if isinstance(value, Tensor) else _three(value)
        if numbers is not None and _is_statistic(name, tuple(numbers.shape)):
            statistics.setdefault(STATISTICS[name], (name, numbers.reshape(-1).float()))
    if set(statistics) != set(NORMALIZE):
        return state, ()
    names = " and ".join(name for name, _ in statistics.values())
    return {**state, **{new: value for new, (_, value) in statistics.items()}}, (f"{names} taken for normalize.*",)


def check_statistics(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse input statistics of images in [0, 255], and standard deviations that are not above 0.

    Args:
        source: what error messages begin with.
    Raises:
        UsageError: a statistic is wrong; the message names the entry and its values.
    """
    for key in NORMALIZE:
        levels = state[key].double().reshape(-1) if key in state else full((3,), 0.5)
        listed = ", ".join(f"{level:g}" for level in levels[:3].tolist())
        if bool((levels.abs() > BRIGHTEST).any()):
            raise UsageError(f"{source}: {key} is {listed}, but images are in [0, 1] here; divide mean and std by 255")
        if key == NORMALIZE[1] and not bool((levels > 0).all()):
            raise UsageError(f"{source}: {key} is {listed}; it must be more than 0")


def _three(value: Any) -> Tensor | None:
    plain = isinstance(value, (list, tuple)) and len(value) == 3
    return tensor(value) if plain and all(isinstance(part, (int, float)) for part in value) else None


@dataclass(frozen=True)
class Renamed:
    """A mapping of a file's names to a model's.

    Attributes:
        names: the model's name by the file's; entries that are left out are missing.
        notes: what was renamed or left out, a phrase each.
        clash: two names of the file that are mapped to one name, and that name; None if there are none.
        strange: names after the mapping that the model does not have.
    """

    names: dict[str, str]
    notes: tuple[str, ...]
    clash: tuple[str, str, str] | None
    strange: tuple[str, ...]


def rename(stored: Shapes, expected: Shapes, head: str | None = None) -> Renamed:
    """Map the names in a file to those of a model.

    Args:
        stored: shapes by the file's names. A pruned ``X.weight`` may be stored as ``X.weight_orig`` and
            ``X.weight_mask``.
        expected: shapes by the model's names.
        head: name of the model's last linear layer, which may have another number of classes in the file.
    """
    bases = {PRUNED.sub("", key): tuple(shape) for key, shape in stored.items()}
    current, notes = _unwrapped(bases, expected)
    left = {old: new for old, new in current.items() if new not in expected}
    single = {old: new for old, new in left.items() if prod(bases[old]) == 1}
    numbers = [old for old, new in single.items() if NUMBERS.fullmatch(new) or new.split(".")[-1] in PROFILED]
    if numbers:
        notes.append(f"{', '.join(sorted({left[old].split('.')[-1] for old in numbers}))} left out")
    current = {old: new for old, new in current.items() if old not in numbers}
    for step in (_statistics, _parts, _head):
        free = {name: shape for name, shape in expected.items() if name not in current.values()}
        unknown = {new: bases[old] for old, new in current.items() if new not in expected}
        changed, words = step(unknown, free, head)
        current = {old: changed.get(new, new) for old, new in current.items()}
        notes += words
    names = {key: current[base] + key[len(base) :] for key in stored if (base := PRUNED.sub("", key)) in current}
    seen: dict[str, str] = {}
    clash = next(((seen[new], old, new) for old, new in current.items() if seen.setdefault(new, old) != old), None)
    return Renamed(names, tuple(notes), clash, tuple(new for new in current.values() if new not in expected))


def fits(stored: Shapes, expected: Shapes, head: str | None = None) -> bool:
    """Whether a file holds a model of this architecture.

    Names, the number of classes, and a transformer's number of positions may differ.

    Args:
        stored, expected, head: see ``rename``.
    """
    renamed = rename(stored, expected, head)
    plain = {PRUNED.sub("", new): tuple(stored[old]) for old, new in renamed.names.items()}
    lacking = expected.keys() - plain.keys()
    if renamed.clash or renamed.strange or not lacking <= set(absent(plain, expected)):
        return False
    return all(_alike(name, shape, tuple(expected[name]), head) for name, shape in plain.items())


def absent(held: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Expected names that a file may lack: input statistics if it has neither, batch norm's counters if it has none."""
    lacking = [name for name in expected if name not in held]
    counters = [name for name in expected if name.endswith(COUNTER)]
    names = [name for name in NORMALIZE if name in lacking] if all(name not in held for name in NORMALIZE) else []
    return names + (counters if all(name in lacking for name in counters) else [])


def shared_prefix(names: Mapping[str, Any]) -> str:
    """The leading components that all names share, with their dots: "module." for example; empty if there are none."""
    prefix = ""
    while names and all("." in name for name in names) and len({name.split(".")[0] for name in names}) == 1:
        first = next(iter(names)).split(".")[0] + "."
        prefix, names = prefix + first, dict.fromkeys(name.removeprefix(first) for name in names)
    return prefix


def _alike(name: str, stored: tuple[int, ...], expected: tuple[int, ...], head: str | None) -> bool:
    if head is not None and name in (f"{head}.weight", f"{head}.bias"):
        return stored[1:] == expected[1:] and len(stored) == len(expected)
    if name in NORMALIZE:
        return prod(stored) == prod(expected)
    if is_position(name) and len(stored) == len(expected) == 3:
        return stored[2] == expected[2]
    return stored == expected


def is_position(name: str) -> bool:
    """Whether an entry holds a transformer's position embeddings."""
    return name.rpartition(".")[2] in ("pos_embedding", "pos_embed", "position_embeddings")


def _unwrapped(bases: Shapes, expected: Shapes) -> tuple[dict[str, str], list[str]]:
    """Names by the file's own, without prefixes and components that wrappers added, and notes on that."""
    parts = {part for name in expected for part in name.split(".")}
    current, prefix, notes = {name: name for name in bases}, "", []
    aside = {name for name, shape in bases.items() if _is_statistic(name, shape) or "." not in name}
    while any(new not in expected for new in current.values()):
        firsts = {new.partition(".")[0] + "." for old, new in current.items() if old not in aside}
        first = firsts.pop() if len(firsts) == 1 else ""
        if not first or not all(new.startswith(first) for old, new in current.items() if old not in aside):
            break
        prefix += first
        current = {old: new.removeprefix(first) for old, new in current.items()}
    if prefix:
        notes.append(f"'{prefix}' dropped from all names")
    else:
        current, words = _partly_unwrapped(current, parts, expected)
        notes += words
    inner = [part for part in WRAPPERS if part not in parts and any(part in new.split(".") for new in current.values())]
    if inner:
        current = {old: ".".join(part for part in new.split(".") if part not in inner) for old, new in current.items()}
        notes.append(f"{', '.join(inner)} dropped from within names")
    return current, notes


def _partly_unwrapped(current: dict[str, str], parts: set[str], expected: Shapes) -> tuple[dict[str, str], list[str]]:
    """Names without a first component that all but the head share, as in models joined of backbone and classifier."""
    firsts = {new.split(".")[0] for new in current.values() if new not in expected and "." in new} - parts
    for first in sorted(firsts):
        mine = {old: new.removeprefix(f"{first}.") for old, new in current.items() if new.startswith(f"{first}.")}
        if len(mine) > 2 and all(new in expected and new not in current.values() for new in mine.values()):
            return {**current, **mine}, [f"'{first}.' dropped from names"]
    return current, []


def _is_statistic(name: str, shape: tuple[int, ...]) -> bool:
    return name.rpartition(".")[2] in STATISTICS and prod(shape) == 3


def _statistics(unmatched: Shapes, free: Shapes, head: str | None) -> tuple[dict[str, str], list[str]]:
    """Map a mean and a standard deviation per channel, wherever they are stored, to those of the input."""
    statistics = {
        name: STATISTICS[name.rpartition(".")[2]] for name, shape in unmatched.items() if _is_statistic(name, shape)
    }
    if sorted(statistics.values()) != sorted(NORMALIZE) or any(name not in free for name in NORMALIZE):
        return {}, []
    return statistics, [f"{' and '.join(sorted(statistics))} taken for normalize.*"]


def _parts(unmatched: Shapes, free: Shapes, head: str | None) -> tuple[dict[str, str], list[str]]:
    """Replace a component of names by another (``shortcut`` by ``downsample``), if just one choice fits all shapes."""
    changed, notes, open_ = {name: name for name in unmatched}, [], dict(free)
    for part in _named_parts(unmatched):
        mine = [name for name in unmatched if part in name.split(".")]
        options = []
        for other in _named_parts(open_):
            if other == part:
                continue
            tried = {
                name: ".".join(other if piece == part else piece for piece in changed[name].split(".")) for name in mine
            }
            if all(new in open_ and tuple(open_[new]) == tuple(unmatched[old]) for old, new in tried.items()):
                options.append((other, tried))
        if len(options) == 1:
            [(other, tried)] = options
            changed |= tried
            open_ = {name: shape for name, shape in open_.items() if name not in tried.values()}
            notes.append(f"{part}.* taken for {other}.*")
    return changed, notes


def _named_parts(names: Iterable[str]) -> list[str]:
    """The components of names without numbers and without the last one, each once."""
    return list(dict.fromkeys(part for name in names for part in name.split(".")[:-1] if not part.isdigit()))


def _head(unmatched: Shapes, free: Shapes, head: str | None) -> tuple[dict[str, str], list[str]]:
    """Map the only layer that is left over to the head, if it has as many input features."""
    expected = {f"{head}.{kind}" for kind in ("weight", "bias")} & free.keys() if head is not None else set()
    layers = {name.rpartition(".")[0] for name in unmatched}
    if not expected or len(layers) != 1:
        return {}, []
    layer = layers.pop()
    renamed = {name: f"{head}.{name.rpartition('.')[2]}" for name in unmatched}
    if set(renamed.values()) != expected or any(
        tuple(unmatched[name])[1:] != tuple(free[new])[1:] for name, new in renamed.items()
    ):
        return {}, []
    return renamed, [f"{layer}.* taken for {head}.*"]
