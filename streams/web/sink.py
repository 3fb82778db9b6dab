"""Results on the page, and commands from there."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ..types import Command, Result, SourceStatus
from .camera import Camera
from .server import WebServer


class WebSink:
    """One camera on a server that may show others, too. `write` never waits, whatever the viewers do."""

    def __init__(self, server: WebServer, camera: str) -> None:
        self._server = server
        self._camera = Camera(camera, server.worker, server.news.tell)
        server.add(self._camera)

    @property
    def url(self) -> str:
        return self._server.target.url

    @property
    def address(self) -> str:
        """What to type into a browser, once the sink is open."""
        return self._server.address

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, asyncio.CancelledError)
        self._camera.end("interrupted" if interrupted else "failed" if error else "finished")
        await self._server.__aexit__(kind, error, trace)

    async def write(self, result: Result) -> None:
        self._camera.write(result)

    def hear_of_source(self, status: SourceStatus) -> None:
        self._camera.hear(status)

    def take_commands(self) -> tuple[Command, ...]:
        return self._camera.take_commands()
