"""Which clip an event is in, of those that `clips:` has written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ..messages import ClipMessage, EventMessage

LONGEST_SECONDS = 150
"""A clip is named after when its first event was, and does not go on for so long."""


def clip_of(event: EventMessage, folder: Path) -> Path | None:
    """The clip in `folder` that a message beside it says the event is in; None where there is none."""
    first, last = (_stamp(event.captured - before) for before in (LONGEST_SECONDS, -1))
    try:
        near = sorted(file for file in folder.glob("*.json") if first <= file.name[: len(first)] <= last)
    except OSError:
        return None
    for file in near:
        try:
            told = ClipMessage.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue
        if told.clip and _of(told) == _of(event) and (clip := folder / Path(told.clip).name).is_file():
            return clip
    return None


def _of(event: EventMessage | ClipMessage) -> tuple[object, ...]:
    return event.kind, event.object_id, event.rule, event.epoch, event.index


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
