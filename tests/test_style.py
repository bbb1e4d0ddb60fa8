"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import importlib

import pytest
from conftest import ROOT

SOURCES = sorted(path for path in ROOT.glob("**/*.py") if not {".venv", "tests"} & set(path.relative_to(ROOT).parts))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}


def functions():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield name, node


def test_there_is_something_to_check():
    assert len(TREES) >= 35 and sum(1 for _ in functions()) >= 150


@pytest.mark.parametrize("path", TREES)
def test_every_module_imports(path):
    importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def test_functions_fit_a_screen():
    assert [f"{name}:{node.name}" for name, node in functions() if node.end_lineno - node.lineno >= 60] == []


def test_every_method_is_what_is_particular_to_it():
    long = [
        path.name for path in sorted((ROOT / "unlearn" / "methods").glob("*.py")) if path.read_text().count("\n") >= 80
    ]
    assert long == [], "what several methods could share, or what can be told apart, goes to a module in unlearn/"


def test_modules_and_public_names_say_what_they_are():
    missing = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        for node in tree.body:
            if (
                isinstance(node, (ast.FunctionDef, ast.ClassDef))
                and not node.name.startswith("_")
                and node.name != "main"
            ):
                short = name.startswith("models/") and isinstance(
                    node, ast.FunctionDef
                )  # builders are named after what they build
                if (
                    not ast.get_docstring(node)
                    and not short
                    and node.name
                    not in (
                        "Data",
                        "Model",
                        "Run",
                        "Train",
                        "Prune",
                        "Resume",
                        "Forget",
                        "Unlearn",
                        "PruneAtStart",
                        "Evaluation",
                        "Saliency",
                    )
                    and not node.name.endswith("Config")
                ):
                    missing.append(f"{name}:{node.name}")
    assert missing == []


def test_forbidden_constructs():
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{where} bare except")
            if (
                isinstance(node, ast.Attribute)
                and node.attr == "cuda"
                and not (isinstance(node.value, ast.Name) and node.value.id == "torch")
            ):
                found.append(f"{where} .cuda")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                found.append(f"{where} import *")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.append(f"{where} {node.func.id}")
            if isinstance(node, (ast.FunctionDef, ast.Lambda)) and any(
                isinstance(d, (ast.List, ast.Dict, ast.Set)) for d in node.args.defaults
            ):
                found.append(f"{where} mutable default")
    assert found == []
