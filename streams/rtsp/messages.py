"""RTSP requests and responses (RFC 2326, sections 4 to 7), and the frames between them (10.12)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

VERSION = "RTSP/1.0"
MOST_HEADER = 2**13
"""Bytes of a request's first line and header fields."""
MOST_BODY = 2**14
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    505: "RTSP Version Not Supported",
}


class BadRequestError(Exception):
    """What came is no RTSP; `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(_REASONS[status])
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` have lower-case names."""

    method: str
    url: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """Of the URL, decoded, without slashes at its ends."""
        try:
            return unquote(urlsplit(self.url).path).strip("/")
        except ValueError:
            raise BadRequestError(400) from None


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None at the end. Interleaved frames (RTCP of players) before it are thrown away.

    Raises BadRequestError. The reader's limit must be `MOST_HEADER`.
    """
    try:
        while (first := await reader.readexactly(1)) in b"$\r\n":
            if first == b"$":
                head = await reader.readexactly(3)
                await reader.readexactly(int.from_bytes(head[1:], "big"))
        request = parse_request(first + await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(_body_length(request))
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError(413) from None
    return request


def parse_request(head: bytes) -> Request:
    """The first line and the header fields. Raises BadRequestError."""
    first, *rest = head.decode("utf-8", "replace").split("\r\n")
    line = re.fullmatch(r"([A-Z_]+) (\S+) (RTSP/\d\.\d)", first)
    if line is None:
        raise BadRequestError(400)
    if line[3] != VERSION:
        raise BadRequestError(505)
    fields = (field.partition(":") for field in rest if ":" in field)
    return Request(line[1], line[2], {name.strip().lower(): value.strip() for name, _, value in fields})


def response(status: int, request: Request | None, headers: Mapping[str, str], body: str = "") -> bytes:
    lines = [f"{VERSION} {status} {_REASONS[status]}"]
    if request is not None and re.fullmatch(r"\d{1,10}", cseq := request.headers.get("cseq", "")):
        lines.append(f"CSeq: {cseq}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    return "\r\n".join([*lines, "", body]).encode()


def frame(channel: int, packet: bytes) -> bytes:
    """An RTP or RTCP packet between RTSP messages."""
    return b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet


def _body_length(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,9}", length):
        raise BadRequestError(400)
    if int(length) > MOST_BODY:
        raise BadRequestError(413)
    return int(length)
