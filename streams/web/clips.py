"""Which clip an event is in, of those that `clips:` has written."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ..messages import ClipMessage, EventMessage
from ..threads import Lent

LONGEST_SECONDS = 150
"""A clip is named after when its first event was, and does not go on for so long."""

PATIENCE_SECONDS = 5.0
"""How long a folder may take to answer."""
MOST_LOOKING = 8
"""Threads that may wait for a folder at once."""


class ClipFinder:
    """Looks for clips in threads of its own: a folder that hangs, as network disks do, stops nothing else."""

    def __init__(self) -> None:
        self._threads = Lent(MOST_LOOKING)
        self._room = asyncio.Semaphore(MOST_LOOKING)

    async def find(self, event: EventMessage, folder: Path) -> Path | None:
        """As `clip_of`. Raises TimeoutError where the folder does not answer."""
        loop = asyncio.get_running_loop()

        def make_room(done: Future[Path | None]) -> None:
            with suppress(RuntimeError):  # the event loop has been closed
                loop.call_soon_threadsafe(self._room.release)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._room.acquire()
            looking = self._threads.submit(clip_of, event, folder)
            looking.add_done_callback(make_room)  # also where nobody waits for it any more
            return await asyncio.wrap_future(looking)


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
