"""RTSP against an independent server, GStreamer's, which is killed, frozen and started again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from keepsight.streams.base import Source
from keepsight.streams.sources import SourceStatus, open_source
from keepsight.streams.types import Frame
from tests.clips import grey_steps
from tests.peers.gate import Gate
from tests.peers.rtsp import RtspServer
from tests.peers.spoiling import Spoiler

from .filming import eventually

MakeClip = Callable[..., Path]
StartServer = Callable[..., RtspServer]


@pytest.fixture
def clip(make_clip: MakeClip) -> Path:
    return make_clip(frames=60, draw=grey_steps, options={"tune": "zerolatency", "g": "10"})


async def read(source: Source, count: int) -> list[Frame]:
    frames: list[Frame] = []
    async with asyncio.timeout(20):
        async for frame in source:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_a_camera_gives_frames_as_they_happen(clip: Path, rtsp_server: StartServer, over: str) -> None:
    async with open_source(rtsp_server(clip, over=over).url) as source:
        assert source.live
        frames = await read(source, 30)
    assert [frame.size for frame in frames] == [(48, 64)] * 30
    assert {frame.epoch for frame in frames} == {0}
    assert {frame.clock for frame in frames} <= {"rtcp", "arrival"}
    assert all(abs(frame.captured - time.time()) < 5 for frame in frames)
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_the_first_picture_of_a_camera_is_not_lost_to_probing(
    make_clip: MakeClip, rtsp_server: StartServer, over: str
) -> None:
    clip = make_clip(frames=250, options={"tune": "zerolatency", "g": "250", "sc_threshold": "0"})
    async with asyncio.timeout(5), open_source(rtsp_server(clip, over=over).url) as source:
        await read(source, 1)  # the next key frame comes ten seconds later


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_a_camera_that_was_killed_comes_back_by_itself(
    clip: Path, rtsp_server: StartServer, over: str
) -> None:
    server = rtsp_server(clip, over=over)
    statuses: list[SourceStatus] = []
    async with open_source(server.url, timeout_seconds=2.0, on_status=statuses.append) as source:
        before = await read(source, 5)
        server.kill()
        rtsp_server(clip, server.port, over=over)
        after = await read(source, 40)
    frames = before + after
    assert after[-1].epoch == 1
    assert statuses[-1] == SourceStatus("online", "", 1)
    assert any(status.state == "offline" for status in statuses)
    assert all(later.index > earlier.index for earlier, later in pairwise(frames))
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_a_camera_that_freezes_is_noticed_and_comes_back(
    clip: Path, rtsp_server: StartServer, over: str
) -> None:
    server = rtsp_server(clip, over=over)
    offline = asyncio.Event()

    def note(status: SourceStatus) -> None:
        if status.state == "offline":
            offline.set()

    async with open_source(server.url, timeout_seconds=2.0, on_status=note) as source:
        before = await read(source, 5)
        server.freeze()
        reading = asyncio.create_task(read(source, 60))
        async with asyncio.timeout(10):
            await offline.wait()
        server.kill()
        rtsp_server(clip, server.port, over=over)
        frames = before + await reading
    assert frames[-1].epoch == 1
    known = [frame.arrived for frame in frames if frame.epoch == 0]
    assert max(later - earlier for earlier, later in pairwise(known)) < 0.9  # no old picture in the silence


async def test_a_camera_that_is_not_there_is_reported_without_its_password(unused_tcp_port: int) -> None:
    told: asyncio.Queue[SourceStatus] = asyncio.Queue(1)
    url = f"rtsp://me:secret@127.0.0.1:{unused_tcp_port}/cam"
    source = open_source(url, timeout_seconds=1.0, on_status=told.put_nowait)
    assert source.url == f"rtsp://me:***@127.0.0.1:{unused_tcp_port}/cam"

    opening = asyncio.create_task(read_one(source))
    async with asyncio.timeout(10):
        status = await told.get()
    opening.cancel()
    assert status == SourceStatus("offline", "Connection refused", 0)


async def test_a_camera_that_wants_another_password_says_so(clip: Path, rtsp_server: StartServer) -> None:
    server = rtsp_server(clip, login="me:secret")
    right, wrong = (server.url.replace("//", f"//me:{password}@") for password in ("secret", "hidden"))
    async with open_source(right) as source:
        await read(source, 1)
    told: asyncio.Queue[SourceStatus] = asyncio.Queue()
    opening = asyncio.create_task(read_one(open_source(wrong, on_status=told.put_nowait)))
    async with asyncio.timeout(10):
        status = await told.get()
    opening.cancel()
    assert status.state == "offline"
    assert "check user and password" in status.reason
    assert "hidden" not in status.reason


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_pictures_are_stamped_by_the_cameras_clock_once_it_has_told_it(
    clip: Path, rtsp_server: StartServer, over: str
) -> None:
    async with asyncio.timeout(30), open_source(rtsp_server(clip, over=over).url) as source:
        async for frame in source:
            if frame.clock == "rtcp":
                break
    arrived = time.time() - (time.monotonic() - frame.arrived)
    assert abs(frame.captured - arrived) < 5  # a buffer's worth, and what a busy machine adds


@pytest.mark.parametrize(
    ("codec", "named", "rate"), [("libx265", "h265", 25), ("libx264", "h264", 10)], ids=["codec", "rate"]
)
async def test_a_camera_that_comes_back_with_another_video_goes_on(
    clip: Path, make_clip: MakeClip, rtsp_server: StartServer, codec: str, named: str, rate: int
) -> None:
    options = {"tune": "zerolatency", "x265-params": "keyint=10:log-level=none"}
    options = options if named == "h265" else {"tune": "zerolatency", "g": "10"}
    other = make_clip("other.mkv", frames=40, size=(96, 128), codec=codec, rate=rate, options=options)
    server = rtsp_server(clip)
    async with asyncio.timeout(40), open_source(server.url, timeout_seconds=2.0) as source:
        frames = await read(source, 5)
        await asyncio.to_thread(server.restart, other, codec=named)
        while frames[-1].epoch == 0:
            frames += await read(source, 1)
        frames += await read(source, 30)
    assert {frame.size for frame in frames if frame.epoch == 0} == {(48, 64)}
    assert {frame.size for frame in frames if frame.epoch == 1} == {(96, 128)}
    assert frames[-1].epoch == 1
    assert all(later.index > earlier.index for earlier, later in pairwise(frames))
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    after = [frame for frame in frames if frame.epoch == 1]
    pace = (after[-1].time - after[0].time) / (after[-1].index - after[0].index)
    assert pace == pytest.approx(1 / rate, rel=0.1)


async def test_a_camera_that_writes_its_name_in_another_encoding_is_read(
    clip: Path, rtsp_server: StartServer
) -> None:
    said, named = b"s=Session streamed", "s=大门口的监控相机".encode("gbk")  # SDP (RFC 8866, 5.3)
    renamed: list[bytes] = []

    def rename(data: bytes) -> bytes:
        renamed.extend([said] if said in data else [])
        return data.replace(said, named)

    async with (
        asyncio.timeout(30),
        Gate(rtsp_server(clip).port, lambda: rename) as gate,
        open_source(f"rtsp://127.0.0.1:{gate.port}/clip") as source,
    ):
        await read(source, 5)
    assert renamed


async def read_one(source: Source) -> None:
    async with source:
        pass


async def test_a_camera_whose_pictures_cannot_be_decoded_is_opened_again(
    clip: Path, rtsp_server: StartServer
) -> None:
    share = 0.0
    statuses: list[SourceStatus] = []
    server = rtsp_server(clip)
    async with asyncio.timeout(30), Gate(server.port, lambda: Spoiler(lambda: share)) as gate:
        url = f"rtsp://127.0.0.1:{gate.port}/clip"
        async with open_source(url, timeout_seconds=1.0, on_status=statuses.append) as source:
            await read(source, 5)
            share = 1.0
            reading = asyncio.create_task(read(source, 40))
            await eventually(lambda: any(status.state == "offline" for status in statuses))
            share = 0.0
            frames = await reading
    assert frames[-1].epoch == 1
    (reason,) = {status.reason for status in statuses if status.state == "offline"}
    # chance decides whether what comes can still be taken for pictures
    assert reason in ("what comes cannot be decoded", "no data in time")
