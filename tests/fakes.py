"""A source and a sink that we wrote ourselves, for tests of everything that lies between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from keepsight.streams.base import SinkError
from keepsight.streams.types import Frame, Result


def make_frames(count: int, size: tuple[int, int] = (4, 6), rate: float = 25.0) -> list[Frame]:
    """Frames of `size` (height, width), 1 / `rate` seconds apart; pixels of frame i are i % 256."""
    return [
        Frame(np.full((*size, 3), i % 256, np.uint8), i, 0, i / rate, i / rate, "generated", i / rate)
        for i in range(count)
    ]


class FakeSource:
    """Gives `frames`, then ends, or raises `failure`, or with `hangs` says nothing more.

    `refusal` is raised at opening. `is_open` tells whether it has been opened and not yet closed.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        live: bool = False,
        *,
        refusal: Exception | None = None,
        failure: Exception | None = None,
        hangs: bool = False,
    ) -> None:
        self.live = live
        self.is_open = False
        self._frames = frames
        self._refusal = refusal
        self._failure = failure
        self._hangs = hangs

    @property
    def url(self) -> str:
        return "fake://source"

    @property
    def frame_count(self) -> int | None:
        return None if self.live else len(self._frames)

    @property
    def rate(self) -> float | None:
        return 25.0

    @property
    def dropped(self) -> int:
        return 0

    async def __aenter__(self) -> Self:
        if self._refusal is not None:
            raise self._refusal
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for frame in self._frames:
            await asyncio.sleep(0)
            yield frame
        if self._failure is not None:
            raise self._failure
        if self._hangs:
            await asyncio.Event().wait()


class CollectingSink:
    """Keeps what it is given in `results`; `finished` once it has been left.

    With `fails_at`, writing the result of that number (from 0) raises `SinkError`. A `gate` is waited for
    before each result: a slow sink.
    """

    def __init__(self, *, fails_at: int | None = None, gate: asyncio.Event | None = None) -> None:
        self.results: list[Result] = []
        self.finished = False
        self._fails_at = fails_at
        self._gate = gate

    @property
    def url(self) -> str:
        return "fake://sink"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finished = True

    async def write(self, result: Result) -> None:
        if self._gate is not None:
            await self._gate.wait()
        if len(self.results) == self._fails_at:
            raise SinkError("fake://sink: no space left on device")
        self.results.append(result)
