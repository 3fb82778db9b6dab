"""One frame is taken and prepared while the one before it is stepped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from keepsight.streams.types import Frame

Due = Callable[[], Awaitable[object]]
"""Waits until the next frame is to be taken."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A prepared frame, None at the end. taken, ready: when, in seconds of a clock."""

    frame: Frame | None
    taken: float
    ready: float

    def has_waited_long(self, now: float) -> bool:
        """Longer than preparing it took: a newer one is worth doing that again."""
        return now - self.ready > self.ready - self.taken


async def one_ahead(
    frames: AsyncIterator[Frame],
    when_due: Callable[[Frame], Due | None],
    prepare: Callable[[Frame], Awaitable[None]],
    is_overtaken: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Frame]:
    """The frames; while one of them is in the caller's hands the next is taken and prepared.

    It is taken when `when_due` says so, or when it is asked for. That is called once before each frame is
    given; where it gives None, the next one is taken when it is asked for, and not prepared. A prepared frame
    that nobody asked for in a long time is given up where `is_overtaken` says that newer ones wait: who asks
    late gets the newest. `clock` is there for tests.
    """
    asked = asyncio.Event()

    async def take(wait: Due) -> Taken:
        await first_of(asked.wait(), wait())
        frame, taken = await anext(frames, None), clock()
        if frame is not None:
            await prepare(frame)
        return Taken(frame, taken, clock())

    async def following() -> Frame | None:
        if taking is None:
            return await anext(frames, None)
        was_ready = taking.done()
        found = await taking
        if was_ready and found.has_waited_long(clock()) and is_overtaken():
            return await anext(frames, None)
        return found.frame

    taking: asyncio.Task[Taken] | None = None
    try:
        while (frame := await following()) is not None:
            wait = when_due(frame)
            asked.clear()
            taking = None if wait is None else asyncio.create_task(take(wait))
            yield frame
            asked.set()
    finally:
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def first_of(*waits: Awaitable[object]) -> None:
    """Until one of them is over. The others are cancelled."""
    waiting = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waiting:
            wait.cancel()
