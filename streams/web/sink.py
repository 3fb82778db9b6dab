"""Results on the page, and commands from there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ..base import Ending, Recordings, ending_with
from ..encoder import SharedEncoder
from ..types import Command, Result, SourceStatus
from .camera import Camera
from .server import WebServer


class WebSink:
    """One camera on a server that may show others, too: that of `encoder`, whose video goes to WebRTC.

    Whatever viewers do, `write` does not wait for them.
    """

    def __init__(self, server: WebServer, encoder: SharedEncoder) -> None:
        self._server = server
        self._encoder = encoder
        self._camera = Camera(encoder.camera, server.worker, server.news.tell)
        self._exits = AsyncExitStack()
        self._entered = asyncio.Event()
        self._ending: Ending | None = None

    @property
    def url(self) -> str:
        return self._server.target.url

    @property
    def address(self) -> str:
        """What to type into a browser, once the sink is open."""
        return self._server.address

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._encoder)
            await exits.enter_async_context(self._server)
            self._server.add(self._camera, self._encoder)
            self._exits = exits.pop_all()
        self._entered.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._camera.end(self._ending or ending_with(error))
        await self._exits.aclose()

    def hear_of_end(self, ending: Ending) -> None:
        self._ending = ending

    async def write(self, result: Result) -> None:
        """Raises nothing. Waits where the result is encoded for viewers over WebRTC."""
        self._camera.write(result)
        await self._encoder.write(result)

    async def shown(self) -> None:
        await self._entered.wait()

    def offer_clips(self, recordings: Recordings) -> None:
        self._camera.recordings = recordings

    def hear_of_source(self, status: SourceStatus) -> None:
        self._camera.hear(status)

    def hear_of_pause(self, paused: bool) -> None:
        self._camera.pause(paused)

    def take_commands(self) -> tuple[Command, ...]:
        return self._camera.take_commands()
