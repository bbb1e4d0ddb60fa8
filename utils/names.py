"""Names: looked up with a hint for misspellings, made fit for files, and made unique."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from utils.errors import UsageError

MANY = 120  # names that one line can hold


def file_name(text: str) -> str:
    """Text as part of a file's name, with other characters than letters, digits and ``_.+:=,-`` replaced by ``_``."""
    return re.sub(r"[^\w.+:=,-]", "_", text)


def lookup(name: str, known: Iterable[str], flag: str) -> str:
    """``name`` unchanged, if it is known.

    Args:
        flag: what the error message begins with.
    Raises:
        UsageError: it is unknown; the message names flag, value, the nearest known name, and the known names (the first
            ``MANY``).
    """
    known = list(known)
    if name in known:
        return name
    raise UsageError(f"{flag} {name}: unknown{nearest(name, known)}; known: {listed(known, MANY)}")


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names separated by commas, and the number of others: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """The text `` (did you mean X?)`` with the closest known name; empty if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def distinct(names: Sequence[str], more: Sequence[str]) -> list[str]:
    """The names, made unique: equal ones get a further word appended, and a number if that is equal too.

    Args:
        more: the further word for each name.
    """
    counts = Counter(names)
    longer = [f"{name} [{word}]" if counts[name] > 1 else name for name, word in zip(names, more)]
    again = Counter(longer)
    return [f"{name} [{number}]" if again[name] > 1 else name for number, name in enumerate(longer, 1)]
