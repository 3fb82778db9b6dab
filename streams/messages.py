"""What Keepsight says in JSON, over MQTT and in results files, and how it is made of results.

Every message is complete by itself. Fields are only ever added; readers ignore those they do not know. What
others may say to Keepsight is in `control.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel

from . import control, node_messages, rle
from .message_parts import FINE_PLACES, Message, OfFrame, Part, Published, fine, fine_box
from .types import (
    Applied,
    Box,
    Event,
    EventKind,
    Frame,
    Mask,
    Result,
    Side,
    SourceState,
    State,
    Track,
    Watched,
)

Availability = Literal["online", "stopped", "offline"]
"""Plain text: at each connect, at a clean end, and said by the broker when the connection is lost."""

_PLACES = 4  # decimals of scores and speeds
_DEGREE_PLACES = 1

RunState = Literal["waiting", "running", "paused", "stopped"]
Score = float


class RleMask(Part):
    """A mask in COCO's compressed run-length encoding, column-major."""

    size: tuple[int, int]
    """Height and width in pixels."""
    counts: str


class TrackFields(Part):
    """One object in one frame. Scores lie in [0, 1]."""

    object_id: int
    label: str
    state: State
    box: Box | None
    """x0, y0, x1, y1 in [0, 1] of the frame; null where nothing is visible."""
    confidence: Score
    iou: Score
    """Predicted overlap of the mask with the object."""
    presence: Score
    """Probability that the object is visible."""
    stability: Score
    """Overlap of the masks at a strict and at a lax threshold."""
    margin: Score
    """How clearly the pixels of the mask are told from the others, on average."""
    speed: float | None = None
    """Diagonals of the frame a second, on average over the last second; null where it is not known yet."""
    heading: float | None = None
    """Where it goes, in degrees clockwise from straight up in the picture, 0 to 360; null at rest."""
    moving: bool | None = None
    """Whether it moves or stands still, which takes some time to change; null before it is known."""


class MaskedTrack(TrackFields):
    mask: RleMask


class WatchedFields(Part):
    """A zone or a line that is watched, and what there is to count."""

    kind: Literal["zone", "line"]
    name: str
    counts: dict[str, int]
    """In a zone: objects by label. Of a line: crossings so far, to the `left` and the `right`."""


class ObjectMask(Part):
    object_id: int
    mask: RleMask


class EventFields(OfFrame):
    """What happened to which object. Boxes and scores as in tracks."""

    kind: EventKind
    object_id: int
    label: str
    state: State
    previous: State | None
    """The state before the event."""
    reason: str
    confidence: Score
    box: Box | None
    rule: str | None = None
    """The zone or line it is about."""
    seconds: float | None = None
    """How long the object was in the zone: from when it was first to when it was last seen there."""
    side: Side | None = None
    """Where it went over the line, for who looks from the line's first point to its second."""
    speed: float | None = None
    heading: float | None = None
    """Speed and heading as in tracks."""


class StatusMessage(Published, Message):
    """How one camera's run is doing. Retained; read it together with the node's availability."""

    state: RunState
    """`paused`: the camera is switched off. What is said of objects and zones is of now only while it is
    `running` and its source is not late or away."""
    reason: str
    """How the run ended; before that, why no frames come from the source. Else empty."""
    frames: int
    """Results so far."""
    dropped: int
    """Frames of a live camera that nobody had time for, so far."""
    frames_per_second: float
    """Results a second since the last status."""
    objects: int
    """Tracks in the last result."""
    source: SourceState | None = None
    """Whether frames come from a live source, are late, or it cannot be reached; null before it was tried."""
    reconnects: int = 0
    """Times in the last hour that a live source came back."""
    stalls: int = 0
    """Times in the last hour that a live source's frames were late."""
    source_frames_per_second: float = 0.0
    """Frames a second that the source gave over the last minute of results, those that nobody had time for
    included; 0 while it is late or away. While the camera is switched off no results come, so it is as before
    for up to a minute and then 0."""


class FramesMessage(OfFrame, Published, Message):
    """All tracks of one frame."""

    size: tuple[int, int]
    """Height and width of the frame in pixels."""
    tracks: list[TrackFields]
    watched: tuple[WatchedFields, ...] = ()
    """The zones and lines of the camera's rules."""


class MasksMessage(OfFrame, Published, Message):
    """All masks of one frame."""

    masks: list[ObjectMask]


class EventMessage(EventFields, Published, Message):
    """One event. A message that is delivered twice has the same `event_id`."""

    event_id: str
    """node/camera/run/sequence: unique, and the same each time this event is sent."""


class ClipMessage(EventFields, Message):
    """What is written beside a clip: an event in it."""

    camera: str
    clip: str | None
    """The clip's file, in the same folder; null where none could be written."""
    at: float | None
    """Seconds into the clip at which it happened."""
    snapshot: str
    """The picture of that moment, in the same folder."""


class AppliedFrame(Part):
    """The frame that a command took effect on, as frames messages name it."""

    epoch: int
    index: int


class AckMessage(Published, Message):
    """The answer to a command: what became of it."""

    command: str
    """As in its topic: prompt, correct, forget or reset; empty where messages were not read at all."""
    request_id: str | None
    """As in the request; null where it had none, or none that could be read."""
    ok: bool
    object_id: int | None
    """The object that is tracked, mended or forgotten from that frame on; null for reset and refusals."""
    applied: AppliedFrame | None
    """Null for refusals."""
    error: str | None
    """Why it was refused."""


class ResultLine(OfFrame, Message):
    """One line of a results file: all that is known of one frame."""

    size: tuple[int, int]
    """Height and width of the frame in pixels."""
    tracks: list[MaskedTrack]
    events: list[EventFields]
    watched: tuple[WatchedFields, ...] = ()


_MODELS: dict[str, type[BaseModel]] = {
    "status": StatusMessage,
    "frames": FramesMessage,
    "masks": MasksMessage,
    "events": EventMessage,
    "ack": AckMessage,
    "clip": ClipMessage,
    "result": ResultLine,
    **node_messages.MODELS,
}
SAID = tuple(_MODELS)
"""The names of what Keepsight says."""
SCHEMAS = (*SAID, *control.COMMANDS)
"""The names `schema` knows."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a message. ValueError, listing the names there are, where `name` is none of them."""
    if name not in SCHEMAS:
        raise ValueError(f"no message is called {name!r}; there are {', '.join(SCHEMAS)}")
    if name in control.COMMANDS:
        return control.schema(name)
    return _MODELS[name].model_json_schema(mode="serialization")


@dataclass(frozen=True, slots=True)
class Status:
    """The figures of a `StatusMessage`."""

    state: RunState
    reason: str
    frames: int
    dropped: int
    frames_per_second: float
    objects: int
    source: SourceState | None = None
    reconnects: int = 0
    stalls: int = 0
    source_frames_per_second: float = 0.0


def status_message(status: Status, published: float) -> StatusMessage:
    rates = ("frames_per_second", "source_frames_per_second")
    figures = asdict(status) | {name: round(getattr(status, name), 2) for name in rates}
    return StatusMessage(**figures, published=fine(published))


def frames_message(result: Result, published: float) -> FramesMessage:
    return FramesMessage(
        **_of_frame(result.frame),
        size=result.frame.size,
        tracks=[TrackFields(**_track(track)) for track in result.tracks],
        watched=tuple(_watched(one) for one in result.watched),
        published=fine(published),
    )


def masks_message(result: Result, published: float) -> MasksMessage:
    return MasksMessage(
        **_of_frame(result.frame),
        masks=[ObjectMask(object_id=track.object_id, mask=_rle(track.mask)) for track in result.tracks],
        published=fine(published),
    )


def ack_message(command: str, request_id: str | None, outcome: Applied | str, published: float) -> AckMessage:
    """The answer to a command that was carried out, or was refused for a reason."""
    applied = outcome if isinstance(outcome, Applied) else None
    return AckMessage(
        command=command,
        request_id=request_id,
        ok=applied is not None,
        object_id=applied.object_id if applied else None,
        applied=AppliedFrame(epoch=applied.frame[0], index=applied.frame[1]) if applied else None,
        error=outcome if isinstance(outcome, str) else None,
        published=fine(published),
    )


def event_message(event: Event, event_id: str, published: float) -> EventMessage:
    return EventMessage(**_event(event), event_id=event_id, published=fine(published))


def clip_message(event: Event, camera: str, clip: str | None, at: float | None, snapshot: str) -> ClipMessage:
    return ClipMessage(**_event(event), camera=camera, clip=clip, at=_optional(at), snapshot=snapshot)


def stamped(message: EventMessage, published: float) -> EventMessage:
    """The message as it is published now; all else stays."""
    return message.model_copy(update={"published": fine(published)})


def event_id(source: Sequence[str], sequence: int) -> str:
    """The id of the event that is number `sequence` of `source`: (node, camera, run)."""
    return "/".join((*source, str(sequence)))


def result_line(result: Result) -> ResultLine:
    return ResultLine(
        **_of_frame(result.frame),
        size=result.frame.size,
        tracks=[] if result.closing else [_masked_track(track) for track in result.tracks],
        events=[EventFields(**_event(event)) for event in result.events],
        watched=tuple(_watched(one) for one in result.watched),
    )


def _masked_track(track: Track) -> MaskedTrack:
    return MaskedTrack(**_track(track), mask=_rle(track.mask))


def _of_frame(frame: Frame) -> dict[str, Any]:
    return {
        "epoch": frame.epoch,
        "index": frame.index,
        "time": fine(frame.time),
        "captured": fine(frame.captured),
        "clock": frame.clock,
    }


def _track(track: Track) -> dict[str, Any]:
    return {
        "object_id": track.object_id,
        "label": track.label,
        "state": track.state,
        "box": _box(track.box),
        "confidence": _score(track.confidence),
        "iou": _score(track.iou),
        "presence": _score(track.presence),
        "stability": _score(track.stability),
        "margin": _score(track.margin),
        "speed": _optional(track.speed),
        "heading": _optional(track.heading, _DEGREE_PLACES),
        "moving": track.moving,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "epoch": event.frame[0],
        "index": event.frame[1],
        "time": fine(event.time),
        "captured": fine(event.captured),
        "clock": event.clock,
        "kind": event.kind,
        "object_id": event.object_id,
        "label": event.label,
        "state": event.state,
        "previous": event.previous,
        "reason": event.reason,
        "confidence": _score(event.confidence),
        "box": _box(event.box),
        "rule": event.rule,
        "seconds": _optional(event.seconds, FINE_PLACES),
        "side": event.side,
        "speed": _optional(event.speed),
        "heading": _optional(event.heading, _DEGREE_PLACES),
    }


def _watched(watched: Watched) -> WatchedFields:
    return WatchedFields(kind=watched.kind, name=watched.name, counts=dict(watched.counts))


def _rle(mask: Mask) -> RleMask:
    coded = rle.encode(mask)
    return RleMask(size=mask.shape, counts=coded["counts"])


def _box(box: Box | None) -> Box | None:
    return None if box is None else fine_box(box)


def _optional(value: float | None, places: int = _PLACES) -> float | None:
    return None if value is None else round(float(value), places)


def _score(value: float) -> float:
    return round(float(value), _PLACES)
