"""Pictures as bytes of which the very same pixels come back: H.264 in RGB, without loss.

Each picture is one packet, so that who writes packets one after the other has no container to finish, and a
file that was cut off is whole up to there.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import CodecContext, Packet, VideoCodecContext, VideoFrame

from .types import Image

SECOND = Fraction(1, 25)
"""FFmpeg's encoders want a time base; what it is plays no part."""
OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "qp": "0"}
LEAST_SIDE = 16
"""Of a picture that x264 takes, in pixels."""


class LosslessEncoder:
    """For pictures (H, W, 3) uint8 of one size (height, width)."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._count = 0
        codec = CodecContext.create("libx264rgb", "w")
        assert isinstance(codec, VideoCodecContext)
        codec.height, codec.width = size
        codec.pix_fmt = "rgb24"
        codec.time_base = SECOND
        codec.options = OPTIONS
        codec.thread_count = 1
        self._codec = codec

    def encode(self, image: Image) -> bytes:
        """Raises `av.FFmpegError` for a picture that is too small."""
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._count, SECOND
        self._count += 1
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class LosslessDecoder:
    """Of what one encoder made, in its order."""

    def __init__(self) -> None:
        codec = CodecContext.create("h264", "r")
        assert isinstance(codec, VideoCodecContext)
        codec.thread_count = 1
        self._codec = codec

    def decode(self, packet: bytes) -> Image:
        """Raises ValueError where that is no picture, `av.FFmpegError` where it is damaged."""
        frames = self._codec.decode(Packet(packet))
        if len(frames) != 1:
            raise ValueError(f"{len(frames)} pictures in a packet")
        return np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8)
