"""Where objects were: a fold over results that overlays draw from, of bounded size for each object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .types import Box, Point, Result, Track

TRAIL_SECONDS = 2.0
TRAIL_STEP = 0.1
"""Seconds from one point of a trail to the next, at least: so it has at most `TRAIL_SECONDS / TRAIL_STEP` of
them, and one for the present."""
BREAK_SECONDS = 0.5
"""Who was hidden for so long begins a new trail."""


@dataclass(frozen=True, slots=True)
class Past:
    """box: where an object was when it was seen last; trail: (time, centre of its box), oldest first, the
    last one being of that moment."""

    box: Box
    trail: tuple[tuple[float, Point], ...] = ()


Pasts = Mapping[int, Past]
"""By object id. Objects that are no longer among the tracks are forgotten."""


def seen(pasts: Pasts, result: Result) -> dict[int, Past]:
    """`pasts` after one more frame."""
    now = result.frame.time
    after = ((track.object_id, _after(pasts.get(track.object_id), track, now)) for track in result.tracks)
    return {object_id: past for object_id, past in after if past is not None}


def _after(past: Past | None, track: Track, now: float) -> Past | None:
    if track.box is None:
        return past
    x0, y0, x1, y1 = track.box
    here = now, ((x0 + x1) / 2, (y0 + y1) / 2)
    trail = past.trail if past else ()
    if not trail or not 0 <= now - trail[-1][0] < BREAK_SECONDS:
        return Past(track.box, (here,))
    if len(trail) > 1 and trail[-1][0] - trail[-2][0] < TRAIL_STEP:
        trail = trail[:-1]
    return Past(track.box, (*(point for point in trail if now - point[0] <= TRAIL_SECONDS), here))
