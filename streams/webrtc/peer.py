"""What all WebRTC connections have in common: codecs, tracks of coded pictures, and their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction

import av
import structlog
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from av.stream import Stream

from ..encoder import CLOCK_RATE, SharedEncoder, Unit, Units

log = structlog.get_logger(__name__)

SDP = "application/sdp"
MOST_SDP = 2**16
"""Bytes of an offer or an answer."""
CONNECT_SECONDS = 15.0
"""What a peer has from its offer or answer until pictures can flow."""
_CLOSE_SECONDS = 5.0
_MOST_BUFFERED = 2**16
"""Bytes of messages about frames that may wait for one viewer."""


def new_connection() -> RTCPeerConnection:
    """One without STUN and TURN servers: nobody outside is asked anything."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def h264() -> list[RTCRtpCodecCapability]:
    """What aiortc has of H.264; with it RTX (RFC 4588), which carries what was lost a second time."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    return [codec for codec in codecs if codec.mimeType.lower() in ("video/h264", "video/rtx")]


class UnitTrack(MediaStreamTrack):
    """The units of a shared encoder, already coded. Reading begins with the first that is asked for.

    `channel` is told which frame each picture is, see `whep`.
    """

    kind = "video"

    def __init__(self, encoder: SharedEncoder) -> None:
        super().__init__()
        self.sender: RTCRtpSender | None = None
        self.channel: RTCDataChannel | None = None
        self._encoder = encoder
        self._reading = ExitStack()
        self._units: Units | None = None
        self._sent: Unit | None = None
        self._origin: int | None = None

    async def recv(self) -> av.Packet[Stream]:
        """The next unit; `MediaStreamError` once the encoder has been closed, or the track stopped."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._units is None:
            self._units = self._reading.enter_context(self._encoder.read())
        unit = await anext(self._units, None)
        if unit is None:
            self.stop()
            raise MediaStreamError
        self._tell(unit)
        self._sent = unit
        packet = av.Packet(unit.data)
        packet.pts, packet.time_base = unit.pts, Fraction(1, CLOCK_RATE)
        return packet

    def stop(self) -> None:
        super().stop()
        self._reading.close()

    def _tell(self, unit: Unit) -> None:
        """Say which frame comes next; the first picture's, which is known late, after it."""
        if self.channel is None or self.channel.readyState != "open":
            return
        if self.channel.bufferedAmount > _MOST_BUFFERED:
            return
        if self._origin is None and self._sent is not None and (origin := self._measured_origin(self._sent)):
            self._origin = origin
            self.channel.send(_frame_message(self._sent, origin))
        if self._origin is not None:
            self.channel.send(_frame_message(unit, self._origin))

    def _measured_origin(self, sent: Unit) -> int | None:
        """What aiortc adds to the time of each picture, seen from the one it sent last (RFC 3550, 5.1)."""
        stamp = getattr(self.sender, "_RTCRtpSender__rtp_timestamp", 0)
        return (stamp - sent.pts) % 2**32 if stamp else None


def _frame_message(unit: Unit, origin: int) -> str:
    epoch, index = unit.frame
    stamp = (unit.pts + origin) % 2**32
    return json.dumps({"rtp": stamp, "epoch": epoch, "index": index, "captured": unit.captured})


async def until_ended(connection: RTCPeerConnection, is_over: Callable[[], bool] = lambda: False) -> str:
    """Waits until the connection is no more, and says why: it failed or was closed, was not made in
    `CONNECT_SECONDS`, or `is_over`."""
    news = asyncio.Event()
    connection.on("connectionstatechange", news.set)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while connection.connectionState in ("new", "connecting"):
                news.clear()
                await news.wait()
    except TimeoutError:
        return f"not connected in {CONNECT_SECONDS:g} s"
    while connection.connectionState == "connected" and not is_over():
        news.clear()
        try:
            async with asyncio.timeout(1.0):
                await news.wait()
        except TimeoutError:
            continue
    return "ended here" if connection.connectionState == "connected" else connection.connectionState


async def close(connection: RTCPeerConnection) -> None:
    """Closes; what hangs is left behind."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    except TimeoutError:
        log.warning("left a WebRTC connection behind", waited_seconds=_CLOSE_SECONDS)
