"""Masks as a folder of indexed PNGs, laid out like DAVIS annotations: the pixel value is the object id."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from ..base import SinkError
from ..drawing import MOST_ID, davis_palette, indexed_map
from ..types import Result

log = structlog.get_logger(__name__)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MARK = b"Software\0keepsight"
_HEAD_BYTES = 100  # signature, header and our mark lie within
_INDEXED, _GREY = 3, 0  # PNG colour types
_COMPRESSION = 3  # maps of ids are nearly constant: more costs time and saves little


class MasksWriter:
    """A `Writer` of `folder`/00000.png and so on, numbered by frame index, in the frame's own size.

    The first takes the place of all those of an earlier run, which carry our mark, so that runs never mix.
    Where there are numbered PNGs of anyone else, such as annotations or the frames themselves, opening raises
    SinkError and touches nothing. Objects whose id a PNG cannot hold are left out, and that is said once.
    """

    writes_events = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._earlier: list[Path] = []
        self._said_left_out = False

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._earlier = [path for path in self._folder.glob("*.png") if path.stem.isdecimal()]
        for path in self._earlier:
            if not is_ours(path):
                raise SinkError(f"masks:{path} was not written by Keepsight: name another folder")
        probe = self._folder / ".keepsight"
        probe.touch()
        probe.unlink()

    def write(self, result: Result) -> None:
        fitting = [track for track in result.tracks if track.object_id <= MOST_ID]
        if len(fitting) < len(result.tracks) and not self._said_left_out:
            self._said_left_out = True
            url = f"masks:{self._folder}"
            log.warning("objects with higher ids are left out: a PNG holds no more", url=url, most=MOST_ID)
        ids = indexed_map(fitting, result.frame.size)
        while self._earlier:
            self._earlier.pop().unlink(missing_ok=True)
        (self._folder / f"{result.frame.index:05}.png").write_bytes(encode_png(ids))

    def close(self) -> None:
        """Nothing is open between frames."""


def encode_png(ids: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A map of ids (H, W) as PNG: uint8 with the DAVIS palette, uint16, which has none in PNG, as grey."""
    height, width = ids.shape
    indexed = ids.dtype == np.uint8
    depth, colour_type = (8, _INDEXED) if indexed else (16, _GREY)
    rows = np.zeros((height, 1 + width * ids.itemsize), np.uint8)  # a leading 0 a row: not filtered
    rows[:, 1:] = np.ascontiguousarray(ids.astype(">u2") if not indexed else ids).view(np.uint8)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)),
            _chunk(b"tEXt", MARK),
            _chunk(b"PLTE", davis_palette().tobytes()) if indexed else b"",
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), _COMPRESSION)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file (RFC 2083, section 3.2)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def is_ours(path: Path) -> bool:
    """Whether a picture carries our mark."""
    with path.open("rb") as file:
        return MARK in file.read(_HEAD_BYTES)
