"""Points, lines and polygons in a plane: what lies inside, how far something is, what crosses what."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keepsight.streams.types import Point

Segment = tuple[Point, Point]
ON = 1e-9
"""What is no farther from an outline, in fractions of the frame, is on it: whose lower edge is that of the
frame is in a zone that reaches down to it, whatever rounding says."""


def side(line: Segment, point: Point) -> float:
    """Above 0 where `point` is to the right of who looks along `line` (y points down), below 0 to the left.

    Twice the area of the triangle of the three.
    """
    (x0, y0), (x1, y1) = line
    return (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0)


def distance_to_line(line: Segment, point: Point) -> float:
    """How far `point` is from the line through two points that differ, endless on both ends."""
    return abs(side(line, point)) / math.dist(*line)


def distance_to_segment(segment: Segment, point: Point) -> float:
    """How far `point` is from the nearest point of a segment."""
    (x0, y0), (x1, y1) = segment
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    along = ((point[0] - x0) * dx + (point[1] - y0) * dy) / length if length else 0.0
    along = min(max(along, 0.0), 1.0)
    return math.dist(point, (x0 + along * dx, y0 + along * dy))


def edges(polygon: Sequence[Point]) -> list[Segment]:
    """The sides of a polygon, the last back to the first point."""
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether `point` is in the polygon or on its outline (even-odd rule)."""
    inside = False
    x, y = point
    for edge in edges(polygon):
        (x0, y0), (x1, y1) = edge
        if distance_to_segment(edge, point) < ON:
            return True
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def distance_to_polygon(polygon: Sequence[Point], point: Point) -> float:
    """How far `point` is from the polygon; 0 in it."""
    if contains(polygon, point):
        return 0.0
    return min(distance_to_segment(edge, point) for edge in edges(polygon))


def crossing(line: Segment, start: Point, end: Point) -> int:
    """Whether the way from `start` to `end` crosses the segment `line`: 1 to its right, -1 to its left, or 0.

    Who is on the line counts as to its right, so that each crossing is counted once however the way is cut
    into pieces. The ends of `line` belong to it.
    """
    before, after = side(line, start), side(line, end)
    if (before >= 0) == (after >= 0):
        return 0
    share = before / (before - after)
    meeting = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
    if not 0 <= _along(line, meeting) <= 1:
        return 0
    return 1 if after >= 0 else -1


def _along(line: Segment, point: Point) -> float:
    """Where on the line a point's foot is: 0 at the first point, 1 at the second."""
    (x0, y0), (x1, y1) = line
    dx, dy = x1 - x0, y1 - y0
    return ((point[0] - x0) * dx + (point[1] - y0) * dy) / (dx * dx + dy * dy)


def meet(one: Segment, other: Segment) -> bool:
    """Whether two segments have a point in common."""
    first, second = side(one, other[0]), side(one, other[1])
    third, fourth = side(other, one[0]), side(other, one[1])
    if first == second == 0:  # on one line
        spans = zip(zip(*one, strict=True), zip(*other, strict=True), strict=True)
        return all(max(min(a), min(b)) <= min(max(a), max(b)) for a, b in spans)
    return first * second <= 0 and third * fourth <= 0


def self_crossing(polygon: Sequence[Point]) -> tuple[int, int] | None:
    """The first two sides, counted from 1, that meet elsewhere than in a corner they share; None where none
    do. Side 1 goes from point 1 to point 2."""
    sides = edges(polygon)
    for one in range(len(sides)):
        for other in range(one + 1, len(sides)):
            if _clash(sides[one], sides[other], other - one in (1, len(sides) - 1)):
                return one + 1, other + 1
    return None


def _clash(one: Segment, other: Segment, neighbours: bool) -> bool:
    """Whether two sides meet where they should not. Neighbours share a corner, and may not turn back."""
    if not neighbours:
        return meet(one, other)
    corner = one[1] if one[1] == other[0] else one[0]
    far = one[0] if corner == one[1] else one[1]
    end = other[1] if corner == other[0] else other[0]
    ahead = (far[0] - corner[0]) * (end[0] - corner[0]) + (far[1] - corner[1]) * (end[1] - corner[1])
    return side((far, corner), end) == 0 and ahead > 0
