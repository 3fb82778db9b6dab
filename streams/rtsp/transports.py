"""How packets travel to a player: between the messages of its connection, or in datagrams beside it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .messages import frame

PORTS_TRIED = 50
"""Pairs of ports of which the first is even and the second free: half of the system's choices are odd."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Asked for: interleaved in TCP (RFC 2326, 10.12); the channel for RTP, the next one is for RTCP."""

    first: int


@dataclass(frozen=True, slots=True)
class Ports:
    """Asked for: UDP, to these ports of the player."""

    rtp: int
    rtcp: int


class Transport(Protocol):
    """How the packets of one session travel."""

    def header(self, ssrc: int) -> str:
        """What the answer to SETUP says of it (12.39)."""
        ...

    def send(self, rtp: Sequence[bytes], rtcp: Sequence[bytes]) -> None:
        """Reports first. Raises ConnectionError."""
        ...

    async def drain(self) -> None:
        """Until there is room for more."""
        ...

    def is_silent(self, seconds: float) -> bool:
        """Whether it would be known that the player is there, and has not been for so long."""
        ...

    def close(self) -> None: ...


def offered(header: str) -> list[Channels | Ports]:
    """The transports of a Transport header that are known here, in its order: unicast, to the asker."""
    return [found for spec in header.split(",") if (found := _one(spec)) is not None]


def _one(spec: str) -> Channels | Ports | None:
    kind, *parameters = (part.strip() for part in spec.split(";"))
    told = dict(part.partition("=")[::2] for part in parameters)
    if kind.upper() == "RTP/AVP/TCP":
        number = re.match(r"(\d{1,3})", told.get("interleaved", "0"))
        return Channels(int(number[1])) if number is not None and int(number[1]) < 255 else None
    if kind.upper() in {"RTP/AVP", "RTP/AVP/UDP"} and "multicast" not in told:
        ports = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", told.get("client_port", ""))
        rtp = int(ports[1]) if ports else 0
        rtcp = int(ports[2]) if ports and ports[2] else rtp + 1
        return Ports(rtp, rtcp) if 1024 <= rtp < 2**16 and 1024 <= rtcp < 2**16 else None
    return None


class Interleaved:
    """Between the messages of the player's connection, which says by itself when nobody takes anything."""

    def __init__(self, channels: Channels, writer: asyncio.StreamWriter) -> None:
        self._first = channels.first
        self._writer = writer

    def header(self, ssrc: int) -> str:
        return f"RTP/AVP/TCP;unicast;interleaved={self._first}-{self._first + 1};ssrc={ssrc:08X}"

    def send(self, rtp: Sequence[bytes], rtcp: Sequence[bytes]) -> None:
        reports = [frame(self._first + 1, packet) for packet in rtcp]
        self._writer.write(b"".join([*reports, *(frame(self._first, packet) for packet in rtp)]))

    async def drain(self) -> None:
        await self._writer.drain()

    def is_silent(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        pass


class Datagrams(asyncio.DatagramProtocol):
    """UDP, from a pair of ports of ours to the player's, and to no other address than that of its connection:
    nobody can have pictures sent to somebody else."""

    def __init__(self, ports: Ports, most_buffered: int) -> None:
        self._ports = ports
        self._most_buffered = most_buffered
        self._own = 0
        self._ways: list[asyncio.DatagramTransport] = []
        self._room = asyncio.Event()
        self._room.set()
        self._heard = 0.0

    async def open(self, writer: asyncio.StreamWriter) -> None:
        """Raises OSError where there are no ports."""
        ours, theirs = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        loop = asyncio.get_running_loop()
        pair = bound_pair(ours)
        self._own, self._heard = pair[0].getsockname()[1], loop.time()
        try:
            for one, port in zip(pair, (self._ports.rtp, self._ports.rtcp), strict=True):
                one.connect((theirs[0], port, *theirs[2:]))
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._most_buffered)
                way, _ = await loop.create_datagram_endpoint(lambda: self, sock=one)
                self._ways.append(way)
        except BaseException:
            self.close()
            for one in pair[len(self._ways) :]:  # the others are their ways' to close
                one.close()
            raise

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard = asyncio.get_running_loop().time()

    def error_received(self, exc: Exception) -> None:
        """The player's port is closed: its connection will say so, or fall silent."""

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def header(self, ssrc: int) -> str:
        theirs, own = f"{self._ports.rtp}-{self._ports.rtcp}", f"{self._own}-{self._own + 1}"
        return f"RTP/AVP/UDP;unicast;client_port={theirs};server_port={own};ssrc={ssrc:08X}"

    def send(self, rtp: Sequence[bytes], rtcp: Sequence[bytes]) -> None:
        pictures, reports = self._ways
        for packet in rtcp:
            reports.sendto(packet)
        for packet in rtp:
            pictures.sendto(packet)

    async def drain(self) -> None:
        await self._room.wait()

    def is_silent(self, seconds: float) -> bool:
        return asyncio.get_running_loop().time() - self._heard > seconds

    def close(self) -> None:
        for way in self._ways:
            way.close()


def bound_pair(address: tuple[Any, ...]) -> tuple[socket.socket, socket.socket]:
    """Two sockets of a connection's own address (host, port and, over IPv6, flow and scope), on neighbouring
    ports of which the first is even (RFC 3550, 11). Raises OSError."""
    host, _, *scope = address
    family = socket.AF_INET6 if scope else socket.AF_INET
    why = OSError("no free pair of ports")
    for _ in range(PORTS_TRIED):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            first.bind((host, 0, *scope))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((host, port + 1, *scope))
                return first, second
        except OSError as error:
            why = error
        first.close()
        second.close()
    raise why
