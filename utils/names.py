"""Names: looked up with a helpful answer to a misspelling, fit for files, told apart."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from utils.errors import UsageError

MANY = 120  # names that one line can hold


def file_name(text: str) -> str:
    """Text as part of a file's name, whatever a stranger's result calls its data set."""
    return re.sub(r"[^\w.+:=,-]", "_", text)


def lookup(name: str, known: Iterable[str], flag: str) -> str:
    """``name`` itself if it is known.

    Raises UsageError: names the flag, the value, the nearest known name and all known names, or of very many the first.
    """
    known = list(known)
    if name in known:
        return name
    raise UsageError(f"{flag} {name}: unknown{nearest(name, known)}; known: {listed(known, MANY)}")


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names with commas between, and how many more there are: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` for the closest known name, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def distinct(names: Sequence[str], more: Sequence[str]) -> list[str]:
    """The names with what tells equal ones apart behind them: a further word, and a number where that is equal too.

    Args:
        more: a further word for each name.
    """
    counts = Counter(names)
    longer = [f"{name} [{word}]" if counts[name] > 1 else name for name, word in zip(names, more)]
    again = Counter(longer)
    return [f"{name} [{number}]" if again[name] > 1 else name for number, name in enumerate(longer, 1)]
