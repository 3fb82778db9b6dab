"""What a node tells of itself, and what it keeps retained: who it is, how it does, what is tracked where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel, ValidationError

from .message_parts import Message, Part, Published, fine, fine_box
from .types import Box, Result, State, Track, Watched

_PLACES = 4  # decimals of scores and of milliseconds in seconds


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera of a node. `zones`, `lines`: the names in its rules; `auto`: whether it finds objects."""

    name: str
    zones: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    auto: bool = False


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node tells of itself."""

    model: str = ""
    cameras: tuple[CameraInfo, ...] = ()


class CameraFields(Part):
    name: str
    zones: list[str]
    lines: list[str]


class InfoMessage(Published, Message):
    """What runs here. Retained."""

    version: str
    """Of Keepsight."""
    model: str
    """The model that tracks; empty where it is not told."""
    cameras: list[CameraFields]
    schemas: list[str]
    """What `keepsight schema` describes."""
    process: str = ""
    """Unlike that of any other process: two that have a node's name tell by it that they are two."""


class Latency(Part):
    """Seconds of the last minute's frames."""

    median: float
    p95: float


class StatsMessage(Published, Message):
    """How one camera did in the last minute. Of each camera of the node, every 60 s."""

    camera: str
    seconds: float
    """Since the last such message, or since the begin."""
    frames: int
    """Results in that time."""
    frames_per_second: float
    dropped: int
    """Frames that nobody had time for, so far."""
    latency: dict[str, Latency]
    """By stage: decode, encode, attention, masks, memory, and step, all of them together; capture_to_publish
    where the source tells when frames were captured."""
    events_waiting: int
    """For the broker to take them."""
    events_dropped: int
    """So far, since too many waited."""
    resident_bytes: int
    """What the process holds in memory now; 0 where the system does not tell."""
    source_frames_per_second: float = 0.0
    """Frames a second that the source gave over the last minute of results, those that nobody had time for
    included; 0 while it is late or away. While the camera is switched off no results come, so it is as before
    for up to a minute and then 0."""


class ObjectMessage(Published, Message):
    """The present state of an object. Retained, and sent when it changes; empty when the object has ended."""

    object_id: int
    label: str
    state: State
    confidence: float
    box: Box | None
    """When the state changed: x0, y0, x1, y1 in [0, 1] of the frame; null where nothing was visible."""
    moving: bool | None
    index: int
    """The frame of the change."""


class ZoneMessage(Published, Message):
    """What is in a zone. Retained, and sent when it changes."""

    zone: str
    count: int
    """Objects in it."""
    labels: dict[str, int]
    """How many of each label."""


MODELS: dict[str, type[BaseModel]] = {
    "info": InfoMessage,
    "stats": StatsMessage,
    "object": ObjectMessage,
    "zone": ZoneMessage,
}


def keepsight_version() -> str:
    try:
        return version("keepsight")
    except PackageNotFoundError:
        return "unknown"


def process_of(info: bytes) -> str | None:
    """The process that info is from, empty where it does not say; None where it is no such message."""
    try:
        return InfoMessage.model_validate_json(info).process
    except ValidationError:
        return None


def info_message(info: NodeInfo, schemas: tuple[str, ...], process: str, published: float) -> InfoMessage:
    return InfoMessage(
        version=keepsight_version(),
        model=info.model,
        cameras=[
            CameraFields(name=one.name, zones=list(one.zones), lines=list(one.lines)) for one in info.cameras
        ],
        schemas=list(schemas),
        process=process,
        published=fine(published),
    )


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a `StatsMessage`; latencies as (median, p95) in seconds."""

    camera: str
    seconds: float
    frames: int
    dropped: int
    latency: Mapping[str, tuple[float, float]]
    events_waiting: int
    events_dropped: int
    resident_bytes: int
    source_frames_per_second: float = 0.0


def stats_message(stats: Stats, published: float) -> StatsMessage:
    return StatsMessage(
        camera=stats.camera,
        seconds=round(stats.seconds, 3),
        frames=stats.frames,
        frames_per_second=round(stats.frames / stats.seconds, 2) if stats.seconds > 0 else 0.0,
        dropped=stats.dropped,
        latency={
            stage: Latency(median=round(median, _PLACES), p95=round(p95, _PLACES))
            for stage, (median, p95) in stats.latency.items()
        },
        events_waiting=stats.events_waiting,
        events_dropped=stats.events_dropped,
        resident_bytes=stats.resident_bytes,
        source_frames_per_second=round(stats.source_frames_per_second, 2),
        published=fine(published),
    )


def object_message(track: Track, result: Result, published: float) -> ObjectMessage:
    return ObjectMessage(
        object_id=track.object_id,
        label=track.label,
        state=track.state,
        confidence=round(float(track.confidence), _PLACES),
        box=None if track.box is None else fine_box(track.box),
        moving=track.moving,
        index=result.frame.index,
        published=fine(published),
    )


def zone_message(zone: Watched, published: float) -> ZoneMessage:
    counts = dict(zone.counts)
    return ZoneMessage(zone=zone.name, count=sum(counts.values()), labels=counts, published=fine(published))
