"""H.264 byte streams: NAL units, and what a decoder has to know before the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_START = b"\0\0\1"
_SPS, _PPS = 7, 8


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The sequence and the picture parameter set of a stream (ITU-T H.264, 7.3.2), without start codes."""

    sequence: bytes
    picture: bytes

    @property
    def profile_level(self) -> str:
        """profile_idc, constraint flags and level_idc as six hexadecimal digits (RFC 6184, 8.1)."""
        return self.sequence[1:4].hex().upper()


def nal_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream (Annex B), without start codes."""
    begin = data.find(_START)
    while begin >= 0:
        begin += len(_START)
        end = data.find(_START, begin)
        unit = data[begin:] if end < 0 else data[begin:end]
        if unit := unit.rstrip(b"\0"):  # zeros belong to the next start code; a unit ends with a one bit
            yield unit
        begin = end


def parameter_sets(data: bytes) -> ParameterSets | None:
    """Those in a key frame's access unit; None where one of them is missing."""
    by_kind = {unit[0] & 0x1F: unit for unit in nal_units(data)}
    if _SPS in by_kind and _PPS in by_kind:
        return ParameterSets(by_kind[_SPS], by_kind[_PPS])
    return None
