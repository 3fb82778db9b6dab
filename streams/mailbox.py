"""What lies between a producer and its one consumer: newest wins on a live stream, nothing lost on a file."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items on their way to one reader: `await mailbox.put(item)` here, `async for item in mailbox` there.

    Live: holds one item; a newer one replaces an unread one, which `dropped` counts, and `put` never waits.
    With `merge`, `merge(unread, newer)` replaces it, so that nothing that must arrive is lost with it.
    Not live: holds up to `capacity` items and `put` waits for room.
    What is put after `close` is dropped and counted: a reader that gave up never blocks its producer.
    """

    def __init__(self, *, live: bool, capacity: int = 4, merge: Callable[[T, T], T] | None = None) -> None:
        self.live = live
        self.dropped = 0
        self._capacity = 1 if live else capacity
        self._merge = merge
        self._items: deque[T] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._readable = asyncio.Event()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        while not self.live and self._is_full and not self._closed:
            self._room.clear()
            await self._room.wait()
        self.offer(item)

    def offer(self, item: T) -> None:
        """Puts without waiting. `asyncio.QueueFull` where the mailbox is not live and full."""
        if self._closed:
            self.dropped += 1
            return
        if self._is_full:
            item = self._replace(item)
        self._items.append(item)
        self._readable.set()

    def close(self, error: BaseException | None = None) -> None:
        """No more items: the reader gets those that are queued, then the end, or `error` raised."""
        if not self._closed:
            self._closed = True
            self._error = error
            self._readable.set()
            self._room.set()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise self._error or StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        item = self._items.popleft()
        self._room.set()
        return item

    @property
    def _is_full(self) -> bool:
        return len(self._items) >= self._capacity

    def _replace(self, newer: T) -> T:
        if not self.live:
            raise asyncio.QueueFull
        unread = self._items.popleft()
        self.dropped += 1
        return newer if self._merge is None else self._merge(unread, newer)
