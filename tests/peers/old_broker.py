"""A broker that knows no MQTT 5: mosquitto, behind a relay that answers to MQTT 5 as old brokers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CONNACK_UNKNOWN_VERSION = bytes((0x20, 2, 0, 1))
"""MQTT 3.1.1, section 3.2.2.3: "unacceptable protocol level"."""


@asynccontextmanager
async def old_broker(target: int, answer: bytes) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and the versions that clients have asked for. `target`: the port of a broker that speaks
    3.1.1; `answer`: what is said to MQTT 5 before the connection is closed."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"MQTT")
            version = await reader.readexactly(1)
            asked.append(version[0])
            if version[0] == 5:
                writer.write(answer)
                await writer.drain()
            else:
                await relay(reader, writer, target, head + version)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int, said: bytes) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", target)
    back.write(said)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(copy(reader, back))
        tasks.create_task(copy(there, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
