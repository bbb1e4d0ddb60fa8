"""What an installation holds, and that there is one list of requirements."""

from __future__ import annotations

import ast
import re
import sys

import pytest
import yaml
from conftest import ROOT
from test_style import TREES

tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_requirements_are_those_of_pyproject():
    extras = PROJECT["project"]["optional-dependencies"]
    [everything] = lines((ROOT / "requirements.txt").read_text())
    path, chosen = re.fullmatch(r"-e (\S+)\[(.*)\]", everything).groups()
    assert path == "." and set(chosen.split(",")) <= extras.keys()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.txt"]}
    assert f"python{PROJECT['project']['requires-python']}" in environment["dependencies"]
    for extra in re.findall(r"-e '\.\[(.*?)\]'", (ROOT / "Makefile").read_text()):
        assert set(extra.split(",")) <= extras.keys()


def test_every_package_and_script_is_installed():
    tool = PROJECT["tool"]["setuptools"]
    packages = {path.split("/")[0] for path in TREES if path.endswith("/__init__.py")}
    assert {pattern.removesuffix("*") for pattern in tool["packages"]["find"]["include"]} == packages
    assert set(tool["py-modules"]) == {path.removesuffix(".py") for path in TREES if "/" not in path}


def test_every_import_is_required():
    """Third-party modules that the product imports are requirements, or in an extra."""
    project = PROJECT["project"]
    stated = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.match(r"[\w-]+", one)[0] for one in stated}
    called = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}  # as pip calls them
    called |= {"umap": "umap-learn", "torch_fidelity": "torch-fidelity"}
    ours = {path.split("/")[0].removesuffix(".py") for path in TREES}
    used = set()
    checked = {"_typeshed", "typing_extensions"}  # imported by type checkers alone
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used.add(node.module.split(".")[0])
    assert {called.get(name, name) for name in used - ours - checked - sys.stdlib_module_names} <= names


def test_the_version_is_that_of_the_changelog_and_the_citation():
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == (version, str(citation["date-released"])) and citation["version"] == version
