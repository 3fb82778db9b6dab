"""What rules are judged by: where an object surely is in a frame, and when, by the frames' own times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from keepsight.streams.types import Box, Clock, Frame, FrameRef, Point, Track

CLOSE = 1e-6
"""Durations that differ by so many seconds are the same: times are sums of fractions."""


class Moment(NamedTuple):
    """When a frame was. `clock` goes on over reconnects and never back, in seconds."""

    ref: FrameRef
    time: float
    captured: float
    source: Clock
    clock: float


def moment(frame: Frame, before: Moment | None) -> Moment:
    """The frame's place on the clock: presentation time within a connection, and between two of them the
    time between the captures, where both were told by the same kind of clock. Never the time of day it is."""
    clock = frame.time if before is None else before.clock + passed(frame, before)
    return Moment(frame.ref, frame.time, frame.captured, frame.clock, clock)


def passed(frame: Frame, before: Moment) -> float:
    if frame.epoch == before.ref[0]:
        return max(0.0, frame.time - before.time)
    return max(0.0, frame.captured - before.captured) if frame.clock == before.source else 0.0


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
