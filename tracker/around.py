"""A session around a session: what is done to a stream beside tracking, a layer at a time."""

from __future__ import annotations

from collections.abc import Sequence

from keepsight.streams.types import Command, Event, Frame, Result

from .looking_ahead import Due
from .pipeline import Session


class Around:
    """A `Session` that does as the one inside it does; a layer says what it does otherwise."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def when_due(self, frame: Frame) -> Due | None:
        return self._session.when_due(frame)

    async def prepare(self, frame: Frame) -> None:
        await self._session.prepare(frame)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        return await self._session.step(frame, commands)

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return self._session.finish(frame)
