"""The commands of README and docs are accepted by the scripts that they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from conftest import ROOT

import arg_parser

PARSERS = {
    "main_imp": arg_parser.parse_imp,
    "main_synflow": arg_parser.parse_synflow,
    "main_forget": arg_parser.parse_forget,
    "main_backdoor": arg_parser.parse_backdoor,
    "main_transfer": arg_parser.parse_transfer,
    "main_saliency": arg_parser.parse_saliency,
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


def test_commands_are_found():
    text = '```\nA="--lr 1"\npython main_imp.py $A \\\n  --save_dir x   # why\n```\npython main_imp.py --other\n'
    assert list(commands(text)) == [("main_imp", ["--lr", "1", "--save_dir", "x"])]
    assert sum(len(list(commands(page.read_text()))) for page in PAGES) > 25
