"""A session that keeps what it is told, so that it can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import av
import structlog

from keepsight.streams.types import Command, Event, Frame, Result

from .looking_ahead import Due
from .pipeline import Session
from .rules import Rulebook
from .tape import FullError, Step, TapeWriter

log = structlog.get_logger(__name__)


class TapedSession:
    """A session around the one that tracks; what finds objects is around this, so that its prompts are kept
    as a user's are. `run` calls a function in a thread that may be kept busy.

    A step waits until its frame is on the disk: no frame is tracked that is not on the tape. Where the tape
    comes to its bounds or cannot be written, that is one warning, and tracking goes on without it.
    """

    def __init__(
        self, session: Session, tape: TapeWriter, rulebook: Rulebook, run: Callable[..., Awaitable[Any]]
    ) -> None:
        self._session = session
        self._tape: TapeWriter | None = tape
        self._rulebook = rulebook
        self._run = run

    def when_due(self, frame: Frame) -> Due | None:
        return self._session.when_due(frame)

    async def prepare(self, frame: Frame) -> None:
        await self._session.prepare(frame)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        packing = asyncio.ensure_future(self._written("pack", frame.image))
        result = await self._session.step(frame, commands)
        packed = await packing
        if packed is not None:
            await self._written("add", packed, Step(frame, tuple(commands), self._rulebook.rules))
        return result

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        if self._tape is not None:
            self._tape.close()
        return self._session.finish(frame)

    async def _written(self, what: str, *given: object) -> bytes | None:
        """What the tape gives; None where it is over."""
        if self._tape is None:
            return None
        try:
            packed: bytes | None = await self._run(getattr(self._tape, what), *given)
        except (OSError, FullError, av.FFmpegError) as error:
            log.warning("the tape ends here", folder=str(self._tape.folder), reason=str(error))
            self._tape.close()
            self._tape = None
            return None
        return packed
