"""README and docs: their commands are accepted by the scripts that they name, and their links lead somewhere."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import arg_parser

PARSERS = {
    "main_imp": arg_parser.parse_imp,
    "main_synflow": arg_parser.parse_synflow,
    "main_forget": arg_parser.parse_forget,
    "main_backdoor": arg_parser.parse_backdoor,
    "main_transfer": arg_parser.parse_transfer,
    "main_saliency": arg_parser.parse_saliency,
    "main_generate": lambda words, read_files: arg_parser.parse_generate(words[0], words),
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Script and words of every whole command line in the blocks of a page, variables of the block filled in."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        block = block.replace("\\\n", " ")
        known = {"SEED": "2"}
        for name, value in re.findall(r'^\s*([A-Z]+)="([^"]*)"', block, re.MULTILINE):
            known[name] = filled(value, known)
        for script, rest in re.findall(r"^\s*(?:python|torchrun \S+) (main_\w+)\.py (.*)$", block, re.MULTILINE):
            if script in PARSERS and "..." not in rest and "--help" not in rest:
                yield script, shlex.split(filled(rest, known), comments=True)


def filled(text: str, known: dict[str, str]) -> str:
    return re.sub(r"\$([A-Z]+)", lambda found: known[found[1]], text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_accepted_and_read_in_full(page):
    for script, words in commands(page.read_text()):
        if "flat" not in words:  # the method that adding_a_method.md adds
            assert PARSERS[script](words, read_files=False).unread == (), words


@functools.cache
def help_of(script: str) -> str:
    command = [sys.executable, str(ROOT / script), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sweeps_and_reports_of_a_page_name_files_and_flags_that_exist(page):
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for script, rest in re.findall(r"^\s*python (main_(?:sweep|report|attack)\.py) ([^#\n]*)", block, re.MULTILINE):
            assert all((ROOT / name).exists() for name in re.findall(r"experiments/\S+", rest)), rest
            assert all(f"{flag} " in help_of(script) for flag in re.findall(r"--\w+", rest)), rest


def test_commands_are_found():
    text = '```\nA="--lr 1"\npython main_imp.py $A \\\n  --save_dir x   # why\n```\npython main_imp.py --other\n'
    assert list(commands(text)) == [("main_imp", ["--lr", "1", "--save_dir", "x"])]
    assert sum(len(list(commands(page.read_text()))) for page in PAGES) > 25


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[tuple[Path, str]]:
    """File and anchor (or "") of every link of a page to this repository."""
    targets = [found for found in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in found]
    return [
        ((page.parent / (name or page.name)).resolve(), anchor)
        for name, _, anchor in (one.partition("#") for one in targets)
    ]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for file, anchor in links(page):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), (file.name, anchor)


NAMED_FILE = re.compile(
    r"\b(?:experiments|results|tests|benchmarks|docs)/[\w./-]+\.(?:py|yaml|md|sh|json|png|csv|txt)\b"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_of_the_repository_that_a_page_names_is_there(page):
    missing = {name for name in NAMED_FILE.findall(page.read_text()) if not (ROOT / name).exists()}
    assert missing <= {"tests/test_flat.py"}  # which the reader of adding_a_method.md writes


def test_links_and_anchors_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# The same command, again\n[a](b.md#c-d) ![e](f.png) [g](https://h.i)\n```\n# no heading [x](y)\n```\n"
    )
    assert links(page) == [(tmp_path / "b.md", "c-d"), (tmp_path / "f.png", "")]
    assert anchors(page) == {"the-same-command-again"}


def test_the_index_names_every_page_once():
    index = ROOT / "docs" / "README.md"
    linked = [file for file, _ in links(index) if file.parent == index.parent and file.suffix == ".md"]
    assert sorted(linked) == [page for page in PAGES if page not in (index, ROOT / "README.md")]


def test_the_readme_can_be_read_in_ten_minutes():
    assert len((ROOT / "README.md").read_text().split()) <= 900


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments" / "generation").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_command_of_an_experiment_in_generation_is_accepted_and_read_in_full(path):
    told = yaml.safe_load(path.read_text())
    begin, forget = ["--model", "generator.pt"], ["--forget", told["forget"]]
    lines = [["train", told["network"], told["training"]], ["score", told["drawing"], told["judging"], *begin, *forget]]
    lines += [["forget", words, "--unlearn", name, *begin, *forget] for name, words in told["methods"].items()]
    for work, *parts in lines:
        words = " ".join([work, told["data"], *parts, "--save_dir x"]).split()
        assert arg_parser.parse_generate(work, words).unread == (), words
