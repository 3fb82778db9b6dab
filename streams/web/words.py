"""What the page's server says in JSON beside the messages of `streams/messages.py`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from ..message_parts import fine
from ..messages import EventMessage, FramesMessage, StatusMessage, event_id
from ..types import EventKind, SourceState
from .camera import Camera
from .pictures import Outline, Picture


class _Said(BaseModel):
    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class CameraMessage(_Said):
    """One camera of the page."""

    name: str
    run: str
    """Another one after the camera has been begun again: its frames and tracks are others then."""
    size: tuple[int, int] | None
    """Height and width of its frames in pixels; null before the first."""
    status: StatusMessage
    clips: list[EventKind]
    """The kinds of events of which there are clips."""


class CamerasMessage(_Said):
    cameras: list[CameraMessage]


class SourceChangeMessage(_Said):
    """A live source came, was late, or was lost."""

    change_id: str
    """The same each time this change is told."""
    time: float
    """When, in seconds since 1970."""
    state: SourceState
    reason: str


class EventsMessage(_Said):
    """What happened at one camera, oldest first."""

    camera: str
    events: list[EventMessage]
    sources: list[SourceChangeMessage]
    """How its source did."""


class Told(NamedTuple):
    """How much of a camera somebody was told: the next event and the next change of its source."""

    events: int
    changes: int

    @classmethod
    def all_but(cls, count: int, camera: Camera) -> Self:
        """All but the newest `count` of each."""
        return cls(camera.next_event - count, camera.source_log.after - count)


class PictureMessage(_Said):
    """What comes with a picture: whose it is, what is tracked in it, and where that is to be seen."""

    camera: str
    frames: FramesMessage
    outlines: dict[int, list[Outline]]
    """By object id, closed lines x, y, x, y, … in thousandths of width and height, one for each part."""
    age: float
    """Seconds since the frame was decoded."""
    step: float
    """Seconds that decoding and tracking it took."""


class ChangedMessage(_Said):
    """Other streams run, or they are watched for something else."""

    change: str
    """In words; empty where nothing was other than before."""
    saved: str | None
    """The file it was written to; null where it lasts as long as the run."""
    comments_kept: bool = True
    """Whether all comments in that file are still there."""
    failed: list[str] = []
    """Of cameras that were to begin and could not after all, which and why."""


class ErrorMessage(_Said):
    error: str


def events_message(camera: Camera, told: Told) -> EventsMessage:
    """What happened since so much was told."""
    source = ("page", camera.name, camera.run, "source")
    changes = [
        SourceChangeMessage(
            change_id=event_id(source, change.number),
            time=fine(change.time),
            state=change.status.state,
            reason=change.status.reason,
        )
        for change in camera.source_log.since(told.changes)
    ]
    return EventsMessage(camera=camera.name, events=camera.events(told.events), sources=changes)


def picture_message(camera: str, picture: Picture, frames: FramesMessage) -> PictureMessage:
    result = picture.result
    return PictureMessage(
        camera=camera,
        frames=frames,
        outlines={name: list(lines) for name, lines in picture.outlines.items()},
        age=round(time.monotonic() - result.frame.arrived, 4),
        step=round(result.timings.total, 4),
    )


def cameras_message(cameras: Iterable[Camera]) -> CamerasMessage:
    said = [
        CameraMessage(
            name=one.name,
            run=one.run,
            size=one.size,
            status=one.status(),
            clips=list(one.recordings.kinds) if one.recordings else [],
        )
        for one in cameras
    ]
    return CamerasMessage(cameras=said)
