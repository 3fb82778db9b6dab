"""A session that keeps what it is told, so that it can be replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import av
import structlog

from keepsight.streams.types import Command, Event, Frame, Result

from .around import Around
from .pipeline import Session
from .rules import Rulebook
from .tape import FullError, Step, TapeWriter

log = structlog.get_logger(__name__)

T = TypeVar("T")


class TapedSession(Around):
    """A session around the one that tracks; what finds objects is around this, so that its prompts are kept
    as a user's are. `run` calls a function in a thread that may be kept busy.

    A step waits until its frame is on the disk: no frame is tracked that is not on the tape. Where the tape
    comes to its bounds or cannot be written, that is one warning, and tracking goes on without it.
    """

    def __init__(
        self, session: Session, tape: TapeWriter, rulebook: Rulebook, run: Callable[..., Awaitable[Any]]
    ) -> None:
        super().__init__(session)
        self._tape: TapeWriter | None = tape
        self._rulebook = rulebook
        self._run = run

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        packing = asyncio.ensure_future(self._taped(TapeWriter.pack, frame.image))
        result = await self._session.step(frame, commands)
        packed = await packing
        if packed is not None:
            await self._taped(TapeWriter.add, packed, Step(frame, tuple(commands), self._rulebook.rules))
        return result

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        if self._tape is not None:
            self._tape.close()
        return self._session.finish(frame)

    async def _taped(self, do: Callable[..., T], *given: object) -> T | None:
        """What the tape makes of it; None where it is over."""
        tape = self._tape
        if tape is None:
            return None
        try:
            done: T = await self._run(do, tape, *given)
        except (OSError, FullError, av.FFmpegError) as error:
            log.warning("the tape ends here", folder=str(tape.folder), reason=str(error))
            tape.close()
            self._tape = None
            return None
        return done
