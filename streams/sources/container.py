"""Reads whatever FFmpeg can open: recordings, cameras, network streams."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, cast
from urllib.parse import urlsplit

import av
import numpy as np
import structlog
from av.buffer import Buffer
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..base import DeniedError, SourceError, redact
from ..types import Clock, Frame, Image
from .hardware import decoder
from .reading import NOMINAL_RATE, Blindness, Mark, StreamInfo, ThreadedSource, Timeline, paced
from .sender_clock import SenderClock

log = structlog.get_logger(__name__)

FILE: Clock = "file"
BROKEN_READS = 20
"""So many reads of a file may fail in a row before it counts as ended."""

PLAY_LISTS = ("hls", "dash")
"""FFmpeg's formats whose pictures are fetched from other URLs, each in a connection of its own."""
UNCHECKED = "a play list takes no ca=: FFmpeg would not check who gives out the segments"

KEY_FRAME_SECONDS = 30.0
"""So long a live stream may send what nothing is seen of before its first key frame."""


@dataclass(frozen=True, slots=True)
class Access:
    """How FFmpeg is to open something: the demuxer (None: it finds out) and its options.

    `timeout_seconds` bounds the opening and each read. `pace` plays what arrives in bursts at the speed of
    its presentation times. `holds_back`: when that time is over, the demuxer first gives a packet that it had
    held back, and says so only after another.
    """

    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 10.0
    pace: bool = False
    holds_back: bool = False

    def is_over(self, seconds: float) -> bool:
        """Whether what a read of so many seconds gives is old."""
        return self.holds_back and seconds > 0.95 * self.timeout_seconds


class ContainerSource(ThreadedSource):
    """The pictures of the first video stream, upright.

    A file is read to its end: broken packets are skipped and counted in `broken`, and a warning tells what a
    damaged file lacks. A live stream skips packets that cannot be decoded too; there a failed read is a
    `SourceError`, and so is it when packets come for long, but no picture. `hardware_failed`: it was hardware
    that made no picture of them, so the next opening is better without.
    """

    def __init__(self, url: str, *, live: bool, access: Access | None = None) -> None:
        super().__init__(url, live=live)
        self.broken = 0
        self._clock = SenderClock()
        self._address = url
        self._access = access or Access()
        self._hardware: str | None = None
        self.hardware_failed = False

    def decoded_by(self, hardware: str) -> Self:
        """One of `base.HARDWARE` is to decode, where there is such a device."""
        self._hardware = hardware
        return self

    @contextlib.contextmanager
    def _open(self, stopping: threading.Event) -> Iterator[tuple[StreamInfo, Iterator[Frame]]]:
        with self._open_container() as container:
            stream = self._video_stream(container)
            frames = self._frames(container, stream)
            first = next(frames, None)
            if first is None:
                if self.broken:
                    self._blame_hardware()
                raise SourceError(f"{self.url}: no picture in it can be decoded")
            frames = itertools.chain([first], frames)
            yield _info(stream), paced(frames, stopping) if self._access.pace else frames

    def _open_container(self) -> InputContainer:
        seconds = self._access.timeout_seconds
        try:
            return av.open(
                self._address,
                format=self._access.format,
                options=dict(self._access.options),
                timeout=(seconds, seconds),
                metadata_errors="replace",  # titles come in whatever encoding the camera has
                hwaccel=None if self._hardware is None else decoder(self._hardware),
            )
        except av.InvalidDataError:
            cause = _network_error(self._address) or (
                "no answer, or not a video" if self.live else _unread(self._address)
            )
            raise SourceError(f"{self.url}: {cause}") from None
        except (av.HTTPUnauthorizedError, av.HTTPForbiddenError) as error:
            raise DeniedError(f"{self.url}: {_cause(error)}: check user and password") from None
        except av.FFmpegError as error:
            raise SourceError(f"{self.url}: {_cause(error)}") from None

    def _video_stream(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams}))
            raise SourceError(f"{self.url}: no video in it" + (f", only {kinds}" if kinds else ""))
        if container.format.name in PLAY_LISTS and "ca_file" in self._access.options:
            raise SourceError(f"{self.url}: {UNCHECKED}")
        stream = container.streams.video[0]
        # None where FFmpeg has no decoder (the stubs do not know); which codec it is PyAV does not tell
        if cast(object, stream.codec_context) is None:
            raise SourceError(f"{self.url}: there is no decoder for its video: send it as H.264, for example")
        stream.thread_type = (
            "SLICE"  # frame threads hold pictures back, and lose some where a file is cut off
        )
        return stream

    def replay(self, mark: Mark | None = None) -> Generator[tuple[Frame, Mark | None]]:
        with self._open_container() as container:
            stream = self._video_stream(container)
            pictures = None if mark is None else self._sought(container, stream, mark)
            if mark is not None and pictures is not None:
                yield from self._marked(pictures, stream, mark)
                return
        first = 0 if mark is None else mark.index  # it cannot be sought: read up to it
        with self._open_container() as container:
            stream = self._video_stream(container)
            everything = self._marked(self._pictures(container, stream), stream, self._beginning(stream))
            yield from itertools.islice(everything, first, None)

    def _sought(
        self, container: InputContainer, stream: VideoStream, mark: Mark
    ) -> Iterator[tuple[VideoFrame, float]] | None:
        """The pictures from that of `mark` on; None where seeking does not find it."""
        with contextlib.suppress(av.FFmpegError):
            container.seek(mark.place, stream=stream)
            pictures = self._pictures(container, stream)
            for picture, seconds in pictures:
                if picture.pts == mark.place:
                    return itertools.chain([(picture, seconds)], pictures)
                if picture.pts is not None and picture.pts > mark.place:
                    break
        return None

    def _beginning(self, stream: VideoStream) -> Mark:
        return Mark(0, 0, Timeline(step=1 / float(stream.guessed_rate or NOMINAL_RATE)))

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
        frame: Frame | None = None
        for frame, _ in self._marked(self._pictures(container, stream), stream, self._beginning(stream)):
            yield frame
        if not self.live:
            read, seconds = (frame.index + 1, frame.time) if frame else (0, -1.0)
            self._warn_of_damage(_promised_seconds(container, stream), read, seconds)

    def _marked(
        self, pictures: Iterator[tuple[VideoFrame, float]], stream: VideoStream, mark: Mark
    ) -> Iterator[tuple[Frame, Mark | None]]:
        """The frames of pictures, the first being that of `mark`; a key frame with a mark of its own."""
        index, timeline = mark.index, replace(mark.timeline)
        for picture, decode_seconds in pictures:
            started = time.perf_counter()
            try:
                image = upright(picture)
            except av.FFmpegError:
                self.broken += 1
                continue
            decode_seconds += time.perf_counter() - started
            marked = picture.key_frame and picture.pts is not None
            own = Mark(index, picture.pts or 0, replace(timeline)) if marked else None
            told = _told(picture, stream)
            arrived = time.monotonic()
            at = timeline.place(told, arrived if self.live else None)
            captured, clock = self._clock.captured(told) if self.live else (at, FILE)
            yield Frame(image, index, 0, at, captured, clock, arrived, decode_seconds), own
            index += 1

    def _pictures(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame, float]]:
        """Each picture, and the seconds it took to decode."""
        blindness = Blindness(KEY_FRAME_SECONDS)
        for packet in self._packets(container, stream):
            started = time.perf_counter()
            pictures: list[VideoFrame] = []
            try:
                pictures = stream.codec_context.decode(packet)
            except av.EOFError:
                return
            except av.FFmpegError:
                self.broken += 1
            seconds = (time.perf_counter() - started) / max(1, len(pictures))
            for picture in pictures:
                yield picture, seconds
            if pictures:
                blindness.ends(self._access.timeout_seconds)
            elif self.live and blindness.lasts(time.monotonic()):
                self._blame_hardware()
                raise SourceError(f"{self.url}: what comes cannot be decoded")

    def _blame_hardware(self) -> None:
        """Packets came, and no picture. A file has no next time."""
        if self.live and self._hardware is not None and decoder(self._hardware) is not None:
            self.hardware_failed = True
            log.warning("hardware decodes nothing of it: next time in software", url=self.url)

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[Packet[VideoStream] | None]:
        """The packets, then None, which empties the decoder."""
        failures = 0
        while failures < BROKEN_READS:
            try:
                asked = time.monotonic()
                for packet in self._demuxed(container, stream):
                    if self._access.is_over(time.monotonic() - asked):
                        raise SourceError(f"{self.url}: no data in time")
                    if packet.size:
                        failures = 0
                        self._clock.hear(packet)
                        yield packet
                    asked = time.monotonic()
                break
            except av.FFmpegError as error:
                if self.live or not isinstance(error, av.InvalidDataError):
                    raise SourceError(f"{self.url}: {_cause(error)}") from None
                self.broken += 1
                failures += 1
        yield None

    def _demuxed(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
        """The stream's packets. Each packet of sound begins FFmpeg's time-out anew, so that of live video is
        watched over here."""
        if not self.live:
            yield from container.demux(stream)
            return
        asked = time.monotonic()
        for packet in container.demux():
            if packet.stream_index == stream.index:
                yield cast("Packet[VideoStream]", packet)
                asked = time.monotonic()
            elif time.monotonic() - asked > self._access.timeout_seconds:
                raise SourceError(f"{self.url}: no video in time")

    def _warn_of_damage(self, promised: float | None, frames: int, seconds: float) -> None:
        ended_early = promised is not None and promised - seconds > max(1.0, 0.05 * promised)
        if self.broken or ended_early:
            log.warning(
                "damaged video",
                url=self.url,
                frames_read=frames,
                broken_packets=self.broken,
                seconds_read=round(seconds, 2),
                seconds_promised=promised,
            )


def upright(picture: VideoFrame) -> Image:
    """(H, W, 3) uint8 RGB, turned and mirrored as the display matrix asks (ISO/IEC 14496-12, 6.2.2)."""
    # One thread: handing the lines of a picture to several takes ten times as long.
    image = np.asarray(picture.to_ndarray(format="rgb24", threads=1), np.uint8)
    # Made here, not taken from `picture.side_data`: that one is kept on the picture and holds it, so every
    # picture would wait for the garbage collector. (PyAV's stubs know neither.)
    side_data = cast(Mapping[str, Buffer], SideDataContainer(picture))  # type: ignore[call-arg]
    if "DISPLAYMATRIX" not in side_data:
        return image
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side_data["DISPLAYMATRIX"]))
    if abs(b) > abs(a):  # x and y change places: x' = c y, y' = b x
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _told(picture: VideoFrame, stream: VideoStream) -> float | None:
    """The presentation time in seconds; `picture.time` is NaN for those the decoder held back."""
    if picture.pts is None or stream.time_base is None:
        return None
    return float(picture.pts * stream.time_base)


def _info(stream: VideoStream) -> StreamInfo:
    rate = stream.average_rate or stream.guessed_rate
    return StreamInfo(rate=float(rate) if rate else None, frame_count=stream.frames or None)


def _promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _cause(error: av.FFmpegError) -> str:
    match error:
        case av.ExitError():
            return "no data in time"
        case av.EOFError():
            return "it ends before the first picture"
    return error.strerror or redact(str(error))


def _unread(address: str) -> str:
    """Why a recording cannot be opened. What an MP4 holds is told by an index, often at its end."""
    with contextlib.suppress(OSError), Path(address).open("rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return "its index is missing: it was cut off, and an MP4 cannot be read without; copy it again"
    return "not a video"


def _network_error(url: str) -> str | None:
    """What the network says of the server: of a failed RTSP connection FFmpeg only says `invalid data`."""
    parts = urlsplit(url)
    if parts.scheme not in ("rtsp", "rtsps") or parts.hostname is None:
        return None
    try:
        socket.create_connection((parts.hostname, parts.port or 554), timeout=2.0).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
