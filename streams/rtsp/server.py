"""Shows cameras over RTSP to as many players as ask, each as fast as it takes; a slow one skips pictures."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import structlog

from ..base import SinkError
from ..encoder import SharedEncoder
from ..guesses import Guesses
from ..h264 import ParameterSets, parameter_sets
from ..listening import Listening
from . import rtp
from .messages import (
    MOST_HEADER,
    BadRequestError,
    Request,
    read_request,
    response,
)
from .room import Room, TakeSeat
from .transports import Channels, Datagrams, Interleaved, Ports, Transport, offered

log = structlog.get_logger(__name__)

IDLE_SECONDS = 60.0
"""Who plays nothing and says nothing for so long is let go."""
PATIENCE_SECONDS = 10.0
"""Who takes nothing for so long is let go."""
FIRST_PICTURE_SECONDS = 5.0
"""How long a description waits for the first picture, which tells the codec's parameters."""
REPORT_SECONDS = 5.0
_MOST_BUFFERED = 2**18
"""Bytes that wait for one player here, and as many again in the kernel: a second or two of video."""
_TLS_SECONDS = {"ssl_handshake_timeout": PATIENCE_SECONDS, "ssl_shutdown_timeout": 1.0}
_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"


class RtspServer:
    """The server of one port, open as long as one of its cameras is."""

    def __init__(self) -> None:
        self.cameras: dict[str, tuple[Listening, SharedEncoder]] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._room = Room()
        self.guesses = Guesses()
        self._turn = asyncio.Lock()

    async def open(self, at: Listening, encoder: SharedEncoder) -> None:
        """Raises SinkError where the port or the name is taken."""
        async with self._turn:
            if at.name in self.cameras:
                raise SinkError(f"{at.url}: another output has this name and port")
            if any(not at.shares_port_with(other) for other, _ in self.cameras.values()):
                raise SinkError(f"{at.url}: another output of this port has another certificate, or none")
            if self._server is None:
                self._server = await self._listen(at)
            self.cameras[at.name] = at, encoder
        scheme = "rtsps" if at.certificate else "rtsp"
        log.info("playing over RTSP", url=f"{scheme}://{at.host}:{at.port}/{at.name}")

    async def _listen(self, at: Listening) -> asyncio.Server:
        try:
            tls = at.tls()
            seconds = {} if tls is None else _TLS_SECONDS
            return await asyncio.start_server(
                self._serve, at.host, at.port, limit=MOST_HEADER, ssl=tls, **seconds
            )
        except OSError as error:
            raise SinkError(f"{at.url}: cannot listen: {error.strerror or error}") from None
        except ValueError as error:
            raise SinkError(str(error)) from None

    async def close(self, at: Listening) -> None:
        async with self._turn:
            del self.cameras[at.name]
            if self.cameras or self._server is None:
                return
            server, self._server = self._server, None
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        host, *_ = writer.get_extra_info("peername") or ("",)  # nothing where it has gone already
        try:
            async with self._room.enter(host) as take_seat:
                await _Player(self, host, reader, writer, take_seat).serve()
        except (ConnectionError, TimeoutError):
            writer.transport.abort()  # over TLS a farewell would wait for who takes nothing
        except asyncio.CancelledError:  # it closes, or needs the room; asyncio would log what ends the task
            pass
        finally:
            self._connections.discard(task)
            writer.close()


_SERVERS: WeakValueDictionary[tuple[str, int], RtspServer] = WeakValueDictionary()
"""Outputs of one port share its server."""


class RtspService:
    """One camera under its name, while it is entered. Raises SinkError where it cannot be shown."""

    def __init__(self, listening: Listening, encoder: SharedEncoder) -> None:
        self._listening = listening
        self._encoder = encoder
        self._server = _SERVERS.setdefault((listening.host, listening.port), RtspServer())

    async def __aenter__(self) -> Self:
        await self._server.open(self._listening, self._encoder)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close(self._listening)

    def check(self) -> None:
        """What befalls a player ends its connection alone."""


class _Player:
    """One connection: what it asks, and at most one session."""

    def __init__(
        self,
        server: RtspServer,
        host: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        take_seat: TakeSeat,
    ) -> None:
        self._server = server
        self._host = host
        self._take_seat = take_seat
        self._reader = reader
        self._writer = writer
        self._packetizer = rtp.Packetizer()
        self._session = ""
        self._transport: Transport | None = None
        self._camera = ""
        self._let_in: Listening | None = None
        self._playing: asyncio.Task[None] | None = None
        writer.transport.set_write_buffer_limits(high=_MOST_BUFFERED)
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BUFFERED)

    async def serve(self) -> None:
        """Until the player leaves. Raises ConnectionError, and TimeoutError for who says or takes nothing."""
        try:
            while (request := await self._next()) is not None:
                await self._answer(request)
                if self._writer.is_closing():
                    return
        except BadRequestError as error:
            self._writer.write(response(error.status, None, {}))
        finally:
            await self._stop()

    async def _next(self) -> Request | None:
        """The next request, or None where the connection or what is played ends, or nothing is heard."""
        asking = asyncio.ensure_future(read_request(self._reader))
        try:
            while not asking.done():
                awaited = {asking} if self._playing is None else {asking, self._playing}
                done, _ = await asyncio.wait(
                    awaited, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if self._playing in done or (not done and self._is_silent()):
                    break
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()

    def _is_silent(self) -> bool:
        """Whether nothing tells that there is still somebody."""
        return self._playing is None or self._transport is None or self._transport.is_silent(IDLE_SECONDS)

    async def _answer(self, request: Request) -> None:
        name = request.path.removesuffix("/track0")
        camera = self._server.cameras.get(name)
        if request.method == "OPTIONS":
            await self._say(200, request, {"Public": _METHODS})
        elif camera is None:
            await self._say(404, request)
        elif status := self._objection(camera[0], request):
            asked = {"WWW-Authenticate": 'Basic realm="keepsight"'} if status == 401 else {}
            await self._say(status, request, asked)
        else:
            await self._answer_for(name, camera[1], request)

    def _objection(self, at: Listening, request: Request) -> int | None:
        """Why a request is not let in, a status; None where it is. Of who was let in no more is asked in this
        connection, whoever guesses meanwhile from the same address."""
        if at is self._let_in:
            return None
        status = self._server.guesses.objection(at, self._host, request.headers.get("authorization"))
        if status is None:
            self._let_in = at
        return status

    async def _answer_for(self, name: str, encoder: SharedEncoder, request: Request) -> None:
        match request.method:
            case "DESCRIBE":
                await self._describe(request, name, encoder)
            case "SETUP":
                await self._set_up(request, name)
            case "PLAY":
                await self._play(request, name, encoder)
            case "TEARDOWN":
                await self._stop()
                await self._say(200, request)
                self._writer.close()
            case "PAUSE":  # FFmpeg does so to go on over TCP where no datagrams arrive
                await self._pause()
                await self._say(200, request, self._session_header())
            case "GET_PARAMETER" | "SET_PARAMETER":  # players use them to say that they are alive
                await self._say(200, request)
            case "ANNOUNCE" | "RECORD" | "REDIRECT":
                await self._say(405, request, {"Allow": _METHODS})
            case _:
                await self._say(501, request)

    async def _describe(self, request: Request, name: str, encoder: SharedEncoder) -> None:
        sets = await _first_sets(encoder)
        base = request.url if request.url.endswith("/") else request.url + "/"
        headers = {"Content-Type": "application/sdp", "Content-Base": base}
        await self._say(200, request, headers, rtp.description(name, sets))

    async def _set_up(self, request: Request, name: str) -> None:
        is_secret = self._server.cameras[name][0].certificate is not None
        wanted = [
            one
            for one in offered(request.headers.get("transport", ""))
            if isinstance(one, Channels) or not is_secret  # over UDP everybody on the way could look on
        ]
        if self._playing is not None:
            return await self._say(455, request)
        if not self._take_seat():
            return await self._say(453, request)
        transport = await self._first_of(wanted)
        if transport is None:
            return await self._say(461, request)
        self._leave_transport()
        self._transport, self._camera = transport, name
        self._session = self._session or secrets.token_hex(8)
        how = transport.header(self._packetizer.ssrc)
        return await self._say(200, request, {"Transport": how, **self._session_header()})

    async def _first_of(self, wanted: Sequence[Channels | Ports]) -> Transport | None:
        """The first transport that can be had."""
        for one in wanted:
            if isinstance(one, Channels):
                return Interleaved(one, self._writer)
            datagrams = Datagrams(one, _MOST_BUFFERED)
            try:
                await datagrams.open(self._writer)
            except OSError as error:
                log.warning("no datagrams for a player", reason=error.strerror or str(error))
            else:
                return datagrams
        return None

    def _leave_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def _play(self, request: Request, name: str, encoder: SharedEncoder) -> None:
        asked = request.headers.get("session", "").partition(";")[0]
        transport = self._transport
        if transport is None or asked != self._session or name != self._camera:
            return await self._say(454 if asked else 455, request)
        url = f"{request.url.rstrip('/')}/track0"
        info = f"url={url};seq={self._packetizer.sequence}"
        await self._say(200, request, {"Range": "npt=now-", "RTP-Info": info, **self._session_header()})
        if self._playing is None:
            self._playing = asyncio.create_task(
                self._send_units(encoder, transport), name=f"RTSP player of {name}"
            )
        return None

    def _session_header(self) -> dict[str, str]:
        return {"Session": f"{self._session};timeout={IDLE_SECONDS:g}"}

    async def _send_units(self, encoder: SharedEncoder, transport: Transport) -> None:
        reported = -REPORT_SECONDS * 2
        with encoder.read() as units:
            async for unit in units:
                packets, reports = list(self._packetizer.packets(unit)), []
                seconds = asyncio.get_running_loop().time()
                if seconds - reported >= REPORT_SECONDS:
                    reported = seconds
                    reports = [self._packetizer.report(unit)]
                transport.send(packets, reports)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await transport.drain()

    async def _say(
        self, status: int, request: Request, headers: dict[str, str] | None = None, body: str = ""
    ) -> None:
        self._writer.write(response(status, request, headers or {}, body))
        await self._drain()

    async def _drain(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._writer.drain()

    async def _stop(self) -> None:
        try:
            await self._pause()
        finally:
            self._leave_transport()

    async def _pause(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, TimeoutError):
                await playing


async def _first_sets(encoder: SharedEncoder) -> ParameterSets | None:
    """What the next key frame says of the codec; None where no picture comes soon."""
    with suppress(TimeoutError), encoder.read() as units:
        async with asyncio.timeout(FIRST_PICTURE_SECONDS):
            first = await anext(units, None)
        return parameter_sets(first.data) if first is not None else None
    return None
