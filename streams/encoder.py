"""One low-latency encode of a camera's overlay, shared by all who watch it.

Every sink that shows a camera writes its results to the same `SharedEncoder`; each picture is drawn and
encoded once, and none while nobody reads:

    async with encoder:                      # each sink; the last to leave closes it
        await encoder.write(result)

    with encoder.read() as units:            # each viewer, also before the encoder is open
        async for unit in units: ...         # begins with a key frame; ends when the encoder is closed

A reader that is slow skips to a later key frame and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import structlog
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from .drawing import overlay
from .planes import BT601, LIMITED_RANGE, to_frame, to_i420
from .threads import Worker
from .trails import Pasts, seen
from .types import Clock, FrameRef, Image, Result

log = structlog.get_logger(__name__)

CLOCK_RATE = 90_000
"""Ticks of `Unit.pts` a second, as RTP counts video (RFC 6184, section 5.1)."""
GOP_SECONDS = 1.0
SOONEST_KEY_SECONDS = 0.25
"""Key frames that are asked for come no closer than this: many viewers that arrive together cost one."""
READER_UNITS = 60
"""Units that wait for one reader: two seconds at 30 frames/s."""
_NOMINAL_RATE = 30
_BITS_A_PIXEL = 4
"""Bits a second for each pixel at most: 3.7 Mbit/s at 1280×720."""
_ONE_THREAD_PIXELS = 1920 * 1088


@dataclass(frozen=True, slots=True)
class Unit:
    """One coded picture: an H.264 access unit (ITU-T H.264, Annex B), a key frame with its SPS and PPS.

    `pts` rises always, in ticks of 1/90000 s of the stream's presentation time; units are in the order of
    their presentation. `size` is (height, width), even. `frame`, `captured` and `clock` are those of the
    picture, see `Frame`.
    """

    data: bytes
    key: bool
    pts: int
    size: tuple[int, int]
    frame: FrameRef
    captured: float
    clock: Clock


class Units:
    """One reader's units: `async for unit in units`. What it has no time for is skipped, up to a key
    frame, and counted in `dropped`."""

    def __init__(self, capacity: int = READER_UNITS) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[Unit] = deque()
        self._started = self._synchronised = False
        self._closed = False
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Unit:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    def take(self) -> list[Unit]:
        """What waits now, for who does not want to wait."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def offer(self, unit: Unit) -> None:
        """Called on the event loop. Never waits."""
        if len(self._waiting) >= self._capacity:
            self._skip()
        self._synchronised = self._synchronised or unit.key
        if self._synchronised:
            self._started = True
            self._waiting.append(unit)
            self._news.set()
        elif self._started:
            self.dropped += 1

    def close(self) -> None:
        """No more units: what waits is still given."""
        self._closed = True
        self._news.set()

    def _skip(self) -> None:
        """Drop up to the newest key frame that waits; all, up to one that comes, where there is none."""
        keep = next((at for at in range(len(self._waiting) - 1, 0, -1) if self._waiting[at].key), None)
        lost = len(self._waiting) if keep is None else keep
        for _ in range(lost):
            self._waiting.popleft()
        self.dropped += lost
        self._synchronised = keep is not None


class Overlay:
    """Draws results one after the other; where hidden objects were last is remembered between them."""

    def __init__(self) -> None:
        self._pasts: Pasts = {}

    def note(self, result: Result) -> None:
        """Remember without drawing."""
        self._pasts = seen(self._pasts, result)

    def draw(self, result: Result) -> Image:
        self.note(result)
        return overlay(result, self._pasts)


class SharedEncoder:
    """See the module. `camera` names the stream; `readers` counts who reads, `encoded` the pictures.

    x264 in its fastest setting, without delay and without B-frames, constrained baseline, a key frame every
    `GOP_SECONDS`; quality gives way where a picture would need too many bits.
    """

    def __init__(self, camera: str = "", *, overlay: Overlay | None = None) -> None:
        self.camera = camera
        self.encoded = 0
        self._overlay = overlay or Overlay()
        self._worker = Worker(f"encoder {camera}".strip())
        self._users = 0
        self._readers: set[Units] = set()
        self._last: FrameRef | None = None
        self._key_wanted = False
        self._coding = _Coding()
        self._one_at_a_time = asyncio.Lock()

    @property
    def readers(self) -> int:
        return len(self._readers)

    async def __aenter__(self) -> Self:
        if self._users == 0:
            self._worker = await Worker(f"encoder {self.camera}".strip()).__aenter__()
            self._coding = _Coding()
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0:
            for reader in self._readers:
                reader.close()
            await self._worker.__aexit__(kind, error, trace)

    @contextmanager
    def read(self, capacity: int = READER_UNITS) -> Iterator[Units]:
        """Units from the next key frame on, which is asked for; at most `capacity` of them wait."""
        units = Units(capacity)
        self._readers.add(units)
        self.request_key_frame()
        try:
            yield units
        finally:
            self._readers.discard(units)
            units.close()

    def request_key_frame(self) -> None:
        """Make one of the next pictures a key frame, soon. Called on the event loop."""
        self._key_wanted = True

    async def write(self, result: Result) -> None:
        """Draw and encode a result for all readers, and return when they have it.

        A frame that was written before, by another sink or a second time, is left alone.
        """
        async with self._one_at_a_time:
            if self._last is not None and result.frame.ref <= self._last:
                return
            self._last = result.frame.ref
            if not self._readers:
                self._overlay.note(result)
                self._key_wanted = True  # what is left out now is missed by the pictures after it
                return
            wanted, self._key_wanted = self._key_wanted, True
            units = await self._worker.run(self._encode, result, wanted)
            self._key_wanted = not units or (wanted and not units[-1].key)
        self.encoded += len(units)
        for unit in units:
            for reader in self._readers:
                reader.offer(unit)

    def _encode(self, result: Result, key_wanted: bool) -> list[Unit]:
        """In the encoder's thread."""
        try:
            return self._coding.encode(self._overlay.draw(result), result, key_wanted)
        except av.FFmpegError as error:
            log.warning("picture not encoded", camera=self.camera, size=result.frame.size, reason=str(error))
            self._coding = _Coding(self._coding.pts)
            return []


class _Coding:
    """The codec for pictures of one size after the other; `pts` of the last unit."""

    def __init__(self, pts: int = -1) -> None:
        self.pts = pts
        self._codec: VideoCodecContext | None = None
        self._size = (0, 0)
        self._last_key = 0
        self._pace = _Pace()
        self._rate = 0.0

    def encode(self, picture: Image, result: Result, key_wanted: bool) -> list[Unit]:
        planes = to_i420(picture)
        size = (planes.shape[0] * 2 // 3, planes.shape[1])
        before, self.pts = self.pts, max(round(result.frame.time * CLOCK_RATE), self.pts + 1)
        self._pace.note((self.pts - before) / CLOCK_RATE)
        due = self._key_is_due(key_wanted)
        changed = size != self._size or (due and self._pace.is_far_from(self._rate))
        fresh = self._codec is None or changed
        if self._codec is None or fresh:
            self._size, self._rate = size, self._pace.rate
            self._codec = _open_codec(size, self._rate)
        frame = to_frame(planes)
        frame.pts, frame.time_base = self.pts, Fraction(1, CLOCK_RATE)
        if fresh or due:
            frame.pict_type = PictureType.I
            self._last_key = self.pts
        made, of = self._codec.encode(frame), result.frame
        return [
            Unit(bytes(packet), packet.is_keyframe, self.pts, size, of.ref, of.captured, of.clock)
            for packet in made
        ]

    def _key_is_due(self, wanted: bool) -> bool:
        passed = (self.pts - self._last_key) / CLOCK_RATE
        return passed >= (SOONEST_KEY_SECONDS if wanted else GOP_SECONDS)


class _Pace:
    """How many pictures come in a second, lately. x264 allots each its part of a second's bits, so it has to
    know: told 30 where 2 come, it makes each of a fifteenth of the bits there are."""

    def __init__(self) -> None:
        self._interval = 1 / _NOMINAL_RATE

    @property
    def rate(self) -> float:
        return min(60.0, max(1.0, 1 / self._interval))

    def note(self, seconds: float) -> None:
        """The time from one picture to the next."""
        self._interval += 0.2 * (min(seconds, 1.0) - self._interval)

    def is_far_from(self, rate: float) -> bool:
        return not rate / 1.5 < self.rate < rate * 1.5


def _open_codec(size: tuple[int, int], rate: float) -> VideoCodecContext:
    height, width = size
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.height, codec.width = size
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, CLOCK_RATE)
    codec.framerate = Fraction(rate).limit_denominator(100)
    codec.thread_count = 1 if height * width <= _ONE_THREAD_PIXELS else 2
    codec.colorspace, codec.color_range = BT601, LIMITED_RANGE
    bits = str(max(300_000, height * width * _BITS_A_PIXEL))
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": "24",
        "maxrate": bits,
        "bufsize": bits,
        "g": "100000",  # key frames are asked for by time, see `_key_is_due`
        "sc_threshold": "0",
        "forced-idr": "1",
    }
    return codec
