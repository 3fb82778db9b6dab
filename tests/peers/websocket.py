"""MQTT over WebSockets for a broker that has none: each socket becomes a TCP connection to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol


@asynccontextmanager
async def websocket_door(target: int, path: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port of this machine where WebSockets at `path` lead to the port `target`; at any other path to
    nowhere."""

    async def relay(socket: ServerConnection) -> None:
        if socket.request is None or socket.request.path != path:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", target)
        back = asyncio.create_task(copy_back(reader, socket))
        with suppress(ConnectionClosed):
            async for data in socket:
                writer.write(data if isinstance(data, bytes) else data.encode())
        back.cancel()
        writer.close()

    async def copy_back(reader: asyncio.StreamReader, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while data := await reader.read(2**16):
                await socket.send(data)
        await socket.close()

    protocols = [Subprotocol("mqtt")]
    async with serve(relay, "127.0.0.1", 0, subprotocols=protocols, ssl=tls, max_size=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]
