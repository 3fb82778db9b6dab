"""A page of one camera on a server of its own, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import (
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
)

from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.types import Applied, Command
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink
from keepsight.streams.web.target import parse_target

from .results import result

PASSWORD = "correct horse"


class Page:
    """A camera `door` on a server of its own, a client of it, and who carries out its commands."""

    def __init__(self, sink: WebSink, server: WebServer, http: ClientSession) -> None:
        self.sink = sink
        self.server = server
        self.http = http
        self.camera = server.cameras["door"]

    def at(self, path: str) -> str:
        return f"{self.sink.address}{path}"

    async def get(self, path: str, **more: Any) -> tuple[int, Any]:
        async with self.http.get(self.at(path), **more) as answer:
            return answer.status, await read(answer)

    async def ask(self, command: str, said: object = None, **more: Any) -> tuple[int, Any]:
        data = said if isinstance(said, bytes) else json.dumps({} if said is None else said)
        async with self.http.post(self.at(f"api/cameras/door/{command}"), data=data, **more) as answer:
            return answer.status, await read(answer)

    async def film(self, first: int, last: int) -> None:
        """Results of frames `first` to `last`; whatever was commanded is carried out as object 7."""
        for index in range(first, last + 1):
            applied = tuple(Applied(one, (0, index), 7) for one in self.sink.take_commands())
            await self.sink.write(replace(result(index), applied=applied))
            await asyncio.sleep(0.005)


async def commanded(sink: WebSink) -> tuple[Command, ...]:
    """The next commands, once there are some."""
    while not (commands := sink.take_commands()):  # noqa: ASYNC110 - as the pipeline asks
        await asyncio.sleep(0.01)
    return commands


async def read(answer: ClientResponse) -> Any:
    return await answer.json() if answer.content_type == "application/json" else await answer.read()


@asynccontextmanager
async def open_page(url: str = "web://127.0.0.1:0") -> AsyncIterator[Page]:
    server = WebServer(parse_target(url, environment={}))
    sink = WebSink(server, SharedEncoder("door"))
    async with asyncio.timeout(60), sink, ClientSession() as http:
        yield Page(sink, server, http)


@asynccontextmanager
async def live(page: Page, **more: Any) -> AsyncIterator[ClientWebSocketResponse]:
    async with page.http.ws_connect(page.at("api/live"), **more) as socket_:
        yield socket_
