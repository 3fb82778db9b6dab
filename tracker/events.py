"""The life of an object: from what is seen of it in each frame to its state, and to events when that changes.

| state     | what happens                                           | next    | event     |
|-----------|--------------------------------------------------------|---------|-----------|
| tentative | visible `confirm_frames` in a row                      | tracked | new       |
| tracked   | hidden `occlude_frames` in a row                       | occluded| occluded  |
| occluded  | visible `recover_frames` in a row, or shown by a user  | tracked | recovered |
| occluded  | hidden for more than `lost_after`                      | lost    | lost      |
| tentative | hidden for more than `lost_after`                      | lost    | lost      |
| lost      | visible `recover_frames` in a row, or shown by a user  | tracked | recovered |
| lost      | `forget_lost_after` has gone by, too                   | (none)  | end       |
| any       | forgotten, reset, end of the stream                    | (none)  | end       |

A lost object that was never announced comes back as new. The counts are the hysteresis: a flicker changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from keepsight.streams.types import Box, Event, EventKind, Frame, State

from .settings import TrackerSettings
from .state import TrackerState, TrackRecord

EDGE = 0.01
"""How near to the border, in parts of the frame, a box touches it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame shows of one object. box: None if hidden; shown: a user pointed at it in this frame."""

    box: Box | None
    confidence: float
    shown: bool = False


class Change(NamedTuple):
    kind: EventKind
    state: State
    reason: str


def advance(
    record: TrackRecord, observation: Observation, frame: Frame, settings: TrackerSettings
) -> tuple[TrackRecord | None, tuple[Event, ...]]:
    """The object's record after `frame`, None when it has ended, and the events of the change."""
    unseen = max(0.0, frame.time - record.seen)
    counted = count(record, observation, frame)
    change = transition(counted, unseen, observation.shown, settings)
    if change is None:
        return counted, ()
    event = event_of(change, counted, frame)
    if change.kind == "end":
        return None, (event,)
    back = change.state == "tracked"
    seen = frame.time if back else counted.seen
    return replace(counted, state=change.state, seen=seen, confirmed=counted.confirmed or back), (event,)


def count(record: TrackRecord, observation: Observation, frame: Frame) -> TrackRecord:
    """The record with this frame counted. A time that jumps back (a new connection) starts the wait again."""
    seen = min(record.seen, frame.time)
    if observation.box is None:
        return replace(
            record, visible=0, hidden=record.hidden + 1, seen=seen, confidence=observation.confidence
        )
    return replace(
        record,
        visible=record.visible + 1,
        hidden=0,
        seen=frame.time if record.state in ("tentative", "tracked") else seen,
        box=observation.box,
        confidence=observation.confidence,
    )


def transition(record: TrackRecord, unseen: float, shown: bool, settings: TrackerSettings) -> Change | None:
    """What the table says of a counted record that had been unseen for so many seconds."""
    match record.state:
        case "tentative" if record.visible >= settings.confirm_frames:
            return Change("new", "tracked", f"visible in {_frames(record.visible)}")
        case "tracked" if record.hidden >= settings.occlude_frames:
            return Change("occluded", "occluded", f"hidden for {_frames(record.hidden)}{_where(record.box)}")
        case "occluded" | "lost" if record.visible and (shown or record.visible >= settings.recover_frames):
            reason = "shown by a user" if shown else f"visible again after {unseen:.1f} s"
            return Change("recovered" if record.confirmed else "new", "tracked", reason)
        case "tentative" | "occluded" if record.hidden and unseen > settings.lost_after:
            return Change("lost", "lost", f"not seen for {unseen:.1f} s{_where(record.box)}")
        case "lost" if record.hidden and unseen > _patience(settings):
            return Change("end", "lost", f"not seen for {unseen:.1f} s")
    return None


def ended(records: Iterable[TrackRecord], frame: Frame, reason: str) -> tuple[Event, ...]:
    """The end events of objects that are tracked no more from `frame` on."""
    return tuple(event_of(Change("end", record.state, reason), record, frame) for record in records)


def finish(state: TrackerState, frame: Frame) -> tuple[Event, ...]:
    """The end events of every object when the stream ends; `frame` is its last one."""
    return ended(sorted(state.records, key=lambda record: record.object_id), frame, "the stream ended")


def event_of(change: Change, record: TrackRecord, frame: Frame) -> Event:
    return Event(
        kind=change.kind,
        object_id=record.object_id,
        label=record.label,
        frame=frame.ref,
        time=frame.time,
        captured=frame.captured,
        clock=frame.clock,
        confidence=record.confidence,
        box=record.box,
        state=change.state,
        previous=record.state,
        reason=change.reason,
    )


def _patience(settings: TrackerSettings) -> float:
    kept = settings.forget_lost_after
    return float("inf") if kept is None else settings.lost_after + kept


def _frames(number: int) -> str:
    return "1 frame" if number == 1 else f"{number} frames in a row"


def _where(box: Box | None) -> str:
    """Where an object went out of sight, if that was at a border of the frame."""
    if box is None:
        return ""
    near = {
        "left": box[0] <= EDGE,
        "top": box[1] <= EDGE,
        "right": box[2] >= 1 - EDGE,
        "bottom": box[3] >= 1 - EDGE,
    }
    sides = " and ".join(side for side, touched in near.items() if touched)
    return f", last seen at the {sides} of the frame" if sides else ""
