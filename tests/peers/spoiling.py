"""Damage to the media of RTSP that is interleaved in TCP (RFC 2326, 10.12); what is said in words passes."""

from __future__ import annotations

import random
from collections.abc import Callable

DOLLAR = 0x24
HEAD = 4
"""Bytes before each packet: a dollar sign, the channel, the length."""
RTP_HEAD = 12


class Spoiler:
    """Passes on what a server says; each byte of RTP payloads becomes another with a chance of `share`()."""

    def __init__(self, share: Callable[[], float], seed: int = 0) -> None:
        self._share = share
        self._chance = random.Random(seed)
        self._held = bytearray()

    def __call__(self, data: bytes) -> bytes:
        self._held += data
        passed = bytearray()
        while piece := self._next():
            passed += self._spoilt(piece) if piece[0] == DOLLAR else piece
        return bytes(passed)

    def _next(self) -> bytearray:
        """The next packet, or words before one; empty where none is complete."""
        held = self._held
        if held[:1] != b"$":
            size = held.find(b"$") if b"$" in held else len(held)
        else:
            size = HEAD + int.from_bytes(held[2:HEAD], "big") if len(held) >= HEAD else 0
        if size > len(held):
            return bytearray()
        piece = held[:size]
        del held[:size]
        return piece

    def _spoilt(self, packet: bytearray) -> bytearray:
        share, media = self._share(), packet[1] % 2 == 0
        if share and media:
            for at in range(HEAD + RTP_HEAD, len(packet)):
                if self._chance.random() < share:
                    packet[at] ^= self._chance.randrange(1, 256)
        return packet
