"""Coded pictures into containers and protocols that FFmpeg writes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from .encoder import CLOCK_RATE


class ShieldedFile:
    """A file for FFmpeg that seems never to fail: FFmpeg's MP4 muxer crashes the process where one does.

    What went wrong first is raised by `check`; nothing is written after it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest and self._error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def check(self) -> None:
        if self._error is not None:
            raise self._error


class Muxer:
    """An open output for coded pictures of one size, the first being `key_frame` with its parameter sets.

    Blocks; all calls come from one thread. Everything raises OSError or `av.FFmpegError`.
    """

    def __init__(
        self, url: str | ShieldedFile, format_: str, options: Mapping[str, str], key_frame: bytes
    ) -> None:
        self._start: int | None = None
        template = cast(InputContainer, av.open(io.BytesIO(key_frame), format="h264"))
        with template:
            self._output: OutputContainer = av.open(url, "w", format=format_, options=dict(options))
            self._stream: Stream = self._output.add_stream_from_template(template.streams.video[0])
        self._stream.time_base = Fraction(1, CLOCK_RATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._output.close()

    def write(self, data: bytes, pts: int, key: bool) -> None:
        """An access unit; `pts` in ticks of 1/90000 s, the first being shown at 0."""
        if self._start is None:
            self._start = pts
        packet = av.Packet(data)
        packet.pts = packet.dts = pts - self._start
        packet.time_base = Fraction(1, CLOCK_RATE)
        packet.is_keyframe = key
        packet.stream = self._stream
        self._output.mux(packet)
