"""Tells any number of waiting tasks that there is something new."""

from __future__ import annotations

import asyncio


class News:
    """`coming = news.coming()`, look at what there is, then `await coming.wait()`: nothing is missed."""

    def __init__(self) -> None:
        self._coming = asyncio.Event()

    def coming(self) -> asyncio.Event:
        """Set at the next news."""
        return self._coming

    def tell(self) -> None:
        self._coming.set()
        self._coming = asyncio.Event()
