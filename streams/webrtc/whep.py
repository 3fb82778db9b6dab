"""Cameras for browsers: WHEP (draft-ietf-wish-whep) handlers for an aiohttp application.

    whep.mount(application, {"door": encoder})        # encoder: streams.encoder.SharedEncoder

    POST   /whep/{camera}             an SDP offer (application/sdp): 201, the SDP answer, `Location`
    DELETE /whep/{camera}/{session}   the viewer leaves: 200

`encoders` is looked up at each request, so that cameras may come and go; one that is not among them is 404.
Beyond `viewers` at once it is 503 with `Retry-After`; an offer without H.264 is 406, one that is no SDP
400. There is no trickle ICE (PATCH is 405): the offer must hold its candidates, as it does once the
browser's `iceGatheringState` is "complete". Who may ask at all is for the application's middlewares.

A viewer that opens a data channel named `frames` in its offer is told which frame each picture is, as JSON:
`{"rtp": 123456, "epoch": 0, "index": 592, "captured": 1795406053.05}`, where `rtp` is the picture's RTP
timestamp as `requestVideoFrameCallback` gives it (`metadata.rtpTimestamp`); a little before the picture is
shown.

Viewers that are gone are noticed (ICE consent, RFC 7675, some 30 s) and closed; all are, when the
application is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from ..encoder import SharedEncoder
from . import peer
from .offers import read_offer
from .peer import SDP, UnitTrack

log = structlog.get_logger(__name__)

VIEWERS = 32
"""So many viewers of all cameras together."""
FRAMES_CHANNEL = "frames"
_RETRY_SECONDS = 5


def mount(
    application: web.Application, encoders: Mapping[str, SharedEncoder], *, viewers: int = VIEWERS
) -> None:
    """Add the handlers of `/whep/…`, and the closing of viewers, to an application that has not started."""
    house = _House(encoders, viewers)
    application.add_routes(
        [
            web.post("/whep/{camera}", house.admit),
            web.delete("/whep/{camera}/{session}", house.dismiss),
        ]
    )
    application.on_shutdown.append(house.close)


@dataclass(slots=True)
class _Viewer:
    camera: str
    connection: RTCPeerConnection
    track: UnitTrack
    watching: asyncio.Task[None] | None = field(default=None)


class _House:
    """Everybody who watches, by session."""

    def __init__(self, encoders: Mapping[str, SharedEncoder], most: int) -> None:
        self._encoders = encoders
        self._most = most
        self._viewers: dict[str, _Viewer] = {}

    async def admit(self, request: web.Request) -> web.Response:
        camera = request.match_info["camera"]
        encoder = self._encoders.get(camera)
        if encoder is None:
            raise web.HTTPNotFound(text=f"no camera is called {camera!r}\n")
        offer = await _offer(request)
        if len(self._viewers) >= self._most:
            raise web.HTTPServiceUnavailable(
                text=f"{self._most} viewers are as many as can be\n",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )
        session = secrets.token_urlsafe(16)
        viewer = _Viewer(camera, peer.new_connection(), UnitTrack(encoder))
        self._viewers[session] = viewer  # before the first wait: it counts from now on
        try:
            answer = await _negotiate(viewer, offer)
        except BaseException:
            await self._leave(session)
            raise
        viewer.watching = asyncio.create_task(self._watch(session, viewer), name=f"viewer of {camera}")
        location = f"{request.path}/{session}"
        return web.Response(status=201, text=answer, content_type=SDP, headers={"Location": location})

    async def dismiss(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        viewer = self._viewers.get(session)
        if viewer is None or viewer.camera != request.match_info["camera"]:
            raise web.HTTPNotFound(text="no such session\n")
        await self._leave(session)
        return web.Response()

    async def close(self, _: web.Application) -> None:
        await asyncio.gather(*(self._leave(session) for session in tuple(self._viewers)))

    async def _watch(self, session: str, viewer: _Viewer) -> None:
        reason = await peer.until_ended(viewer.connection, lambda: viewer.track.readyState != "live")
        log.info("viewer gone", camera=viewer.camera, reason=reason)
        viewer.watching = None
        await self._leave(session)

    async def _leave(self, session: str) -> None:
        viewer = self._viewers.pop(session, None)
        if viewer is None:
            return
        if viewer.watching is not None:
            viewer.watching.cancel()
        viewer.track.stop()
        await peer.close(viewer.connection)


async def _offer(request: web.Request) -> str:
    offer = await read_offer(request)
    if "h264/90000" not in offer.lower():
        raise web.HTTPNotAcceptable(text="the offer has no video in H.264\n")
    return offer


async def _negotiate(viewer: _Viewer, offer: str) -> str:
    """The SDP answer. Raises HTTPBadRequest for an offer that cannot be understood."""
    connection, track = viewer.connection, viewer.track

    def take_channel(channel: RTCDataChannel) -> None:
        if channel.label == FRAMES_CHANNEL:
            track.channel = channel

    connection.on("datachannel", take_channel)
    track.sender = connection.addTrack(track)
    (transceiver,) = connection.getTransceivers()
    transceiver.setCodecPreferences(peer.h264())  # before the offer is looked at, or VP8 is taken
    transceiver.direction = "sendonly"
    try:
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
    except Exception as error:  # whatever aiortc trips over in what a stranger wrote
        log.warning("offer refused", camera=viewer.camera, reason=f"{type(error).__name__}: {error}")
        raise web.HTTPBadRequest(text="the offer cannot be answered\n") from None
    return connection.localDescription.sdp
