"""Clips with known pictures, encoded with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from keepsight.streams.types import Image

CORNERS = np.array([[[220, 30, 30], [30, 200, 30]], [[30, 30, 220], [230, 230, 230]]], np.uint8)
"""(2, 2, 3): the colours of the four quarters of a picture: red, green; blue, white."""


def quarters(index: int, size: tuple[int, int]) -> Image:
    """(H, W, 3): four coloured quarters, so that turning and mirroring show; the same for each index."""
    rows = (np.arange(size[0]) * 2 // size[0])[:, None]
    columns = (np.arange(size[1]) * 2 // size[1])[None, :]
    return CORNERS[rows, columns]


def grey_steps(index: int, size: tuple[int, int]) -> Image:
    """(H, W, 3): one grey, 4 steps brighter with each index."""
    return np.full((*size, 3), 4 * index % 256, np.uint8)


def write_clip(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (48, 64),
    rate: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    draw: Callable[[int, tuple[int, int]], Image] = quarters,
) -> None:
    """`size` is (height, width), `rate` in frames/s; `options` go to the container and to the encoder."""
    options = dict(options or {})
    with av.open(str(path), "w", options=options) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        container.start_encoding()
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(draw(index, size), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Turns an mp4 as a phone does, in its track header: x' = a x + c y, y' = b x + d y."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
