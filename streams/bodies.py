"""Bodies of HTTP messages from others: read to their end, however they are cut up, and never too far."""

from __future__ import annotations

from aiohttp import StreamReader


async def read_body(content: StreamReader, most: int) -> bytes:
    """All of a body of at most `most` bytes. Raises ValueError for a longer one, which is not read on."""
    body = b""
    while more := await content.read(most + 1 - len(body)):  # gives what has come, be it one byte
        body += more
        if len(body) > most:
            raise ValueError(f"longer than {most} bytes")
    return body
