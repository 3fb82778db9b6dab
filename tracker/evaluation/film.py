"""The worst scenes at a glance: one picture with a row of frames for each, tracks drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from keepsight.streams.drawing import overlay
from keepsight.streams.types import Image

from .identity import Film, Outcome
from .identity_report import frames
from .wording import points

HEADING, CAPTION = 40, 30
"""Pixels over all rows, and over each."""
INK, PAPER = (25, 25, 25), (255, 255, 255)


class WorstScenes:
    """Keeps the films of the `capacity` worst scenes: those that ended wrong first, then by their mean J; the
    better ones are dropped."""

    def __init__(self, capacity: int) -> None:
        self.films: list[Film] = []
        """The worst first."""
        self._capacity = capacity

    def see(self, film: Film) -> None:
        kept = sorted([*self.films, film], key=lambda one: (one.outcome.right, one.outcome.mean_j))
        self.films = kept[: self._capacity]


def film_sheet(title: str, films: Sequence[Film]) -> Image:
    """(H, W, 3) uint8 RGB: a row for each of at least one film."""
    rows = [row for film in films for row in (_line(remark(film.outcome), film, CAPTION), strip(film))]
    return np.vstack([_line(title, films[0], HEADING), *rows])


def strip(film: Film) -> Image:
    """The stills side by side."""
    return np.hstack([overlay(still, {}) for still in film.stills])


def remark(outcome: Outcome) -> str:
    """What became of the objects, in a line."""
    last = ", ".join(f"#{one.object_id} {points(one.mean_j)}" for one in outcome.settled)
    told = f"{outcome.kind} {outcome.seed}: {'right' if outcome.right else 'wrong'}; J in the end: {last}"
    if outcome.delays is None:
        return told
    fall, rise = (frames(late) for late in outcome.delays)
    return f"{told}; score of #1 falls: {fall}, rises: {rise}"


def _line(text: str, film: Film, height: int) -> Image:
    width = sum(still.frame.size[1] for still in film.stills)
    line = np.full((height, width, 3), PAPER, np.uint8)
    cv2.putText(line, text, (8, height - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, INK, 1, cv2.LINE_AA)
    return line
