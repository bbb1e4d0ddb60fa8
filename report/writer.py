"""Prints a report's sections, writes each as Markdown, CSV and pictures, and all of them as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from report.page import COMPARED, Section, page
from report.plots import save
from report.text import aligned, markdown
from utils import files


def printed(section: Section) -> str:
    """A section's table with its title and warnings, as plain text."""
    warnings = [f"Warning: {line}" for line in section.warnings]
    return "\n".join([section.title, "", aligned(section.head, section.rows), *warnings, ""])


def write(section: Section, stem: Path) -> None:
    """Write a section's table as ``stem`` with .md and .csv appended."""
    warnings = [f"Warning: {line}" for line in section.warnings]
    notes = "".join(f"\n{note}\n" for note in warnings + section.notes)
    table = markdown(section.head, section.rows, section.best)
    files.write_text(stem.with_name(f"{stem.name}.md"), f"{section.title}\n\n{table}{notes}")
    long = pd.DataFrame(section.rows, columns=section.head) if section.long is None else section.long
    files.write_text(stem.with_name(f"{stem.name}.csv"), long.to_csv(index=False, lineterminator="\n"))


@dataclass
class Report:
    """A report under construction.

    Attributes:
        out: the folder to write to.
        plots: whether pictures are drawn.
        sections: those added so far.
        slugs: slugs of the sections added so far, as they were given.
    """

    out: Path
    plots: bool
    sections: list[Section] = field(default_factory=list)
    slugs: list[str] = field(default_factory=list)

    def add(self, section: Section) -> Section:
        """Print a section's table and write it; returns the section.

        If an earlier section has the same slug, a number is appended to the slug.
        """
        before = self.slugs.count(section.slug)
        self.slugs.append(section.slug)
        section.slug += f"-{before + 1}" if before else ""
        print(printed(section), flush=True)
        write(section, self.out / section.slug)
        self.sections.append(section)
        return section

    def draw(self, section: Section, pictures: dict[str, Any]) -> None:
        """Write figures as PNG and SVG, and add the SVG files to the section, which the page shows.

        Args:
            pictures: matplotlib figures, by the text that is appended to the section's slug in file names.
        """
        for name, drawn in pictures.items():
            section.pictures.append(save(self.out, section.slug + name, drawn)[1])

    def say(self, line: str, title: str, lines: list[str]) -> None:
        """Print lines below a first ``line`` and add them as a section of this title; nothing if there are none."""
        if lines:
            print("\n".join([line, *lines, ""]), flush=True)
            self.sections.append(Section(title, notes=lines))

    def finish(self, title: str, name: str = "report") -> None:
        """Write the page of all sections, ``name``.html, with a link to that of ``main_compare.py`` if it exists."""
        beside = {"Models side by side": COMPARED} if (self.out / COMPARED).exists() else {}
        files.write_text(self.out / f"{name}.html", page(title, self.sections, beside))
        pictures = ", each picture as .png and .svg" if self.plots else ""
        print(
            f"written: {self.out / f'{name}.html'}, and each table as .md and .csv, some as .tex{pictures}", flush=True
        )
