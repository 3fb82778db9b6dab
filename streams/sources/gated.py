"""A source that can be switched off and on while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from ..base import Source
from ..types import Frame

LOOK_SECONDS = 0.1


class GatedSource:
    """The frames of `source` while `is_on`; a live one's are let go by meanwhile, and counted in those after
    them, a file waits."""

    def __init__(self, source: Source, is_on: Callable[[], bool]) -> None:
        self.live = source.live
        self._source = source
        self._is_on = is_on

    @property
    def url(self) -> str:
        return self._source.url

    @property
    def frame_count(self) -> int | None:
        return self._source.frame_count

    @property
    def rate(self) -> float | None:
        return self._source.rate

    @property
    def dropped(self) -> int:
        return self._source.dropped

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._source.__aexit__(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        seen = passed = 0
        async for frame in self._source:
            while not self.live and not self._is_on():  # noqa: ASYNC110 - sinks are asked, they tell nobody
                await asyncio.sleep(LOOK_SECONDS)
            if self._is_on():
                yield replace(frame, passed=passed)
            else:
                passed += frame.index - seen + 1
            seen = frame.index + 1
