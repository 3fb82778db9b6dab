"""One frame is taken and prepared while the one before it is stepped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress

from keepsight.streams.types import Frame


async def one_ahead(
    frames: AsyncIterator[Frame],
    spare: Callable[[], float | None],
    prepare: Callable[[Frame], Awaitable[None]],
) -> AsyncGenerator[Frame]:
    """The frames; while one of them is in the caller's hands the next is taken, `spare()` seconds later or
    when it is asked for, and prepared. Where that is None it is taken when it is asked for, and not
    prepared."""
    asked = asyncio.Event()

    async def take(seconds: float) -> Frame | None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), seconds)
        frame = await anext(frames, None)
        if frame is not None:
            await prepare(frame)
        return frame

    taking: asyncio.Task[Frame | None] | None = None
    try:
        while (frame := await (taking or anext(frames, None))) is not None:
            seconds = spare()
            asked.clear()
            taking = None if seconds is None else asyncio.create_task(take(seconds))
            yield frame
            asked.set()
    finally:
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
