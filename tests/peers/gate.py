"""A TCP relay on a port of its own that can be shut in the middle of anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Spoil = Callable[[bytes], bytes]
"""What becomes of the bytes that an answer comes in, one call after the other."""


class Gate:
    """Passes connections on to `target`, a port of this machine. While it is shut nobody listens.

    `spoiler` gives for each connection what its answers are passed through; `delay`: seconds that bytes are
    on their way in each direction, or up to twice as long.
    """

    def __init__(self, target: int, spoiler: Callable[[], Spoil] | None = None, delay: float = 0.0) -> None:
        self.port = 0
        self._target = target
        self._spoiler = spoiler or (lambda: bytes)
        self._delay = delay
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._passed = 0
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Ends all connections at once; what was on its way is lost."""
        if self._server is not None:
            self._server.close()
        for stream in self._streams:
            stream.transport.abort()

    def hold(self) -> None:
        """From now on nothing passes, as if a cable were pulled; what waits is passed on at `release`."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def passes(self, count: int) -> None:
        """Returns when so many bytes more have passed, in either direction."""
        until = self._passed + count
        while self._passed < until:
            self._news.clear()
            await self._news.wait()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._streams |= {writer, back}
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, back, bytes))
                tasks.create_task(self._copy(there, writer, self._spoiler()))
            self._streams -= {writer, back}
        writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoil: Spoil) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                await self._flowing.wait()
                await asyncio.sleep(self._delay)
                writer.write(spoil(data))
                await writer.drain()
                self._passed += len(data)
                self._news.set()
        writer.transport.abort()
