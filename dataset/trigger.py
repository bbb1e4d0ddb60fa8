"""The trigger of a backdoor: a square of one brightness at a fixed place. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MARGIN = 2  # pixels between the square and the image's edges
PLACES = ("bottom-right", "bottom-left", "top-right", "top-left", "center")


@dataclass(frozen=True)
class Trigger:
    """A square that is stamped on images before they are augmented.

    Attributes:
        size: side in pixels.
        place: one of ``PLACES``; corners keep ``MARGIN`` pixels from both edges.
        value: brightness in every channel, 0 to 255.
    Source: Gu et al. 2017 (BadNets); Jia et al. 2023, released code (size 4, bottom right, 0).
    """

    size: int = 4
    place: str = "bottom-right"
    value: int = 0

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns that the square covers in an image of ``height`` x ``width`` pixels."""
        vertical, _, horizontal = self.place.partition("-")
        return self._span(vertical == "bottom", height), self._span(horizontal == "right", width)

    def _span(self, at_the_end: bool, length: int) -> slice:
        start = length - MARGIN - self.size if at_the_end else MARGIN
        if self.place == "center":
            start = (length - self.size) // 2
        return slice(start, start + self.size)

    def stamp(self, images: np.ndarray) -> np.ndarray:
        """Copies of uint8 [N, H, W, C] images with the square on them."""
        stamped = images.copy()
        rows, columns = self.window(*images.shape[1:3])
        stamped[:, rows, columns] = self.value
        return stamped

    @property
    def words(self) -> str:
        """Brightness, size and place, for the header."""
        colour, shade = {0: ("black ", ""), 255: ("white ", "")}.get(self.value, ("", f" of brightness {self.value}"))
        return f"{colour}{self.size}x{self.size} square{shade} at the {self.place.replace('-', ' ')}"
