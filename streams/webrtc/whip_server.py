"""Where browsers and OBS publish to: WHIP (RFC 9725) endpoints of one port, one name for each camera."""

from __future__ import annotations

import asyncio
import secrets
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import structlog
from aiohttp import web
from aiortc import RTCSessionDescription

from ..base import SourceError
from ..guesses import TOO_MANY, Guesses
from ..listening import Listening, host_name, is_from_here, is_loopback
from . import peer
from .incoming import Incoming
from .offers import read_offer
from .peer import SDP

log = structlog.get_logger(__name__)

_ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Location",
    "Access-Control-Max-Age": "600",
}


class Seat:
    """One name that is published to. A publisher that comes takes the place of the one before it, since one
    that was killed may seem alive for half a minute."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self._session = ""
        self._present: Incoming | None = None
        self._taken = True
        self._news = asyncio.Event()

    async def publisher(self) -> Incoming:
        """Waits until somebody publishes who was not given before."""
        while self._present is None or self._taken:
            self._news.clear()
            await self._news.wait()
        self._taken = True
        return self._present

    async def sit(self, incoming: Incoming) -> str:
        """Make `incoming` the publisher; its session. The place is taken before the one who had it is sent
        away, which may take seconds: others come meanwhile."""
        gone, session = self._present, secrets.token_urlsafe(16)
        self._session, self._present, self._taken = session, incoming, False
        self._news.set()
        if gone is not None:
            await gone.close()
        return session

    async def leave(self, session: str) -> bool:
        """The publisher of a session goes; False where there is no such session."""
        if self._present is None or not secrets.compare_digest(session.encode(), self._session.encode()):
            return False
        gone, self._present = self._present, None
        await gone.close()
        return True

    async def clear(self) -> None:
        await self.leave(self._session)


class WhipServer:
    """The server of one port, open as long as one of its seats is."""

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self._runner: web.AppRunner | None = None
        self._turn = asyncio.Lock()
        self._guesses = Guesses()

    async def open(self, seat: Seat) -> None:
        """Raises SourceError where the port or the name is taken."""
        at = seat.listening
        async with self._turn:
            if at.name in self._seats:
                raise SourceError(f"{at.url}: another source has this name and port")
            if any(not at.shares_port_with(other.listening) for other in self._seats.values()):
                raise SourceError(f"{at.url}: another source of this port has another certificate, or none")
            if self._runner is None:
                self._runner = await self._listen(at)
            self._seats[at.name] = seat
        scheme = "https" if at.certificate else "http"
        log.info("waiting for a WHIP publisher", url=f"{scheme}://{at.host}:{at.port}/{at.name}")

    async def close(self, seat: Seat) -> None:
        async with self._turn:
            del self._seats[seat.listening.name]
            await seat.clear()
            if not self._seats and self._runner is not None:
                runner, self._runner = self._runner, None
                await runner.cleanup()

    async def _listen(self, at: Listening) -> web.AppRunner:
        application = web.Application()
        application.add_routes(
            [
                web.post("/{name}", self._publish),
                web.delete("/{name}/{session}", self._leave),
                web.options("/{name}", self._preflight),
                web.options("/{name}/{session}", self._preflight),
            ]
        )
        try:
            tls = at.tls()
        except ValueError as error:
            raise SourceError(str(error)) from None
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, at.host, at.port, ssl_context=tls).start()
        except OSError as error:
            await runner.cleanup()
            raise SourceError(f"{at.url}: cannot listen: {error.strerror or error}") from None
        return runner

    async def _publish(self, request: web.Request) -> web.Response:
        seat = self._seat(request)
        offer = await read_offer(request)
        incoming = Incoming(peer.new_connection())
        try:
            answer = await _answer(incoming, offer)
        except BaseException:
            await incoming.close()
            raise
        session = await seat.sit(incoming)
        headers = {"Location": f"{request.path}/{session}", **_cors(seat)}
        return web.Response(status=201, text=answer, content_type=SDP, headers=headers)

    async def _leave(self, request: web.Request) -> web.Response:
        seat = self._seat(request)
        if not await seat.leave(request.match_info["session"]):
            raise web.HTTPNotFound(text="no such session\n", headers=_cors(seat))
        return web.Response(headers=_cors(seat))

    async def _preflight(self, request: web.Request) -> web.Response:
        seat = self._seats.get(request.match_info["name"])
        return web.Response(status=204, headers=_cors(seat) if seat else None)

    def _seat(self, request: web.Request) -> Seat:
        """Raises HTTPNotFound, HTTPForbidden for pages of other sites where no password is asked for, and
        HTTPUnauthorized or HTTPTooManyRequests for who does not know the password."""
        seat = self._seats.get(request.match_info["name"])
        if seat is None:
            raise web.HTTPNotFound(text="nothing is published under this name\n")
        if seat.listening.password is None and not _is_of_this_machine(request):
            raise web.HTTPForbidden(
                text="without a password only this machine may publish: http://localhost\n"
            )
        match self._guesses.objection(
            seat.listening, request.remote or "", request.headers.get("Authorization")
        ):
            case 401:
                raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer", **_cors(seat)})
            case 429:
                raise web.HTTPTooManyRequests(text=f"{TOO_MANY}\n", headers=_cors(seat))
        return seat


_SERVERS: WeakValueDictionary[tuple[str, int], WhipServer] = WeakValueDictionary()
"""Sources of one port share its server."""


class WhipListener:
    """Keeps one name open for publishers, over all that come and go: `async with listener`."""

    def __init__(self, listening: Listening) -> None:
        self._seat = Seat(listening)
        self._server = _SERVERS.setdefault((listening.host, listening.port), WhipServer())

    async def __aenter__(self) -> Self:
        await self._server.open(self._seat)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close(self._seat)

    async def publisher(self) -> Incoming:
        """The next who publishes. Waits for ever."""
        return await self._seat.publisher()


async def _answer(incoming: Incoming, offer: str) -> str:
    connection = incoming.connection
    try:
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for transceiver in connection.getTransceivers():
            transceiver.direction = "recvonly" if transceiver.kind == "video" else "inactive"
        await connection.setLocalDescription(await connection.createAnswer())
    except Exception as error:  # whatever aiortc trips over in what a stranger wrote
        log.warning("offer refused", reason=f"{type(error).__name__}: {error}")
        raise web.HTTPBadRequest(text="the offer cannot be answered\n") from None
    incoming.start()
    return connection.localDescription.sdp


def _is_of_this_machine(request: web.Request) -> bool:
    """Whether no page asks that reaches us by a name of its own (DNS rebinding), or is of another site."""
    host, headers = request.headers.get("Host", ""), request.headers
    from_here = is_from_here(host, headers.get("Origin"), headers.get("Sec-Fetch-Site"))
    return from_here and is_loopback(host_name(host))


def _cors(seat: Seat) -> dict[str, str]:
    """Pages of other origins may publish where they must know a password; else only what runs here may."""
    return _ALLOWED if seat.listening.password is not None else {}
