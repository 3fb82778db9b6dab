"""What rules are judged by: where an object surely is in a frame, and when, by the frames' own times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from keepsight.streams.types import Box, Frame, Point, Track

CLOSE = 1e-6
"""Durations that differ by so many seconds are the same: times are sums of fractions."""


class Moment(NamedTuple):
    """When a frame was. `clock` goes on over reconnects and never back, in seconds."""

    time: float
    clock: float


def moment(frame: Frame, before: Moment | None) -> Moment:
    """The frame's place on the clock, by presentation times, which a source carries on by what passed between
    two connections. Never by the time of day: that is set while a camera is away."""
    if before is None:
        return Moment(frame.time, frame.time)
    return Moment(frame.time, before.clock + max(0.0, frame.time - before.time))


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object in one frame, seen for sure. clock: in seconds; scale: what a fraction of the frame's width
    and of its height is in diagonals."""

    box: Box
    clock: float
    scale: tuple[float, float]

    def at(self, anchor: Literal["bottom", "centre"]) -> Point:
        """The point that stands for the object, in fractions of the frame."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, y1 if anchor == "bottom" else (y0 + y1) / 2

    def scaled(self, point: Point) -> Point:
        """A point in diagonals of the frame: distances are then the same in all directions."""
        return point[0] * self.scale[0], point[1] * self.scale[1]


def sighting(track: Track, frame: Frame, clock: float) -> Sighting | None:
    """None where the object is not announced yet, hidden, or lost."""
    if track.state != "tracked" or track.box is None:
        return None
    height, width = frame.size
    diagonal = math.hypot(height, width)
    return Sighting(track.box, clock, (width / diagonal, height / diagonal))
