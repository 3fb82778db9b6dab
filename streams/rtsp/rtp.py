"""Coded pictures as RTP packets (RFC 3550, RFC 6184), the session description and sender reports."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import Iterator

from ..encoder import CLOCK_RATE, Unit
from ..h264 import ParameterSets, nal_units

PAYLOAD_TYPE = 96
MOST_PAYLOAD = 1400
"""Bytes, so that a packet fits an Ethernet frame wherever it may be sent on."""
_FU_A = 28
_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970."""
_WALL_CLOCKS = ("rtcp", "arrival")


class Packetizer:
    """The packets of one receiver, numbered from a random start."""

    def __init__(self) -> None:
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(15)
        self._offset = secrets.randbits(32)
        self._packets = 0
        self._bytes = 0

    def packets(self, unit: Unit) -> Iterator[bytes]:
        """The RTP packets of one picture; the last has the marker."""
        payloads = [payload for nal in nal_units(unit.data) for payload in fragments(nal)]
        stamp = (unit.pts + self._offset) % 2**32
        for number, payload in enumerate(payloads, 1):
            marker = 0x80 if number == len(payloads) else 0
            yield (
                struct.pack("!BBHII", 0x80, marker | PAYLOAD_TYPE, self.sequence, stamp, self.ssrc) + payload
            )
            self.sequence = (self.sequence + 1) % 2**16
            self._packets += 1
            self._bytes += len(payload)

    def report(self, unit: Unit) -> bytes:
        """An RTCP sender report that says when the picture was taken, and a name (6.4.1, 6.5)."""
        seconds = (unit.captured if unit.clock in _WALL_CLOCKS else time.time()) + _NTP_EPOCH
        stamp = (unit.pts + self._offset) % 2**32
        whole, part = int(seconds), int(seconds % 1 * 2**32)
        counts = self._packets % 2**32, self._bytes % 2**32
        sender = struct.pack("!BBHIIIIII", 0x80, 200, 6, self.ssrc, whole, part, stamp, *counts)
        name = b"\x01\x09keepsight\x00"
        return sender + struct.pack("!BBHI", 0x81, 202, 1 + len(name) // 4, self.ssrc) + name


def fragments(nal: bytes) -> Iterator[bytes]:
    """A NAL unit as payloads: itself where it fits, else fragmentation units (RFC 6184, 5.6 and 5.8)."""
    if len(nal) <= MOST_PAYLOAD:
        yield nal
        return
    indicator, kind, room = nal[0] & 0xE0 | _FU_A, nal[0] & 0x1F, MOST_PAYLOAD - 2
    for at in range(1, len(nal), room):
        start, end = at == 1, at + room >= len(nal)
        yield bytes([indicator, start << 7 | end << 6 | kind]) + nal[at : at + room]


def description(name: str, sets: ParameterSets | None) -> str:
    """The SDP (RFC 8866; RFC 6184, 8.2.1) of one H.264 video; without `sets` they come in the stream only."""
    format_ = "packetization-mode=1"
    if sets is not None:
        coded = ",".join(base64.b64encode(part).decode() for part in (sets.sequence, sets.picture))
        format_ += f";profile-level-id={sets.profile_level};sprop-parameter-sets={coded}"
    lines = [
        "v=0",
        f"o=- {secrets.randbits(31)} 1 IN IP4 0.0.0.0",
        f"s={name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_RATE}",
        f"a=fmtp:{PAYLOAD_TYPE} {format_}",
        "a=control:track0",
    ]
    return "\r\n".join([*lines, ""])
