"""What takes coded pictures elsewhere: to a server, or into a folder. It never gives up."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeGuard, cast

import av
import structlog

from ..base import SinkError, redact
from ..encoder import CLOCK_RATE, SharedEncoder, Unit, Units
from ..muxing import Muxer
from ..pushing import CONNECTED, PATIENCE_SECONDS, greeting, record
from ..retry import OUTPUTS
from ..threads import Worker
from ..webrtc import peer
from ..webrtc.client import Endpoint, PeerError
from ..webrtc.peer import UnitTrack
from ..wording import refusal

log = structlog.get_logger(__name__)

FINISH_SECONDS = 2.0
"""How long a service may take for its end."""
_COMMAND = (sys.executable, "-m", "keepsight.streams.pushing")


class Interrupted(Exception):  # noqa: N818
    """A service has to begin again. The message says why, in a few words without a password."""


class Service(ABC):
    """Takes units as long as it is entered. Whatever interrupts it, it begins again, with growing pauses."""

    def __init__(self, url: str, encoder: SharedEncoder) -> None:
        self.url = redact(url)
        self._encoder = encoder
        self._failures = 0
        self._online = False
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._go_on(), name=f"sink {self.url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait({self._running}, timeout=FINISH_SECONDS)

    async def _go_on(self) -> None:
        while True:
            try:
                await self._serve()
                pause = 0.0
            except Interrupted as reason:
                pause = self._interrupted(str(reason))
            except OSError as error:  # for a moment too few files, too little memory, too many processes
                pause = self._interrupted(error.strerror or str(error))
            await asyncio.sleep(pause)

    def _interrupted(self, reason: str) -> float:
        """How many seconds to wait before it begins again."""
        pause = OUTPUTS.delay(self._failures, random.random())
        self._failures += 1
        self._online = False
        log.warning("output interrupted", sink=self.url, reason=reason, again_in=round(pause, 1))
        return pause

    def check(self) -> None:
        """Raises what it has ended with, though it never should."""
        if self._running is not None and self._running.done():
            self._running.result()

    @abstractmethod
    async def _serve(self) -> None:
        """Until it is over; then it begins again. Raises Interrupted. Cancelled, it finishes in order."""

    def _works(self) -> None:
        """The units are being taken."""
        if not self._online:
            log.info("output online", sink=self.url)
        self._online = True
        self._failures = 0


class Push(Service):
    """Publishes to an RTSP or RTMP server, in a process of its own."""

    def __init__(self, url: str, encoder: SharedEncoder, format_: str, options: dict[str, str]) -> None:
        super().__init__(url, encoder)
        self._greeting = greeting(url, format_, options)

    async def _serve(self) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,  # Ctrl-C is for us
        )
        assert process.stdin is not None
        watching = asyncio.create_task(self._watch(process))
        try:
            await self._feed(process.stdin, watching)
            process.stdin.close()
            raise Interrupted(await watching)
        except asyncio.CancelledError:
            process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS / 2):
                    await process.wait()
            raise
        finally:
            watching.cancel()
            if process.returncode is None:
                process.kill()

    async def _feed(self, told: asyncio.StreamWriter, ended: asyncio.Task[str]) -> None:
        """Until the process has ended, or the pictures get another size."""
        told.write(self._greeting)
        size = None
        with self._encoder.read() as units:
            ended.add_done_callback(lambda _: units.close())
            async for unit in units:
                size = size or unit.size
                if ended.done() or unit.size != size:
                    return
                told.write(record(unit))
                with suppress(ConnectionError):  # it has ended, and `ended` will say why
                    await told.drain()

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        """Why the process ended."""
        assert process.stdout is not None
        assert process.stderr is not None
        if await process.stdout.readline() == CONNECTED:
            self._works()
        said = (await process.stderr.read(1000)).decode("utf-8", "replace").strip()
        code = await process.wait()
        if code == -signal.SIGALRM:
            return f"the server took nothing for {PATIENCE_SECONDS} s"
        if said:
            return redact(said.splitlines()[-1])
        return "it crashed" if code else "the pictures changed their size"


class WhipPush(Service):
    """Publishes by WHIP (RFC 9725)."""

    def __init__(self, url: str, encoder: SharedEncoder) -> None:
        super().__init__(url, encoder)
        self._endpoint = Endpoint.of(url)

    async def _serve(self) -> None:
        async with AsyncExitStack() as exits:
            track = UnitTrack(self._encoder)
            try:
                connection = await self._endpoint.publish(track, exits, PATIENCE_SECONDS)
            except PeerError as error:
                raise Interrupted(str(error)) from None
            connection.on("connectionstatechange", lambda: self._look(connection.connectionState))
            raise Interrupted(await peer.until_ended(connection, lambda: track.readyState != "live"))

    def _look(self, state: str) -> None:
        if state == "connected":
            self._works()


SEGMENT_SECONDS = 2
PLAYLIST_SEGMENTS = 6
GAP_SECONDS = 10
"""Where no picture came for longer, a segment ends and a discontinuity follows: a segment that went on over a
camera's outage would be as long as that, and players wait for its length before they look for more."""
PLAYLIST = "live.m3u8"
_SEGMENTS = "segment-*.ts"
_UNLISTED_SEGMENTS = 2
"""So many are kept for those who still play them after they have left the list."""


def follows(unit: Unit | None, last: Unit, usual: int) -> TypeGuard[Unit]:
    """Whether a unit goes into the same stretch as the one before it. `usual`: the ticks between the two
    before: a camera of one picture in half a minute has no gaps."""
    longest = max(GAP_SECONDS * CLOCK_RATE, 2 * usual)
    return unit is not None and unit.size == last.size and unit.pts - last.pts <= longest


class Hls(Service):
    """A live HLS play list (RFC 8216) in a folder, `live.m3u8`, and its newest segments; older are removed.

    What an earlier run left in the folder under these names is removed at the beginning.
    """

    def __init__(self, folder: Path, encoder: SharedEncoder) -> None:
        super().__init__(f"hls:{folder}", encoder)
        self._folder = folder
        self._worker = Worker(f"sink {self.url}")
        self._units: Units | None = None
        self._ending, self._written = False, asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._worker.__aenter__()
        try:
            await self._worker.run(self._clear)
        except OSError as error:
            await self._worker.__aexit__(None, None, None)
            raise SinkError(f"{self.url}: cannot be written: {refusal(error)}") from None
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._write_what_waits()
        await super().__aexit__(kind, error, trace)
        with suppress(OSError):
            await self._worker.run(self._end)
        await self._worker.__aexit__(kind, error, trace)

    async def _write_what_waits(self) -> None:
        """Let the last pictures come into the list, as far as there is time for it."""
        self._ending = True
        if self._units is not None:
            self._units.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS / 2):
                    await self._written.wait()

    async def _serve(self) -> None:
        with self._encoder.read() as units:
            self._units = units
            unit, usual = await anext(units, None), 0
            while unit is not None:
                unit, usual = await self._write_stretch(unit, units, usual)
            if self._ending:
                self._written.set()
                await asyncio.Event().wait()  # until it is cancelled
            raise Interrupted("the encoder was closed")

    async def _write_stretch(self, first: Unit, units: Units, usual: int) -> tuple[Unit | None, int]:
        """Write a key frame and what follows it closely. What the next stretch begins with, a key frame too
        (after a gap and at another size the encoder makes one), and how many ticks after the last."""
        try:
            muxer = await self._worker.run(self._open, first)
            self._works()
            last, unit = first, cast(Unit | None, first)
            try:
                while follows(unit, last, usual):
                    await self._worker.run(muxer.write, unit.data, unit.pts, unit.key)
                    usual = usual if unit is first else unit.pts - last.pts
                    last, unit = unit, await anext(units, None)
            finally:
                await asyncio.shield(self._worker.run(muxer.__exit__, None, None, None))
        except (OSError, av.FFmpegError) as error:
            raise Interrupted(error.strerror or str(error)) from None
        return unit, unit.pts - last.pts if unit else 0

    def _clear(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in (self._folder / PLAYLIST, *self._folder.glob(_SEGMENTS)):
            left.unlink(missing_ok=True)
        probe = self._folder / f".{PLAYLIST}"
        probe.touch()
        probe.unlink()

    def _drop_old(self) -> None:
        """FFmpeg forgets at the end of a stretch which segments it was to remove."""
        written = sorted(self._folder.glob(_SEGMENTS), key=lambda path: (len(path.name), path.name))
        for path in written[: -PLAYLIST_SEGMENTS - _UNLISTED_SEGMENTS]:
            path.unlink(missing_ok=True)

    def _end(self) -> None:
        """Tell players that no more comes. FFmpeg would at the end of each stretch, and they would leave."""
        if (self._folder / PLAYLIST).exists():
            with (self._folder / PLAYLIST).open("a", encoding="ascii") as playlist:
                playlist.write("#EXT-X-ENDLIST\n")

    def _open(self, unit: Unit) -> Muxer:
        flags = ["delete_segments", "independent_segments", "temp_file", "program_date_time", "omit_endlist"]
        if (self._folder / PLAYLIST).exists():
            self._drop_old()
            flags += ["append_list", "discont_start"]
        options = {
            "hls_time": str(SEGMENT_SECONDS),
            "hls_list_size": str(PLAYLIST_SEGMENTS),
            "hls_delete_threshold": str(_UNLISTED_SEGMENTS),
            "hls_flags": "+".join(flags),
            "hls_segment_filename": str(self._folder / _SEGMENTS.replace("*", "%05d")),
        }
        return Muxer(str(self._folder / PLAYLIST), "hls", options, unit.data)
