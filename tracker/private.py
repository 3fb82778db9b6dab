"""A session whose results hold only pictures in which what is private is covered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from keepsight.streams.privacy import Cover, Seen, covered
from keepsight.streams.types import Command, Frame, Result

from .around import Around
from .pipeline import Session


class PrivateSession(Around):
    """A session around a session, which tracks in the pictures as they are. `run` calls a function in a
    thread that may be kept busy."""

    def __init__(
        self, session: Session, covers: Sequence[Cover], run: Callable[..., Awaitable[tuple[Seen, Result]]]
    ) -> None:
        super().__init__(session)
        self._covers = covers
        self._run = run
        self._seen: Seen = {}

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        result = await self._session.step(frame, commands)
        self._seen, private = await self._run(covered, self._seen, self._covers, result)
        return private
