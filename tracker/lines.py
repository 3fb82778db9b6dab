"""Who crosses a line, and to which side.

The way from one sighting to the next counts as straight. A crossing is told once the object is `margin` away
from the line on the side it went to, so that one which wavers on the line crosses it once, or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from keepsight.streams.types import Point, Side

from .plane import crossing, distance_to_line
from .rules import LineRule
from .sightings import CLOSE, Sighting


@dataclass(frozen=True, slots=True)
class Passage:
    """One object and one line. last: where it was seen; net: crossings to the right less those to the left
    since it was surely on one side; told: when a crossing was told, on the stream's clock."""

    last: Point | None = None
    net: int = 0
    told: float = -math.inf


def follow(passage: Passage, line: LineRule, seen: Sighting) -> tuple[Passage, Side | None]:
    """The passage after one more sighting, and the side of a crossing that is to be told."""
    point = seen.at(line.anchor)
    ends = line.points[0], line.points[1]
    net = passage.net + (crossing(ends, passage.last, point) if passage.last is not None else 0)
    passage = replace(passage, last=point, net=net)
    away = distance_to_line((seen.scaled(ends[0]), seen.scaled(ends[1])), seen.scaled(point))
    if away < line.margin:
        return passage, None
    side: Side | None = "right" if net > 0 else "left" if net < 0 else None
    passage = replace(passage, net=0)
    early = seen.clock - passage.told < line.cooldown_seconds - CLOSE
    if side is None or line.direction not in ("both", side) or early:
        return passage, None
    return replace(passage, told=seen.clock), side
