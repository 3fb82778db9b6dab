"""Who may be connected to a port: players, and for a few seconds those of whom nothing is known yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

PLAYERS = 32
"""Connections to one port that have set something up."""
STRANGERS = 64
"""Connections that have not yet. One more, and that which waits for longest is let go, so that whoever is
quick always gets through."""
STRANGERS_OF_ONE_ADDRESS = 16
"""The same of one address: a recorder that opens all its cameras at once, or somebody who disturbs."""
STRANGER_SECONDS = 10.0
"""How long they have for it. Within it a description may wait for the first picture."""

TakeSeat = Callable[[], bool]
"""Called where a player sets something up, having said the password. Whether there is room for it."""


class Room:
    """Of one port. Each connection enters it in a task of its own."""

    def __init__(self) -> None:
        self._strangers: dict[asyncio.Task[Any], str] = {}  # the oldest first
        self._players: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def enter(self, address: str) -> AsyncIterator[TakeSeat]:
        """Raises TimeoutError for who takes no seat in time. Who has to make room is cancelled."""
        task = asyncio.current_task()
        assert task is not None
        self._make_room(address)
        self._strangers[task] = address
        try:
            async with asyncio.timeout(STRANGER_SECONDS) as limit:
                yield lambda: self._seat(task, limit)
        finally:
            self._strangers.pop(task, None)
            self._players.discard(task)

    def _make_room(self, address: str) -> None:
        neighbours = [task for task, other in self._strangers.items() if other == address]
        if len(neighbours) >= STRANGERS_OF_ONE_ADDRESS:
            self._let_go(neighbours[0])
        elif len(self._strangers) >= STRANGERS:
            self._let_go(next(iter(self._strangers)))

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        del self._strangers[task]
        task.cancel()

    def _seat(self, task: asyncio.Task[Any], limit: asyncio.Timeout) -> bool:
        if task in self._players:
            return True
        if len(self._players) >= PLAYERS or task not in self._strangers or limit.expired():
            return False
        del self._strangers[task]
        self._players.add(task)
        limit.reschedule(None)
        return True
