"""The overlay as a video file, H.264 in MP4 or Matroska, playable even where the process was killed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from ..drawing import overlay
from ..muxing import ShieldedFile
from ..planes import BT601, LIMITED_RANGE, to_frame, to_i420
from ..trails import Pasts, seen
from ..types import Image, Result
from .writer import claim

KEY_FRAME_SECONDS = 1.0
"""At most this much is lost when the process is killed, beside the few frames the encoder still holds."""

_ENCODER = {"preset": "superfast", "crf": "22"}
_ENCODER_THREADS = 2
_TICKS = {".mp4": 90_000, ".mkv": 1_000}
"""Ticks a second. Matroska knows milliseconds only."""
_LONGEST_GAPS = {".mp4": 6 * 3600.0, ".mkv": math.inf}
"""Seconds from one picture to the next. FFmpeg's MP4 muxer gives up all times after one of 2^31 ticks."""
_MUXER: Mapping[str, dict[str, str]] = {
    ".mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
    ".mkv": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
_FORMATS = {".mp4": "mp4", ".mkv": "matroska"}


class VideoWriter:
    """A `Writer` of overlays to `path`, whose ending (.mp4 or .mkv) names the container.

    The video has the first frame's size, made even by repeating the last row or column (4:2:0 needs it);
    frames of another size are scaled to it. It starts at 0 and keeps the frames' own intervals; a frame that
    is not later than the one before it is shown one tick after it. In MP4 no interval is longer than six
    hours. Without any frame no file is left
    but one that was there before.
    """

    writes_events = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = False
        self._encoding: _Encoding | None = None
        self._pasts: Pasts = {}

    def open(self) -> None:
        self._new = claim(self._path)

    def write(self, result: Result) -> None:
        self._pasts = seen(self._pasts, result)
        picture = overlay(result, self._pasts)
        if self._encoding is None:
            self._encoding = _Encoding(self._path, picture, result.frame.time)
        self._encoding.write(picture, result.frame.time)

    def close(self) -> None:
        if self._encoding is not None:
            self._encoding.close()
        elif self._new:
            self._path.unlink(missing_ok=True)


class _Encoding:
    """An open container with its encoder, for pictures like `first`; `start` is the first frame's time."""

    def __init__(self, path: Path, first: Image, start: float) -> None:
        ending = path.suffix.lower()
        height, width = first.shape[:2]
        self._size = (height, width)
        self._start = start
        self._tick = Fraction(1, _TICKS[ending])
        self._longest_gap = _LONGEST_GAPS[ending]
        self._last_pts = -1
        self._last_key = -KEY_FRAME_SECONDS
        self._file = ShieldedFile(path)
        self._container: OutputContainer = av.open(
            self._file, "w", format=_FORMATS[ending], options=_MUXER[ending]
        )
        self._stream = _add_stream(self._container, (height + height % 2, width + width % 2), self._tick)

    def write(self, picture: Image, time: float) -> None:
        frame = to_frame(to_i420(self._fitted(picture)))
        frame.pts = self._place(time)
        frame.time_base = self._tick
        if (seconds := frame.pts * self._tick) - self._last_key >= KEY_FRAME_SECONDS:
            frame.pict_type = PictureType.I
            self._last_key = float(seconds)
        self._container.mux(self._stream.encode(frame))
        self._file.check()

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()
        self._file.check()

    def _place(self, time: float) -> int:
        """In ticks, always rising."""
        last = float(max(0, self._last_pts) * self._tick)
        self._start += max(0.0, time - self._start - last - self._longest_gap)
        self._last_pts = max(round((time - self._start) / self._tick), self._last_pts + 1)
        return self._last_pts

    def _fitted(self, picture: Image) -> Image:
        if picture.shape[:2] == self._size:
            return picture
        height, width = self._size
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _add_stream(container: OutputContainer, size: tuple[int, int], tick: Fraction) -> VideoStream:
    stream = container.add_stream("libx264", options=_ENCODER)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.time_base = tick
    codec = stream.codec_context
    codec.time_base = tick
    codec.thread_count = _ENCODER_THREADS
    codec.max_b_frames = 0  # a fragmented MP4's header, written first, cannot tell players of their delay
    codec.colorspace = BT601
    codec.color_range = LIMITED_RANGE
    return stream
