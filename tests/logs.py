"""What was logged, for tests of what is said and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, WrappedLogger


class Log:
    """All that is logged, and a way to wait until something is."""

    def __init__(self) -> None:
        self.entries: list[EventDict] = []
        self._news = asyncio.Event()

    def __call__(self, logger: WrappedLogger, method: str, entry: EventDict) -> EventDict:
        self.entries.append({**entry, "level": method})
        self._news.set()
        raise structlog.DropEvent

    @property
    def warnings(self) -> list[str]:
        return [entry["event"] for entry in self.entries if entry["level"] == "warning"]

    async def warned(self) -> None:
        await self.until(lambda entry: entry["level"] == "warning")

    async def until(self, is_meant: Callable[[EventDict], bool]) -> None:
        """Returns once such an entry has been logged."""
        async with asyncio.timeout(10):
            while not any(map(is_meant, self.entries)):
                self._news.clear()
                await self._news.wait()
