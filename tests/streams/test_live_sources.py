"""Streams of independent peers over RTMP, MPEG-TS, MJPEG and HLS, and capture times from sender reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keepsight.streams.base import Source
from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import open_source
from keepsight.streams.sources.sender_clock import SenderClock
from keepsight.streams.types import Frame, SourceStatus
from tests.clips import grey_steps

from .filming import eventually
from .results import result

NeedProgram = Callable[[str], str]
MakeClip = Callable[..., Path]
TS = ("-f", "mpegts")
FLV = ("-listen", "1", "-f", "flv")


class Sender:
    """ffmpeg plays a clip over and over to `url`, at its own rate; when it ends it is started again."""

    def __init__(self, clip: Path, url: str, *options: str) -> None:
        play = ("-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy")
        self._command = ("ffmpeg", "-v", "error", *play, *options, url)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Sender:
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sending.cancel()
        self.kill()
        await asyncio.gather(self._sending, return_exceptions=True)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _send(self) -> None:
        quiet = asyncio.subprocess.DEVNULL
        while True:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=quiet, stderr=quiet)
            await self._process.wait()
            await asyncio.sleep(1)


async def read(source: Source, count: int) -> list[Frame]:
    frames: list[Frame] = []
    async for frame in source:
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


@pytest.fixture
def clip(make_clip: MakeClip) -> Path:
    return make_clip(frames=60, draw=grey_steps, options={"tune": "zerolatency", "g": "10"})


@pytest.mark.parametrize("scheme", ["rtmp", "udp"])
async def test_a_stream_is_read_and_followed_when_it_returns(
    scheme: str, clip: Path, need_program: NeedProgram, unused_tcp_port: int
) -> None:
    need_program("ffmpeg")
    path, options = ("/live/door", FLV) if scheme == "rtmp" else ("", TS)
    url = f"{scheme}://127.0.0.1:{unused_tcp_port}{path}"
    statuses: list[SourceStatus] = []
    async with (
        asyncio.timeout(60),
        Sender(clip, url, *options) as sender,
        open_source(url, timeout_seconds=5.0, on_status=statuses.append) as source,
    ):
        frames = await read(source, 30)
        sender.kill()
        frames += await read(source, 60)
    assert {frame.size for frame in frames} == {(48, 64)}
    assert {frame.clock for frame in frames} == {"arrival"}
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    connected = scheme == "rtmp"  # nobody notices a sender of UDP that is back at once
    assert statuses[-1] == SourceStatus("online", "", int(connected))
    assert frames[-1].epoch == int(connected)


@asynccontextmanager
async def heard_and_seen(url: str) -> AsyncIterator[Callable[[], None]]:
    """MPEG-TS of video and sound; what is given ends the video, while its sound goes on."""
    video = ("-f", "rawvideo", "-pixel_format", "gray", "-video_size", "64x48", "-framerate", "25")
    sound = ("-re", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-c:v", "libx264", "-tune", "zerolatency")
    command = ("ffmpeg", "-v", "error", "-re", *video, "-i", "-", *sound, "-pix_fmt", "yuv420p", "-g", "5")
    pipe, quiet = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, *TS, url, stdin=pipe, stderr=quiet)
    pictures = process.stdin
    assert pictures is not None

    async def film() -> None:
        try:
            while True:
                pictures.write(bytes(64 * 48))
                await pictures.drain()  # it is read at its rate
        finally:
            pictures.close()

    filming = asyncio.create_task(film())
    try:
        yield filming.cancel
    finally:
        filming.cancel()
        process.kill()
        await process.wait()


async def test_a_camera_that_is_heard_but_no_longer_seen_is_opened_again(
    need_program: NeedProgram, unused_tcp_port: int
) -> None:
    need_program("ffmpeg")
    url = f"udp://127.0.0.1:{unused_tcp_port}"
    statuses: list[SourceStatus] = []
    source = open_source(url, timeout_seconds=3.0, on_status=statuses.append)
    async with asyncio.timeout(60), heard_and_seen(url) as end_video:
        reading = asyncio.create_task(read_for_ever(source))
        await eventually(lambda: any(status.state == "online" for status in statuses))
        end_video()
        await eventually(lambda: any(status.reason == "no video in time" for status in statuses))
        reading.cancel()
        await asyncio.wait({reading})


async def read_for_ever(source: Source) -> None:
    async with source:
        async for _ in source:
            pass


async def mjpeg(request: web.Request) -> web.StreamResponse:
    """What an IP camera or mjpg-streamer sends."""
    response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=next"})
    await response.prepare(request)
    for index in range(10_000):
        jpeg = cv2.imencode(".jpg", grey_steps(index, (48, 64)))[1].tobytes()
        head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        await response.write(head.encode() + jpeg + b"\r\n")
        await asyncio.sleep(0.04)
    return response


async def test_motion_jpeg_over_http_is_read() -> None:
    application = web.Application()
    application.router.add_get("/stream", mjpeg)
    async with asyncio.timeout(30), TestServer(application) as server:
        source = open_source(str(server.make_url("/stream")))
        assert source.live
        async with source:
            frames = await read(source, 30)
    assert frames[-1].size == (48, 64)
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


async def test_live_hls_is_read_at_its_own_rate(
    clip: Path, need_program: NeedProgram, tmp_path: Path
) -> None:
    need_program("ffmpeg")
    folder = tmp_path / "live"
    folder.mkdir()
    application = web.Application()
    application.router.add_static("/", folder)
    hls = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "5", "-hls_flags", "delete_segments")
    playlist = folder / "live.m3u8"
    async with asyncio.timeout(60), TestServer(application) as server, Sender(clip, str(playlist), *hls):
        await eventually(playlist.exists)
        async with open_source(str(server.make_url("/live.m3u8"))) as source:
            frames = await read(source, 40)
    assert frames[-1].size == (48, 64)
    assert frames[-1].arrived - frames[0].arrived > 0.8 * (frames[-1].time - frames[0].time)


async def test_capture_times_come_from_the_senders_reports(unused_tcp_port: int) -> None:
    """Our own server says that each picture was taken 100 s before it is sent."""
    url = f"127.0.0.1:{unused_tcp_port}/door"

    async def film() -> None:
        for index in range(100_000):
            made = result(index, size=(48, 64))
            taken = replace(made.frame, captured=time.time() - 100, clock="rtcp")
            await sink.write(replace(made, frame=taken))
            await asyncio.sleep(0.04)

    async with asyncio.timeout(30), open_sink(f"rtsp-server://{url}") as sink:
        filming = asyncio.create_task(film())
        async with open_source(f"rtsp://{url}") as source:
            frames = await read(source, 20)
        filming.cancel()
    assert frames[-1].clock == "rtcp"
    assert time.time() - frames[-1].captured == pytest.approx(100, abs=2)


async def test_a_camera_of_this_machine_is_opened_by_video4linux(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, object]]] = []
    told: asyncio.Queue[SourceStatus] = asyncio.Queue()

    def opened(address: str, **how: object) -> None:
        asked.append((address, how))
        raise av.FileNotFoundError(2, "No such file or directory", address)

    monkeypatch.setattr(av, "open", opened)
    source = open_source("/dev/video0", timeout_seconds=3.0, on_status=told.put_nowait)
    assert source.live
    opening = asyncio.create_task(read_for_ever(source))
    async with asyncio.timeout(10):
        status = await told.get()
    opening.cancel()
    await asyncio.wait({opening})
    assert status == SourceStatus("offline", "No such file or directory", 0)
    address, how = asked[0]
    assert (address, how["format"], how["options"]) == ("/dev/video0", "video4linux2", {})
    assert how["timeout"] == (3.0, 3.0)


def test_a_sender_whose_clock_was_never_set_is_not_believed() -> None:
    clock = SenderClock()
    clock._offset = 0.0  # its day is the first of 1970
    captured, said_by = clock.captured(5.0)
    assert said_by == "arrival"
    assert abs(captured - time.time()) < 1
