"""Recordings played like a camera: at their own rate, or over and over."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ..base import Source
from ..types import Frame
from .reading import NOMINAL_RATE

LATE_SECONDS = 1.0
"""Being later than this is forgiven: the recording goes on from here."""


class Played:
    """What `make` gives, `realtime` at the times of its frames, `loop` from the beginning each time it ends.

    In real time it is live: a frame that nobody has time for is dropped, and each is stamped as it is shown.
    Over a loop `index` and `time` go on.
    """

    def __init__(self, make: Callable[[], Source], *, realtime: bool, loop: bool) -> None:
        self.live = realtime
        self._make = make
        self._loop = loop
        self._source = make()
        self._exits = AsyncExitStack()

    @property
    def url(self) -> str:
        return self._source.url

    @property
    def frame_count(self) -> int | None:
        return None if self._loop else self._source.frame_count

    @property
    def rate(self) -> float | None:
        return self._source.rate

    @property
    def dropped(self) -> int:
        return 0

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._source)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def __aiter__(self) -> AsyncIterator[Frame]:
        frames = self._looped() if self._loop else aiter(self._source)
        return _paced(frames) if self.live else frames

    async def _looped(self) -> AsyncIterator[Frame]:
        index, start = 0, 0.0
        while True:
            last = start
            async for frame in self._source:
                last = start + frame.time
                yield dataclasses.replace(frame, index=index, time=last)
                index += 1
            start = last + 1 / (self._source.rate or NOMINAL_RATE)
            await self._exits.aclose()
            self._source = self._make()
            await self._exits.enter_async_context(self._source)


async def _paced(frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
    start: float | None = None
    async for frame in frames:
        now = time.monotonic()
        if start is None or now - start - frame.time > LATE_SECONDS:
            start = now - frame.time
        await asyncio.sleep(start + frame.time - now)
        yield dataclasses.replace(frame, captured=time.time(), clock="arrival", arrived=time.monotonic())
