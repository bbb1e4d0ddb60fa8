"""The words of a command line, with each ``@FILE`` replaced by the words in the file.

A file is split into words as a shell splits one command; anything that needs a shell is refused. Every word is used,
or refused with its line. The words that start the script (``python main_forget.py``) are left out.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from utils import files
from utils.errors import UsageError

AS_TYPED = "write flags as they are typed: --flag value"
MOST = 1 << 20  # most bytes of a file of arguments
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
TOKEN = re.compile(
    r"""(?P<joined>\\(?:\n|\Z))              # the line goes on, in the middle of a word too
      | (?P<blank>\s+|\\[^\S\n]+(?:\n|\Z))
      | (?P<comment>(?<!\S)\#[^\n]*)
      | '(?P<single>[^']*)'
      | "(?P<double>(?:[^"\\]|\\.)*)"
      | \\(?P<escaped>.)
      | (?P<quote>['"])
      | (?P<odd>[\x85\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff])
      | (?P<shell>[$`|;&<>(){}*?[]+)
      | (?P<plain>[^\s'"\\$`|;&<>(){}*?[\x85\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff]+)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
LAUNCHERS = {*"torchrun srun accelerate deepspeed mpirun mpiexec env exec nohup time nice uv poetry conda".split()}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class Word(str):
    """A word from a file.

    Attributes:
        place: what error messages about it begin with, "@FILE, line 3".
        leads: whether it is the first word of a line that does not continue another.
        shell: a character sequence in it that a shell would interpret; empty if there is none.
    """

    place: str
    leads: bool
    shell: str

    def __new__(cls, text: str, place: str, leads: bool = False, shell: str = "") -> Word:
        word = super().__new__(cls, text)
        word.place, word.leads, word.shell = place, leads, shell
        return word


def source_of(word: str) -> str:
    """The start of an error message about a word: its place and ": " if it is from a file, else empty."""
    return f"{word.place}: " if isinstance(word, Word) else ""


def expanded(argv: list[str], script: str) -> tuple[list[str], list[str]]:
    """Expand a command line: ``@FILE`` becomes the words in the file, ``~`` the home folder.

    Args:
        argv: the words as typed.
        script: the script's name, "main_forget.py" for example.
    Returns:
        The words, and warnings about words of files that are left out.
    Raises:
        UsageError: a file cannot be read, one of its words cannot be used, or a word has typographic dashes or quotes.
    """
    arguments: list[str] = []
    left_out = []
    for word in argv:
        if word.startswith("@"):
            words, before = _arguments(word, script)
            arguments += words
            if before:
                warning = f"left out {' '.join(before)} before {script}; set it where this command is started"
                left_out.append(f"{word}: {warning}")
        else:
            arguments.append(word)
    for word in arguments:
        if not word.isascii():
            _check_typography(word)
    return [_at_home(word) if "~" in word else word for word in arguments], left_out


def _at_home(word: str) -> str:
    """The word with the home folder for ``~`` where a path begins: ``~/x``, ``--flag=~/x``, ``indices:~/x``."""
    before = re.match(r"(?:--[\w-]+=)?(?:[a-z]+:)?(?=~)", word)
    if before is None:
        return word
    path = before[0] + os.path.expanduser(word[before.end() :])
    return Word(path, word.place, word.leads) if isinstance(word, Word) else path


def _arguments(word: str, script: str) -> tuple[list[Word], list[Word]]:
    """The arguments in a file, and the words before its script's name that do more than start Python."""
    text = _text(word)
    _check_kind(word, text)
    words = list(_words(text, word))
    begin = _after_script(words, script)
    if begin == len(words):
        raise UsageError(f"{word}: holds no arguments")
    launcher = [part for part in words[: max(begin - 1, 0)] if not _python(part) and part != "-u"]
    seen: dict[str, tuple[Word, str]] = {}
    for part, behind in zip(words[begin:], [*words[begin + 1 :], ""]):
        _check(part, behind, seen)
    return words[begin:], launcher


def _text(word: str) -> str:
    """A file's text with "\\n" as line ends: UTF-8, or UTF-16 as some editors and shells of Windows write it."""
    path = Path(os.path.expanduser(word[1:]))  # unlike Path.expanduser, no error for the home of an unknown user
    return files.read_text(path, word, max_bytes=MOST).replace("\r\n", "\n").replace("\r", "\n")


def _check_kind(word: str, text: str) -> None:
    """Refuse a file that looks like another format: JSON, YAML, TOML, INI or binary."""
    control = re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text)
    if control:
        place = f"{word}, line {_line(text, control)}"
        raise UsageError(f"{place}: has the control character {control[0]!a}; a file of arguments is plain text")
    first = re.search(r"^[^\S\n]*([^\s#].*)$", text, re.MULTILINE)
    kinds = {
        r"[{[]": "JSON, TOML or INI",
        r"---\s*$|(?:-\s+)?[A-Za-z_][\w-]*:(?:\s|$)": "YAML",
        r"[A-Za-z_][\w-]*\s+=\s": "TOML or INI",
    }
    for pattern, kind in kinds.items():
        if first and re.match(pattern, first[1]):
            place = f"{word}, line {_line(text, first)}: {first[1].strip()[:40]}"
            raise UsageError(f"{place}: reads like {kind}; {AS_TYPED}")


def _line(text: str, match: re.Match) -> int:
    return text.count("\n", 0, match.start()) + 1


def _words(text: str, name: str) -> Iterator[Word]:
    """The words of a text as a shell separates them."""
    line, leads = 1, True
    word: list[str] | None = None
    shell, begun = "", line
    position = 0
    while position <= len(text):
        match = TOKEN.match(text, position) if position < len(text) else None
        kind = match.lastgroup if match else "blank"  # the end of the text ends a word as a blank does
        if kind in ("blank", "comment"):
            if word is not None:
                yield Word("".join(word), f"{name}, line {begun}", leads, shell)
                word, shell, leads = None, "", False
            if match and "\n" in match[0] and "\\" not in match[0]:
                leads = True
        elif kind and match and kind != "joined":
            if word is None:
                word, begun = [], line
            part, syntax = _part(kind, match, f"{name}, line {line}")
            word.append(part)
            shell = shell or syntax
        line += match[0].count("\n") if match else 0
        position = match.end() if match else len(text) + 1


def _part(kind: str, match: re.Match, place: str) -> tuple[str, str]:
    """The text that a token adds to a word, and the part of it that a shell would interpret."""
    text = match[kind]
    if kind == "quote":
        raise UsageError(f"{place}: the quote {text} is opened and not closed")
    if kind == "odd":
        name = unicodedata.name(text, "control character").lower()
        raise UsageError(f"{place}: has an invisible character ({name}, U+{ord(text):04X}); type a space, or quote it")
    if kind == "escaped" and text.isalnum():
        hint = "a backslash before a letter or digit means nothing; type / in paths, or quote the word"
        raise UsageError(f"{place}: \\{text}: {hint}")
    if kind == "double":
        shell = re.search(r"(?<!\\)(?:\\\\)*([$`])", text)
        return re.sub(r'\\([$`"\\]|\n)', lambda escaped: escaped[1].strip("\n"), text), shell[1] if shell else ""
    return text, text if kind == "shell" else ""


def _after_script(words: list[Word], script: str) -> int:
    """The index of the first argument: behind the script's name if the command names one, else 0."""
    first = next((i for i, word in enumerate(words) if not ASSIGNMENT.match(word)), None)
    if first is None or not (_launches(words[first]) or _names_script(words[first])):
        return 0
    at = next((i for i, word in enumerate(words) if i >= first and _names_script(word)), None)
    if at is None:
        hint = f"is followed by no script; write python {script} and its flags, or the flags alone"
        raise UsageError(f"{words[first].place}: {words[first]}: {hint}")
    if (named := words[at].rsplit("/", 1)[-1]) != script:
        raise UsageError(f"{words[at].place}: is a command of {named}, not of {script}")
    return at + 1


def _python(word: str) -> bool:
    return re.fullmatch(r"(?:.*/)?python[\d.]*(?:\.exe)?|\$\{?\w*PYTHON\w*\}?", word) is not None


def _launches(word: str) -> bool:
    return _python(word) or word.rsplit("/", 1)[-1] in LAUNCHERS


def _names_script(word: str) -> bool:
    return word.endswith(".py") and not word.startswith("-")


def _check(word: Word, behind: str, seen: dict[str, tuple[Word, str]]) -> None:
    """Refuse a word that a shell would interpret, a second command, a nested file, or a flag with two values.

    Args:
        behind: the next word.
        seen: flags seen before with their words and values; the word is added if it is a flag.
    """
    if word.shell:
        variable = re.match(r"\$(?!\()", word.shell)
        problem = "has a variable" if variable else f"has {word.shell}, which means something to a shell"
        hint = "and no shell reads this file; write what is meant, or quote it with '"
        raise UsageError(f"{word.place}: {word}: {problem}, {hint}")
    if word.leads and (_launches(word) or _names_script(word)):
        raise UsageError(f"{word.place}: {word}: begins a second command; a file of arguments holds one")
    if word.startswith("@"):
        raise UsageError(f"{word.place}: {word}: a file of arguments names no other; write its words here")
    if word.startswith("--") and len(word) > 2:
        flag, equals, value = word.partition("=")
        value = value if equals else "" if behind.startswith("--") else behind
        first, first_value = seen.setdefault(flag.replace("-", "_"), (word, value))
        if value != first_value:
            line = first.place.rsplit(" ", 1)[-1]
            hint = f"has another value in line {line}; a file of arguments holds one command"
            raise UsageError(f"{word.place}: {flag}: {hint}")


def _check_typography(word: str) -> None:
    """Refuse typographic dashes and quotes, which word processors and PDF files put in place of plain ones."""
    lead = re.match(rf"-?[{DASHES}][-{DASHES}]*", word)
    if lead:
        character = next(each for each in lead[0] if each in DASHES)
        tail = word[lead.end() :]
        meant = f"-{tail}" if re.match(r"[\d.]", tail) else f"--{tail}"
        name = unicodedata.name(character).lower()
        article = "an" if name[0] in "aeiou" else "a"
        reason = f"begins with {article} {name} (U+{ord(character):04X}); type {meant}"
        raise UsageError(f"{source_of(word)}{word}: {reason}")
    for part in (word, word.partition("=")[2]):
        quote = re.search(rf"^[{QUOTES}]|[{QUOTES}]$", part)
        if quote:
            name = unicodedata.name(quote[0]).lower()
            reason = f"has a typographic quote ({name}, U+{ord(quote[0]):04X}); type ' or \" instead"
            raise UsageError(f"{source_of(word)}{word}: {reason}")
