"""What messages have in common: their version, whose frame they are about, when they were published."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .types import Box, Clock

FINE_PLACES = 6
"""Decimals of coordinates and times: a pixel of any frame, a microsecond."""


class Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class Message(Part):
    v: Literal[1] = 1
    """Version of the message format."""


class OfFrame(Part):
    """Which frame is spoken of, and when it was."""

    epoch: int
    """Rises at each reconnect of the source."""
    index: int
    """Frames decoded before this one."""
    time: float
    """Presentation time in seconds."""
    captured: float
    """Wall-clock time of capture, seconds since 1970."""
    clock: Clock
    """Where the capture time came from."""


class Published(Part):
    published: float
    """Wall-clock time of publishing, seconds since 1970."""


def fine(value: float) -> float:
    return round(float(value), FINE_PLACES)


def fine_box(box: Box) -> Box:
    return fine(box[0]), fine(box[1]), fine(box[2]), fine(box[3])
