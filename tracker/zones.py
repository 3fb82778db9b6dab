"""Who is in a zone: an object's stay, frame by frame, and what is told of it.

An object enters once it has been inside for `settle_seconds`, and leaves once it has been further outside
than `margin` for as long. While it cannot be seen nothing changes; once it is lost it has left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from keepsight.streams.types import EventKind

from .plane import contains, distance_to_polygon
from .rules import Zone
from .sightings import CLOSE, Sighting


class Told(NamedTuple):
    """What there is to tell of a stay. seconds: from when it was first to when it was last seen inside."""

    kind: EventKind
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Stay:
    """One object and one zone. Times are on the stream's clock.

    inside: it has entered; since: from when on it has been seen on the other side of the border, None where
    it was not; entered, seen: when it was first and last seen inside; quiet: nothing is told of this stay;
    dwelt: its `zone_dwell` was told; left: when a stay that was told ended.
    """

    inside: bool = False
    since: float | None = None
    entered: float = 0.0
    seen: float = 0.0
    quiet: bool = False
    dwelt: bool = False
    left: float = -math.inf

    @property
    def seconds(self) -> float:
        return max(0.0, self.seen - self.entered)


def follow(stay: Stay, zone: Zone, seen: Sighting) -> tuple[Stay, tuple[Told, ...]]:
    """The stay after one more sighting, and what there is to tell."""
    point = seen.at(zone.anchor)
    within = contains(zone.points, point)
    if not stay.inside:
        return _outside(stay, zone, seen.clock, within)
    if within:
        return _tell_dwell(replace(stay, since=None, seen=seen.clock), zone)
    corners = [seen.scaled(corner) for corner in zone.points]
    if distance_to_polygon(corners, seen.scaled(point)) <= zone.margin:
        return replace(stay, since=None), ()
    since = seen.clock if stay.since is None else stay.since
    if seen.clock - since < zone.settle_seconds - CLOSE:
        return replace(stay, since=since), ()
    return leave(replace(stay, since=since), seen.clock, "left")


def _outside(stay: Stay, zone: Zone, clock: float, within: bool) -> tuple[Stay, tuple[Told, ...]]:
    if not within:
        return replace(stay, since=None), ()
    since = clock if stay.since is None else stay.since
    if clock - since < zone.settle_seconds - CLOSE:
        return replace(stay, since=since), ()
    quiet = since - stay.left < zone.cooldown_seconds - CLOSE
    begun = Stay(inside=True, entered=since, seen=clock, quiet=quiet, left=stay.left)
    entered = () if quiet else (Told("zone_enter", None, "entered"),)
    stay, dwelt = _tell_dwell(begun, zone)
    return stay, (*entered, *dwelt)


def _tell_dwell(stay: Stay, zone: Zone) -> tuple[Stay, tuple[Told, ...]]:
    if stay.dwelt or zone.dwell_seconds is None or stay.seconds < zone.dwell_seconds - CLOSE:
        return stay, ()
    told = Told("zone_dwell", stay.seconds, f"inside for {stay.seconds:.1f} s")
    return replace(stay, dwelt=True), () if stay.quiet else (told,)


def leave(stay: Stay, clock: float, reason: str) -> tuple[Stay, tuple[Told, ...]]:
    """The end of a stay, where there is one, for a reason."""
    if not stay.inside:
        return replace(stay, since=None), ()
    if stay.quiet:
        return Stay(left=stay.left), ()
    return Stay(left=clock), (Told("zone_leave", stay.seconds, f"{reason} after {stay.seconds:.1f} s"),)


def count(labels: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """How often each label is there, in the order of the alphabet."""
    return tuple((label, labels.count(label)) for label in sorted(set(labels)))
