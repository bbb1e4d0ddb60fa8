"""Imports point down the layers, and no two modules need each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from test_style import TREES

# Each layer imports from earlier lines only; packages on one line do not know each other. Mains may import everything.
LAYERS = [
    {"utils"},
    {"dataset", "models"},
    {"pruner"},
    {"evaluation"},
    {"report"},
    {"trainer"},
    {"unlearn"},
    {"backdoor", "compare", "generation", "transfer"},
    {"sweep"},
]
LEVELS = {package: level for level, layer in enumerate(LAYERS) for package in layer}
READERS = {"report": {"report", "utils", "evaluation"}}  # they read results of any layer, without torch or models
FREE = {"benchmarks", "experiments"}


def modules() -> dict[str, ast.Module]:
    """Every product module's syntax tree, by its dotted name."""
    found = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): tree for path, tree in TREES.items()}
    return {name: tree for name, tree in found.items() if top(name) not in FREE}


def top(name: str) -> str:
    return name.split(".")[0]


def imports(tree: ast.AST, known: dict[str, ast.Module], at_start: bool = False, types: bool = True) -> set[str]:
    """Known modules that a module imports anywhere or only when it is imported itself, for types alone too or not."""
    found = imported(tree, at_start, types and not at_start)
    return {name if name in known else name.rpartition(".")[0] for name in found} & known.keys()


def imported(node: ast.AST, at_start: bool, types: bool = False) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not (at_start and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            yield from imported(child, at_start, types)


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which reaches the others."""
    reach = {name: set(found) for name, found in graph.items()}
    for through in graph:
        for name in graph:
            if through in reach[name]:
                reach[name] |= reach[through]
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return sorted((set(group) for group in groups if group), key=sorted)


def upward(known: dict[str, ast.Module]) -> list[str]:
    found = []
    for name, tree in known.items():
        runs = imports(tree, known, types=False)
        for other in imports(tree, known):
            here, there = top(name), top(other)
            if here in READERS and other in runs:
                allowed = there in READERS[here]
            else:
                allowed = here not in LEVELS or here == there or LEVELS.get(there, len(LAYERS)) < LEVELS[here]
            if not allowed:
                found.append(f"{name} imports {other}")
    return sorted(found)


def test_every_package_has_its_layer():
    packages = {top(name) for name in modules() if "." in name}
    assert packages <= LEVELS.keys(), "a new package needs its place in LAYERS"


def test_imports_point_down():
    assert upward(modules()) == []


def test_no_two_modules_import_each_other():
    known = modules()
    assert cycles({name: imports(tree, known) for name, tree in known.items()}) == []


def test_nothing_imports_itself_in_a_circle_at_the_start():
    known = modules()
    assert cycles({name: imports(tree, known, at_start=True) for name, tree in known.items()}) == []


@pytest.mark.parametrize("package", READERS)
def test_tables_are_made_without_torch(package):
    known = modules()
    todo, seen = {name for name in known if top(name) == package}, set()
    while todo - seen:
        name = (todo - seen).pop()
        seen.add(name)
        assert not {top(other) for other in imported(known[name], at_start=True)} & {"torch", "torchvision"}, name
        todo |= imports(known[name], known, at_start=True)


def test_what_is_seen_and_what_is_not():
    """Four modules by hand: one climbs inside a function, two need each other, one climbs for types alone."""
    source = {
        "utils.a": "def late():\n    from dataset import b",
        "dataset.b": "from utils.a import late\nimport utils.c",
        "utils.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unlearn.d",
        "unlearn.d": "from dataset import b",
    }
    known = {name: ast.parse(text) for name, text in source.items()}
    assert upward(known) == ["utils.a imports dataset.b", "utils.c imports unlearn.d"]
    assert cycles({name: imports(tree, known) for name, tree in known.items()}) == [set(known)]
    assert cycles({name: imports(tree, known, types=False) for name, tree in known.items()}) == [
        {"utils.a", "dataset.b"}
    ]
    assert cycles({name: imports(tree, known, at_start=True) for name, tree in known.items()}) == []
