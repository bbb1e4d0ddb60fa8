"""Rules of the house that a machine can check and ruff does not."""

from __future__ import annotations

import ast
import importlib
from collections import Counter
from pathlib import PurePath

import pytest
from conftest import ROOT

SOURCES = sorted(
    path
    for path in ROOT.glob("**/*.py")
    if not {"tests", "build"} & set(path.relative_to(ROOT).parts)
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in SOURCES}
FLAGS = ("option", "file_option", "changed")  # what declares one
Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


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


def test_functions_take_at_most_seven_parameters():
    many = []
    for name, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if len([one for one in arguments if one.arg not in ("self", "cls")]) > 7:
            many.append(f"{name}:{node.name}")
    assert many == []


def test_a_method_fits_a_page():
    """A method's file is less than 80 lines: what several methods share lies beside them."""
    files = (ROOT / "unlearn" / "methods").glob("*.py")
    assert [path.name for path in sorted(files) if len(path.read_text().splitlines()) >= 80] == []


def test_a_main_reads_like_its_help():
    assert [path.name for path in ROOT.glob("main_*.py") if len(path.read_text().splitlines()) > 80] == []


def test_lines_fit_a_window():
    """Of all Python files; ruff leaves lines alone that end in a long address."""
    files = [*SOURCES, *(ROOT / "tests").glob("**/*.py")]
    assert [path.name for path in files if any(len(line) > 120 for line in path.read_text().splitlines())] == []


def test_modules_have_names_of_their_own():
    counts = Counter(PurePath(path).name for path in TREES)
    assert [name for name, count in counts.items() if count > 1 and not name.startswith("__")] == []


def test_docstrings_stand_alone():
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, *Definition)) and (ast.get_docstring(node) or "").startswith("The same"):
                found.append(f"{name}:{getattr(node, 'lineno', 1)}")
    assert found == []


def documents_itself(name: str, node: ast.AST) -> bool:
    """Private names, builders named after what they build, and classes of flags, which have help texts."""
    builder = name.startswith("models/") and isinstance(node, ast.FunctionDef)
    return node.name.startswith("_") or node.name == "main" or builder or is_flags(node)


def is_flags(node: ast.AST) -> bool:
    """A dataclass all of whose fields are flags."""
    fields = [child for child in getattr(node, "body", []) if isinstance(child, ast.AnnAssign)]
    return bool(fields) and all(
        isinstance(field.value, ast.Call) and getattr(field.value.func, "id", "") in FLAGS for field in fields
    )


def test_modules_and_public_names_say_what_they_are():
    missing = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, Definition) and not ast.get_docstring(node) and not documents_itself(name, node):
                missing.append(f"{name}:{node.name}")
    assert missing == []


def test_forbidden_constructs():
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
                found.append(f"{where} .cuda()")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                found.append(f"{where} import *")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.append(f"{where} {node.func.id}")
    assert found == []
