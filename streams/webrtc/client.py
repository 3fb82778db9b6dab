"""Our side of WHEP and WHIP where another machine is the server: to watch, and to publish."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription

from ..bodies import read_body
from . import peer
from .incoming import Incoming
from .peer import MOST_SDP, SDP, UnitTrack

_SCHEMES = {"whep": "http", "wheps": "https", "whip": "http", "whips": "https"}


class PeerError(Exception):
    """The server cannot be reached, or does not want us. One line that says why, without the password.

    `status` is that of its HTTP answer, 0 where there was none.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status

    @property
    def denied(self) -> bool:
        """It wants another user or password."""
        return self.status in (401, 403)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A WHEP or WHIP endpoint; `headers` may hold a password."""

    url: str
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """`whep://[user:password@ or :token@]host[:port]/path` or `whip://…`; with an s behind, over TLS."""
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
        place = host if parts.port is None else f"{host}:{parts.port}"
        plain = urlunsplit((_SCHEMES[parts.scheme], place, parts.path, parts.query, ""))
        headers = {"Content-Type": SDP}
        if parts.password and parts.username:
            basic = f"{unquote(parts.username)}:{unquote(parts.password)}"
            headers["Authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"
        elif parts.password:
            headers["Authorization"] = f"Bearer {unquote(parts.password)}"
        return cls(plain, headers)

    async def watch(self, exits: AsyncExitStack, seconds: float) -> Incoming:
        """What the server shows. `exits` takes what tells the server that we leave. Raises PeerError."""
        connection = peer.new_connection()
        connection.addTransceiver("video", direction="recvonly")
        incoming = Incoming(connection)
        exits.push_async_callback(incoming.close)
        await self._negotiate(connection, exits, seconds)
        incoming.start()
        return incoming

    async def publish(self, track: UnitTrack, exits: AsyncExitStack, seconds: float) -> RTCPeerConnection:
        """Send a track to the server. `exits` takes what ends it. Raises PeerError."""
        connection = peer.new_connection()
        exits.push_async_callback(peer.close, connection)
        exits.callback(track.stop)
        track.sender = connection.addTrack(track)
        (transceiver,) = connection.getTransceivers()
        transceiver.setCodecPreferences(peer.h264())
        transceiver.direction = "sendonly"
        await self._negotiate(connection, exits, seconds)
        return connection

    async def _negotiate(self, connection: RTCPeerConnection, exits: AsyncExitStack, seconds: float) -> None:
        await connection.setLocalDescription(await connection.createOffer())
        http = await exits.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds))
        )
        answer, session = await self._ask(http, connection.localDescription.sdp)
        if session:
            exits.push_async_callback(self._leave, http, session)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except Exception as error:  # whatever aiortc trips over in what a stranger wrote
            raise PeerError(f"its answer cannot be understood ({type(error).__name__}: {error})") from None

    async def _ask(self, http: aiohttp.ClientSession, offer: str) -> tuple[str, str]:
        """The SDP answer, and the session's URL."""
        try:
            async with http.post(self.url, data=offer, headers=self.headers) as response:
                if response.status not in (200, 201):
                    raise PeerError(f"HTTP {response.status} {response.reason}", response.status)
                answer = await _read_answer(response)
                location = response.headers.get("Location", "")
                return answer, urljoin(str(response.url), location) if location else ""
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PeerError(_cause(error)) from None

    async def _leave(self, http: aiohttp.ClientSession, session: str) -> None:
        try:
            async with asyncio.timeout(1.0), http.delete(session, headers=self.headers):
                pass
        except (aiohttp.ClientError, TimeoutError):
            return  # it notices by itself


async def _read_answer(response: aiohttp.ClientResponse) -> str:
    try:
        return (await read_body(response.content, MOST_SDP)).decode("utf-8", "replace")
    except ValueError as error:
        raise PeerError(f"its answer is {error}") from None


def _cause(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return os.strerror(number) if number else error.os_error.strerror or "cannot be reached"
        case aiohttp.ServerDisconnectedError():
            return "the server hung up"
    return type(error).__name__
