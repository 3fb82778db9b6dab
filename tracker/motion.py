"""How fast an object goes and where to, and whether it moves or stands still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .rules import MotionRule
from .sightings import CLOSE, Sighting

MOST_POSITIONS = 64
"""Kept of the window; of more, every second one is left out."""
SHORTEST_SECONDS = 0.2
"""What is seen for less than this has no speed yet."""


class Position(NamedTuple):
    """Where an object's centre was, in diagonals of the frame, and when."""

    clock: float
    x: float
    y: float


class Velocity(NamedTuple):
    """speed: in diagonals of the frame a second; heading: in degrees clockwise from straight up, [0, 360)."""

    speed: float
    heading: float


@dataclass(frozen=True, slots=True)
class Motion:
    """Of one object. positions: those in the window; moving: what it was found to be, None before; seems,
    since: what it has seemed to be, and from when on; changed: when `moving` changed."""

    positions: tuple[Position, ...] = ()
    velocity: Velocity | None = None
    moving: bool | None = None
    seems: bool | None = None
    since: float = 0.0
    changed: float = -math.inf


def follow(motion: Motion, rule: MotionRule, seen: Sighting) -> Motion:
    """The motion after one more sighting."""
    here = Position(seen.clock, *seen.scaled(seen.at("centre")))
    begin = seen.clock - rule.window_seconds - CLOSE
    positions = (*(one for one in motion.positions if one.clock >= begin), here)
    if len(positions) > MOST_POSITIONS:
        positions = (*positions[:-1:2], here)
    motion = replace(motion, positions=positions, velocity=velocity(positions))
    return _settled(motion, rule, seen.clock)


def unseen(motion: Motion, rule: MotionRule, clock: float) -> Motion:
    """The motion after a frame without the object: what was seen grows old, what it was found to be stays."""
    begin = clock - rule.window_seconds - CLOSE
    positions = tuple(one for one in motion.positions if one.clock >= begin)
    return replace(motion, positions=positions, velocity=velocity(positions), seems=None)


def velocity(positions: Sequence[Position]) -> Velocity | None:
    """The slope of the straight line that fits positions best (least squares); None where they are of too
    short a time."""
    if len(positions) < 2 or positions[-1].clock - positions[0].clock < SHORTEST_SECONDS - CLOSE:
        return None
    mean = [sum(values) / len(positions) for values in zip(*positions, strict=True)]
    offsets = [(one.clock - mean[0], one.x - mean[1], one.y - mean[2]) for one in positions]
    spread = sum(t * t for t, _, _ in offsets)
    right = sum(t * x for t, x, _ in offsets) / spread
    down = sum(t * y for t, _, y in offsets) / spread
    return Velocity(math.hypot(right, down), math.degrees(math.atan2(right, -down)) % 360 % 360)


def _settled(motion: Motion, rule: MotionRule, clock: float) -> Motion:
    """With `moving` changed where the velocity has said so for long enough."""
    seems = _seems(motion, rule)
    since = motion.since if seems == motion.seems else clock
    motion = replace(motion, seems=seems, since=since)
    needed = rule.moving_seconds if seems else rule.still_seconds
    if seems is None or seems == motion.moving or clock - since < needed - CLOSE:
        return motion
    if clock - motion.changed < rule.cooldown_seconds - CLOSE:
        return motion
    return replace(motion, moving=seems, changed=clock)


def _seems(motion: Motion, rule: MotionRule) -> bool | None:
    """Whether the object seems to move; None between the two speeds and where its speed is not known."""
    if motion.velocity is None or rule.still_speed < motion.velocity.speed < rule.moving_speed:
        return None
    return motion.velocity.speed >= rule.moving_speed
