"""A session whose results hold only pictures in which what is private is covered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from keepsight.streams.privacy import Cover, Seen, covered
from keepsight.streams.types import Command, Event, Frame, Result

from .looking_ahead import Due
from .pipeline import Session


class PrivateSession:
    """A session around a session, which tracks in the pictures as they are. `run` calls a function in a
    thread that may be kept busy."""

    def __init__(
        self, session: Session, covers: Sequence[Cover], run: Callable[..., Awaitable[tuple[Seen, Result]]]
    ) -> None:
        self._session = session
        self._covers = covers
        self._run = run
        self._seen: Seen = {}

    def when_due(self, frame: Frame) -> Due | None:
        return self._session.when_due(frame)

    async def prepare(self, frame: Frame) -> None:
        await self._session.prepare(frame)

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return self._session.finish(frame)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        result = await self._session.step(frame, commands)
        self._seen, private = await self._run(covered, self._seen, self._covers, result)
        return private
