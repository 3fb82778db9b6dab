"""When a picture was taken, as its sender says (RTCP reports, RFC 3550, 6.4.1), or else when it came."""

from __future__ import annotations

import struct
import time

from av.packet import Packet
from av.video.stream import VideoStream

from ..types import Clock

BELIEVED_SECONDS = 600.0
"""A sender whose clock is farther from ours than this has never been set."""


class SenderClock:
    """FFmpeg joins the reports to the packets of RTSP as their `prft`: microseconds since 1970."""

    def __init__(self) -> None:
        self._offset: float | None = None

    def hear(self, packet: Packet[VideoStream]) -> None:
        """Take what a packet says of the sender's clock, if anything."""
        if not packet.has_sidedata("prft") or packet.pts is None:
            return
        (microseconds,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
        self._offset = microseconds / 1e6 - float(packet.pts * packet.time_base)

    def captured(self, told: float | None) -> tuple[float, Clock]:
        """Seconds since 1970, and whose clock says so, of the picture that is at `told` in the stream."""
        now = time.time()
        if self._offset is None or told is None or abs(self._offset + told - now) > BELIEVED_SECONDS:
            return now, "arrival"
        return self._offset + told, "rtcp"
