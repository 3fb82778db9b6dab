"""The worst moments of a model at a glance: one picture of crops with what it drew and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import cv2
import numpy as np

from keepsight.streams.types import Image, Mask

from .box_methods import pixels_of
from .box_metrics import overlap
from .evaluate import ScoredFrame
from .labelled import read_image
from .mot import PixelBox
from .tracks import ScoredBoxes

APART = 10
"""Frames of one object of which only the worst is shown: its neighbours would look the same."""
ACROSS = 4
CELL = 270, 360
"""(height, width) in pixels of the picture in a cell."""
CAPTION, HEADING, GAP = 46, 44, 10
"""Pixels under each picture, over all of them, and between them."""
CONTEXT = 0.2
"""How much of the object's sides is shown around it."""
LEAST = 48
"""The shortest side of a crop in pixels: smaller things are shown with more around them."""
PREDICTED, TRUE = (255, 120, 0), (0, 225, 255)
INK, PAPER, GREY = (25, 25, 25), (255, 255, 255), (110, 110, 110)
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One object in one frame: its J (for boxes their overlap), and masks (H, W) of what was said and is
    true."""

    j: float
    sequence: str
    object_id: int
    frame: int
    picture: Path
    predicted: Mask
    truth: Mask


class Worst:
    """An observer that keeps the `capacity` worst cases of one method, those of one object at least `APART`
    frames from each other; the better ones are dropped."""

    def __init__(self, method: str, capacity: int) -> None:
        self.cases: list[Case] = []
        """The worst first."""
        self._method = method
        self._capacity = capacity

    def masks(self, scored: ScoredFrame) -> None:
        """To be told of each frame scored by masks."""
        if scored.method != self._method:
            return
        sequence, frame = scored.sequence, scored.frame
        for object_id, score in scored.scores.items():
            if self._is_bad(score.j):
                masks = scored.predicted == object_id, scored.truth == object_id
                picture = sequence.images[frame]
                self._keep(Case(score.j, sequence.name, object_id, frame, picture, *masks))

    def boxes(self, scored: ScoredBoxes) -> None:
        """To be told of each frame scored by boxes."""
        if scored.method != self._method:
            return
        sequence, frame = scored.sequence, scored.frame
        for object_id in sorted(scored.truth.keys() | scored.predicted.keys()):
            said, true = scored.predicted.get(object_id), scored.truth.get(object_id)
            j = overlap(said, true) if said and true else 0.0
            if self._is_bad(j):
                masks = filled(said, sequence.size), filled(true, sequence.size)
                self._keep(Case(j, sequence.name, object_id, frame, sequence.images[frame], *masks))

    def _is_bad(self, j: float) -> bool:
        """Whether a J is among the worst so far."""
        return j < (1.0 if len(self.cases) < self._capacity else self.cases[-1].j)

    def _keep(self, case: Case) -> None:
        near = [one for one in self.cases if _is_near(one, case)]
        if all(case.j < one.j for one in near):
            kept = [case, *(one for one in self.cases if one not in near)]
            self.cases = sorted(kept, key=_badness)[: self._capacity]


def _badness(case: Case) -> tuple[float, str, int, int]:
    return case.j, case.sequence, case.object_id, case.frame


def _is_near(one: Case, other: Case) -> bool:
    same = (one.sequence, one.object_id) == (other.sequence, other.object_id)
    return same and abs(one.frame - other.frame) < APART


def filled(box: PixelBox | None, size: tuple[int, int]) -> Mask:
    """The mask (H, W) of a box; empty without one."""
    mask = np.zeros(size, np.bool_)
    if box is not None:
        mask[pixels_of(box, size)] = True
    return mask


def contact_sheet(title: str, cases: Sequence[Case]) -> Image:
    """(H, W, 3) uint8 RGB: a crop around each case, the prediction in orange and the truth in cyan."""
    across = min(ACROSS, max(2, len(cases)))
    height, width = CELL[0] + CAPTION + GAP, CELL[1] + GAP
    size = HEADING + height * ceil(len(cases) / across) + GAP, width * across + GAP
    sheet = np.full((*size, 3), PAPER, np.uint8)
    _write_heading(sheet, title)
    for number, case in enumerate(cases):
        row, column = divmod(number, across)
        y, x = HEADING + row * height, GAP + column * width
        sheet[y : y + CELL[0], x : x + CELL[1]] = drawn(case)
        _write(sheet, f"{case.sequence}  object {case.object_id}", (x + 2, y + CELL[0] + 18), INK)
        _write(
            sheet,
            f"frame {case.picture.stem}   J {case.j:.2f}{remark(case)}",
            (x + 2, y + CELL[0] + 38),
            GREY,
        )
    return sheet


def remark(case: Case) -> str:
    """What a missing contour means."""
    if not case.truth.any():
        return "   should be empty"
    return "" if case.predicted.any() else "   nothing found"


def drawn(case: Case) -> Image:
    """(*CELL, 3): the crop enlarged, with both contours."""
    image = read_image(case.picture)
    rows, columns = crop_of(case.predicted | case.truth)
    part = np.ascontiguousarray(image[rows, columns])
    shown = cv2.resize(part, CELL[::-1], interpolation=cv2.INTER_CUBIC)
    for mask, colour in ((case.truth, TRUE), (case.predicted, PREDICTED)):
        large = cv2.resize(mask[rows, columns].astype(np.float32), CELL[::-1], interpolation=cv2.INTER_LINEAR)
        contours, _ = cv2.findContours((large > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, contours, -1, INK, 4, cv2.LINE_AA)
        cv2.drawContours(shown, contours, -1, colour, 2, cv2.LINE_AA)
    return np.asarray(shown, np.uint8)


def crop_of(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns around what a mask (H, W) shows, of the shape of a cell as far as the picture
    allows."""
    height, width = mask.shape
    x, y, wide, high = cv2.boundingRect(mask.view(np.uint8))
    tall = max(LEAST, high * (1 + 2 * CONTEXT), wide * (1 + 2 * CONTEXT) * CELL[0] / CELL[1])
    tall = min(tall, height, width * CELL[0] / CELL[1])
    sides = round(tall), round(tall * CELL[1] / CELL[0])
    top = min(max(round(y + high / 2 - sides[0] / 2), 0), height - sides[0])
    left = min(max(round(x + wide / 2 - sides[1] / 2), 0), width - sides[1])
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def _write_heading(sheet: Image, title: str) -> None:
    _write(sheet, title, (GAP, 28), INK, 0.6)
    (width, _), _ = cv2.getTextSize(title, FONT, 0.6, 1)
    x = GAP + width + 30
    for name, colour in (("predicted", PREDICTED), ("truth", TRUE)):
        cv2.line(sheet, (x, 22), (x + 26, 22), INK, 6)
        cv2.line(sheet, (x, 22), (x + 26, 22), colour, 3)
        _write(sheet, name, (x + 34, 28), INK, 0.6)
        x += 150


def _write(
    sheet: Image, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: float = 0.5
) -> None:
    cv2.putText(sheet, text, at, FONT, size, colour, 1, cv2.LINE_AA)
