"""Makes the page: one HTML file that contains data, pictures, Bokeh and the script that filters and draws."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from compare.packed import compressed
from compare.page_content import Content
from compare.thumbnails import Sheet
from utils.errors import UsageError

PARTS = Path(__file__).parent / "page"
FIGURES = {"classifiers": "compare.classifier_figures", "generators": "compare.generator_figures"}
MOST = 4_990_000  # most bytes of a page
LEAST = 300_000  # bytes that pictures may have even if the page becomes larger than MOST


def check_library() -> None:
    """Raise a ``UsageError`` if Bokeh, which draws the page, is not installed."""
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise UsageError("bokeh is not installed, which draws the page; pip install bokeh") from None


def page(title: str, content: Content, made: str, pictures: Callable[[int], Sheet]) -> str:
    """The HTML text of the page.

    Args:
        made: a sentence that says how the page was made.
        pictures: returns the sheet of ``content.pictured``, given the number of bytes that it should not exceed.
    """
    parts = {
        "title": escape(title),
        "style": (PARTS / "page.css").read_text(),
        "forgotten": escape(f"Forgotten: {content.plain['forgotten']}."),
        "remarks": "".join(f'<p class="warning">{escape(line)}</p>\n' for line in content.remarks),
        "made": escape(made),
        "arrays": content.arrays.text(),
        "script": script(content.kind),
        **_library(content.kind),
    }
    taken = sum(len(text.encode()) for text in parts.values()) + len(json.dumps(content.plain)) + 2**14
    drawn = pictures(max(LEAST, (MOST - taken) // 4 * 3))  # base64 has four characters for three bytes
    parts["sheet"] = base64.b64encode(drawn.content).decode()
    parts["content"] = _json({**content.plain, "sheet": {"side": drawn.side, "columns": drawn.columns}})
    return Template(template(content.kind)).substitute(parts)


def template(kind: str) -> str:
    """The page's ``string.Template`` text for a kind of models ("classifiers" or "generators")."""
    text = (PARTS / "page.html").read_text()
    for part in ("links", "controls", "views"):
        text = text.replace(f"${part}", (PARTS / kind / f"{part}.html").read_text())
    return text


def script(kind: str) -> str:
    """The page's JavaScript: the shared files, then those of the kind of models, each in order of their numbers."""
    paths = [path for part in ("shared", kind) for path in sorted((PARTS / part).glob("*.js"), key=_number)]
    return "\n".join(path.read_text() for path in paths)


def _number(path: Path) -> int:
    return int(path.stem.partition("_")[0])


def _library(kind: str) -> dict[str, str]:
    """The template's parts from Bokeh: its script (compressed), its licence, and the empty figures as JSON."""
    import bokeh
    from bokeh.embed import json_item
    from bokeh.resources import Resources

    figures = importlib.import_module(FIGURES[kind]).figures
    home = Path(bokeh.__file__).parent
    text = "\n".join(Resources("inline", components=["bokeh"]).js_raw)
    return {
        "library": compressed(text.encode()),
        "licence": escape((home / "LICENSE.txt").read_text()),
        "figures": _json([json_item(drawn, name) for name, drawn in figures().items()]),
    }


def _json(plain: Any) -> str:
    """JSON in which "<" is escaped, so that no text in it can end the page's script element."""
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
