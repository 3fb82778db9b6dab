"""What a stream is watched for: zones, lines, and whether objects move. Read from configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from keepsight.streams.types import Point

from .plane import self_crossing, side

MOST_RULES = 64
"""Zones, and lines, of one stream."""
MOST_POINTS = 100
TINY = 1e-9
"""An area in parts of the frame, less than a millionth of a pixel."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=86400)]


def _name(name: str) -> str:
    if not (0 < len(name) <= 64) or any(sign in name for sign in "/+#") or not name.isprintable():
        raise ValueError(f"{name!r} is not a name of 1 to 64 characters without / + #")
    return name


def _inside(points: tuple[Point, ...]) -> tuple[Point, ...]:
    for number, (x, y) in enumerate(points, 1):
        if not (0 <= x <= 1 and 0 <= y <= 1):
            what = (
                "coordinates are fractions of the frame from 0 to 1, not pixels"
                if max(x, y) > 1.5
                else "coordinates go from 0 to 1"
            )
            raise ValueError(f"point {number}, ({x:g}, {y:g}), is outside the frame: {what}")
    return points


def _polygon(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(points) > 3 and points[0] == points[-1]:
        points = points[:-1]  # closed explicitly, as GeoJSON does
    if len(points) < 3:
        raise ValueError(f"{len(points)} points are no polygon: give at least 3")
    if double := next((at for at in range(len(points)) if points[at] in points[:at]), None):
        raise ValueError(f"point {double + 1} is there already: give each corner once, in order")
    if all(abs(side((points[0], points[1]), point)) < TINY for point in points[2:]):
        raise ValueError("the polygon has no area: its points lie on one line")
    if crossed := self_crossing(points):
        raise ValueError(
            f"the polygon crosses itself: sides {crossed[0]} and {crossed[1]} meet; give its corners in order"
        )
    return points


def _line(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(points) != 2:
        raise ValueError(f"a line has 2 points, not {len(points)}")
    if points[0] == points[1]:
        raise ValueError("the two points of the line are the same")
    return points


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Points = Annotated[tuple[Point, ...], Field(max_length=MOST_POINTS)]
Polygon = Annotated[Points, AfterValidator(_inside), AfterValidator(_polygon)]
Line = Annotated[Points, AfterValidator(_inside), AfterValidator(_line)]
Name = Annotated[str, AfterValidator(_name)]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    labels: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    """Only objects with one of these labels; without any, all."""
    min_confidence: Fraction = 0.0
    """What an object's confidence must reach in a frame for the rule to see it there."""
    cooldown_seconds: Seconds = 0.0
    """How long the rule is quiet about an object it has told of, see each rule."""

    def concerns(self, label: str) -> bool:
        return not self.labels or label in self.labels


class _Placed(_Rule):
    anchor: Literal["bottom", "centre"] = "bottom"
    """The point of an object's box that must be in the zone or cross the line: the middle of its lower side,
    where a thing stands on the ground, or its centre."""
    margin: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """How far beyond the border, in diagonals of the frame, an object must get to have left a zone or crossed
    a line: so that one which stands on the border does not come and go."""


class Zone(_Placed):
    """Tells `zone_enter` and `zone_leave`, and where `dwell_seconds` is given `zone_dwell`, once a stay.

    cooldown_seconds: after an object has left, a stay that begins so soon is not told at all, neither its
    enter nor its leave.
    """

    points: Polygon
    """Corners in order, (x, y) as fractions of the frame; sides must not cross."""
    settle_seconds: Annotated[float, Field(ge=0, le=60)] = 0.3
    """How long an object must be inside before it has entered, and outside before it has left."""
    dwell_seconds: Annotated[float, Field(gt=0, le=864000)] | None = None
    """After so long inside `zone_dwell` is told."""


class LineRule(_Placed):
    """Tells `line_cross`, with the side that the object went to: of who looks from the first point to the
    second.

    cooldown_seconds: an object that crosses again so soon after it was told is not told of.
    """

    points: Line
    direction: Literal["both", "left", "right"] = "both"
    """Only crossings to this side."""


class MotionRule(_Rule):
    """Tells `moving` and `stationary` when an object begins to be so. Speeds are in diagonals of the frame a
    second; between the two nothing changes.

    cooldown_seconds: how long an object stays what it was told to be at least.
    """

    moving_speed: Annotated[float, Field(gt=0, le=10)] = 0.03
    """At this speed an object moves."""
    still_speed: Annotated[float, Field(ge=0, le=10)] = 0.01
    """At this speed or below it stands still."""
    moving_seconds: Seconds = 0.5
    """How long it must move before it is moving."""
    still_seconds: Seconds = 2.0
    """How long it must stand still before it is stationary."""
    window_seconds: Annotated[float, Field(ge=0.2, le=10)] = 1.0
    """Speed and heading are those of the straight line that fits the box's centre best over so long."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.still_speed >= self.moving_speed:
            raise ValueError(
                f"still_speed {self.still_speed:g} must be below moving_speed {self.moving_speed:g}"
            )
        return self


class Rules(BaseModel):
    """What one stream is watched for. Without `motion` nothing is told of speeds, but tracks have them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    zones: Annotated[dict[Name, Zone], Field(max_length=MOST_RULES)] = {}
    lines: Annotated[dict[Name, LineRule], Field(max_length=MOST_RULES)] = {}
    motion: MotionRule | None = None


NO_RULES = Rules()


@dataclass(slots=True)
class Rulebook:
    """What a stream is watched for. Rules that are put in while it runs hold from the next frame."""

    rules: Rules = NO_RULES


KINDS: dict[str, type[BaseModel]] = {"zones": Zone, "lines": LineRule, "motion": MotionRule}


def known_in_rules(path: tuple[object, ...]) -> list[str]:
    """The keys there are where `path` (below `rules`, the unknown key last) points to."""
    kind = KINDS.get(str(path[0]), Rules) if len(path) > 1 else Rules
    return list(kind.model_fields)
