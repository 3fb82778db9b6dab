"""The reliability plot: how often a tracker was right, by how sure it was, before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from keepsight.streams.types import Image

from .calibrate import Bin, calibration_error

SIDE, EDGE = 560, 70
"""Pixels of the square from (0, 0) to (1, 1), and around it."""
WHITE, BLACK, GREY, ORANGE, BLUE = (255,) * 3, (30,) * 3, (190,) * 3, (230, 120, 20), (20, 90, 200)
Colour = tuple[int, ...]


def reliability_plot(title: str, before: Sequence[Bin], after: Sequence[Bin]) -> Image:
    """(H, W, 3) uint8 RGB: share of right masks over confidence; on the diagonal a tracker knows how sure it
    may be. The area of a dot is its share of all masks."""
    picture = np.full((SIDE + 2 * EDGE, SIDE + 2 * EDGE, 3), WHITE, np.uint8)
    draw_axes(picture)
    for row, (name, bins, colour) in enumerate((("before", before, ORANGE), ("after", after, BLUE))):
        draw_bins(picture, bins, colour)
        label = f"{name}: expected calibration error {calibration_error(bins):.3f}"
        write(picture, label, (EDGE + 15, EDGE + 30 + 24 * row), colour)
    write(picture, title, (EDGE, EDGE - 30), BLACK)
    write(picture, "confidence", (EDGE + SIDE // 2 - 45, SIDE + 2 * EDGE - 15), BLACK)
    write(picture, "share of masks with IoU > 0.5", (EDGE, EDGE - 10), BLACK)
    return picture


def draw_axes(picture: Image) -> None:
    for tenth in range(0, 11, 2):
        (x, y), origin, end = place(tenth / 10, tenth / 10), place(0, 0), place(1, 1)
        cv2.line(picture, (x, origin[1]), (x, end[1]), GREY, 1)
        cv2.line(picture, (origin[0], y), (end[0], y), GREY, 1)
        write(picture, f"{tenth / 10:.1f}", (x - 12, origin[1] + 22), BLACK)
        write(picture, f"{tenth / 10:.1f}", (origin[0] - 40, y + 6), BLACK)
    cv2.line(picture, place(0, 0), place(1, 1), BLACK, 1, cv2.LINE_AA)


def draw_bins(picture: Image, bins: Sequence[Bin], colour: Colour) -> None:
    total = sum(one.masks for one in bins)
    dots = [place(one.confidence, one.right) for one in bins]
    cv2.polylines(picture, [np.array(dots, np.int32)], False, colour, 2, cv2.LINE_AA)
    for one, dot in zip(bins, dots, strict=True):
        cv2.circle(picture, dot, 3 + round(24 * (one.masks / total) ** 0.5), colour, -1, cv2.LINE_AA)


def place(x: float, y: float) -> tuple[int, int]:
    """The pixel of a point of the unit square, whose y rises."""
    return EDGE + round(SIDE * x), EDGE + round(SIDE * (1 - y))


def write(picture: Image, text: str, at: tuple[int, int], colour: Colour) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
