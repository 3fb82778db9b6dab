"""What we publish elsewhere, against ffmpeg as server, aiortc for WHIP; and HLS."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keepsight.streams import pushing
from keepsight.streams.base import SinkError
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.retry import Backoff
from keepsight.streams.sinks import open_sink, services
from keepsight.streams.sinks.live import LiveVideoSink
from keepsight.streams.sources import open_source
from tests.logs import Log

from .filming import eventually, filming
from .results import result

NeedProgram = Callable[[str], str]


@asynccontextmanager
async def listening(url: str, into: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """ffmpeg as a server for one publisher, which writes what it gets to a file."""
    options = ["-rtsp_flags", "listen"] if url.startswith("rtsp") else ["-listen", "1"]
    process = await asyncio.create_subprocess_exec(
        "ffmpeg", "-v", "error", "-y", "-probesize", "5000", "-analyzeduration", "100000", *options,
        "-i", url, "-c", "copy", "-flush_packets", "1",
        "-f", "matroska", "-cluster_time_limit", "200", str(into),
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def filled(path: Path, more_than: int = 5000) -> None:
    """Returns when a file has so many bytes."""
    await eventually(lambda: path.exists() and path.stat().st_size > more_than)


async def count_frames(path: Path) -> int:
    async with open_source(str(path)) as source:
        frames = [frame async for frame in source]
    assert {frame.size for frame in frames} == {(120, 160)}
    return len(frames)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "OUTPUTS", Backoff(0.2, 0.5))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
async def test_a_server_that_goes_and_comes_is_published_to_again(
    scheme: str, need_program: NeedProgram, tmp_path: Path, unused_tcp_port: int, log: Log
) -> None:
    need_program("ffmpeg")
    url = f"{scheme}://127.0.0.1:{unused_tcp_port}/live/door"
    first, second = tmp_path / "first.mkv", tmp_path / "second.mkv"
    async with asyncio.timeout(60), open_sink(url) as sink, filming(sink):
        async with listening(url, first) as server:
            await filled(first, 20_000)
            server.kill()
        async with listening(url, second) as server:
            await filled(second)
            server.send_signal(signal.SIGINT)
            await server.wait()
    assert await count_frames(first) > 10
    assert await count_frames(second) > 10


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
async def test_a_server_that_freezes_costs_a_process_and_not_the_run(
    scheme: str,
    need_program: NeedProgram,
    tmp_path: Path,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    need_program("ffmpeg")
    url = f"{scheme}://me:secret@127.0.0.1:{unused_tcp_port}/live/door"
    plain = url.replace("me:secret@", "")
    monkeypatch.setattr(services, "_COMMAND", (services.sys.executable, "-c", IMPATIENT))
    encoder = SharedEncoder("door")
    frozen, after = tmp_path / "frozen.mkv", tmp_path / "after.mkv"
    async with (
        asyncio.timeout(90),
        open_sink(url, encoder=encoder) as sink,
        filming(sink, size=(480, 640), noisy=True),
    ):
        async with listening(plain, frozen) as server:
            await filled(frozen)
            server.send_signal(signal.SIGSTOP)
            encoded = encoder.encoded
            await eventually(lambda: "took nothing" in str(log.entries))
            assert encoder.encoded > encoded  # the camera went on
            server.kill()
        async with listening(plain, after):
            await filled(after)
    assert "secret" not in str(log.entries)


IMPATIENT = """
import sys
from keepsight.streams import pushing
pushing.PATIENCE_SECONDS = 2
sys.exit(pushing.main())
"""


async def test_the_process_ends_by_itself_where_nobody_watches_it(unused_tcp_port: int) -> None:
    """A server that accepts and says nothing; the process's parent does not care."""
    silent = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", unused_tcp_port)
    encoder = SharedEncoder()
    pipe = asyncio.subprocess.PIPE
    async with silent, asyncio.timeout(30), encoder:
        process = await asyncio.create_subprocess_exec(services.sys.executable, "-c", IMPATIENT, stdin=pipe)
        assert process.stdin is not None
        url = f"rtsp://127.0.0.1:{unused_tcp_port}/door"
        process.stdin.write(pushing.greeting(url, "rtsp", {"rtsp_transport": "tcp"}))
        with encoder.read() as units:
            await encoder.write(result(0, size=(120, 160)))
            process.stdin.write(pushing.record(await anext(units)))
        assert await process.wait() == -signal.SIGALRM


async def test_pictures_of_another_size_are_published_anew(
    need_program: NeedProgram, tmp_path: Path, unused_tcp_port: int, log: Log
) -> None:
    need_program("ffmpeg")
    url = f"rtsp://127.0.0.1:{unused_tcp_port}/door"
    first, second = tmp_path / "first.mkv", tmp_path / "second.mkv"
    async with asyncio.timeout(60), open_sink(url) as sink:
        async with listening(url, first), filming(sink):
            await filled(first)
        async with listening(url, second), filming(sink, size=(240, 320), epoch=1):
            await filled(second)
    async with open_source(str(second)) as source:
        assert {frame.size async for frame in source} == {(240, 320)}


async def test_what_is_published_by_whip_arrives(unused_tcp_port: int, log: Log) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    async with asyncio.timeout(40), open_sink(f"whip://:secret@{at}") as sink, filming(sink):
        await asyncio.sleep(0.5)  # nobody is there yet
        async with open_source(f"whip-server://:secret@{at}") as source:
            sizes = [frame.size async for frame in upto(source, 10)]
        async with open_source(f"whip-server://:secret@{at}") as source:
            sizes += [frame.size async for frame in upto(source, 10)]
    assert set(sizes) == {(120, 160)}
    assert "secret" not in str(log.entries)


async def upto(source: object, count: int) -> AsyncIterator[object]:
    async for frame in source:  # type: ignore[attr-defined]
        yield frame
        count -= 1
        if not count:
            return


async def probe(path: Path) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    (stream,) = json.loads(said)["streams"]
    return dict(stream)


async def test_hls_keeps_its_newest_segments_and_is_played(need_program: NeedProgram, tmp_path: Path) -> None:
    need_program("ffprobe")
    folder = tmp_path / "made" / "live"
    encoder = SharedEncoder("door")
    async with asyncio.timeout(60), open_sink(f"hls:{folder}", encoder=encoder) as sink:
        for index in range(5 * 40):  # forty seconds as fast as it goes
            await sink.write(result(index, size=(120, 160), time=index / 5))
            await asyncio.sleep(0)
        playlist = (folder / "live.m3u8").read_text()
        assert "#EXT-X-ENDLIST" not in playlist
        stream = await probe(folder / "live.m3u8")
        assert (stream["codec_name"], stream["width"]) == ("h264", 160)
    names = [line for line in playlist.splitlines() if line.startswith("segment")]
    assert len(names) == services.PLAYLIST_SEGMENTS
    assert len(list(folder.iterdir())) <= services.PLAYLIST_SEGMENTS + 5
    assert "#EXT-X-ENDLIST" in (folder / "live.m3u8").read_text()
    (folder / "mine.ts").touch()
    async with open_sink(f"hls:{folder}"):
        assert [path.name for path in folder.iterdir()] == ["mine.ts"]


class Shaky(services.Service):
    """Cannot serve at first, for `reason`."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("rtsp://there/door", SharedEncoder("door"))
        self.reason: Exception | None = reason
        self.failed, self.serves = asyncio.Event(), asyncio.Event()

    async def _serve(self) -> None:
        if self.reason is not None:
            reason, self.reason = self.reason, None
            self.failed.set()
            raise reason
        self.serves.set()
        await asyncio.Event().wait()


async def test_what_the_system_refuses_for_a_moment_is_tried_again(log: Log) -> None:
    service = Shaky(OSError(errno.EMFILE, "Too many open files"))
    async with asyncio.timeout(10), LiveVideoSink(service.url, SharedEncoder(), service) as sink:
        await service.serves.wait()
        await sink.write(result(0))
    assert [(entry["event"], entry["reason"]) for entry in log.entries] == [
        ("output interrupted", "Too many open files")
    ]


async def test_an_output_that_has_ended_by_a_mistake_of_ours_is_not_written_to_in_silence() -> None:
    service = Shaky(KeyError("mistake"))
    async with asyncio.timeout(10), LiveVideoSink(service.url, SharedEncoder(), service) as sink:
        await service.failed.wait()
        with pytest.raises(KeyError, match="mistake"):
            await sink.write(result(0))


def count_segments(folder: Path) -> int:
    return len(list(folder.glob("*.ts")))


@pytest.mark.parametrize(("interval", "longest"), [(0.2, services.GAP_SECONDS), (30.0, 600.0)])
async def test_no_hls_segment_is_as_long_as_the_gap_before_the_next_picture(
    tmp_path: Path, interval: float, longest: float, log: Log
) -> None:
    """A camera that was away for an hour, and one that sends a picture every half minute."""
    given = [*(index * interval for index in range(20)), *(3600 + index * interval for index in range(20))]
    async with asyncio.timeout(30), open_sink(f"hls:{tmp_path}") as sink:
        for index, time in enumerate(given):
            await sink.write(result(index, size=(120, 160), time=time))
            await asyncio.sleep(0)
            if (tmp_path / "live.m3u8").exists():
                assert "#EXT-X-ENDLIST" not in (tmp_path / "live.m3u8").read_text(), "players would leave"
    playlist = (tmp_path / "live.m3u8").read_text()
    assert playlist.endswith("\n#EXT-X-ENDLIST\n")
    lengths = [float(length) for length in re.findall(r"#EXTINF:([\d.]+)", playlist)]
    assert interval * 0.9 < max(lengths) <= longest
    assert int(re.findall(r"#EXT-X-TARGETDURATION:(\d+)", playlist)[0]) <= longest
    assert "#EXT-X-DISCONTINUITY\n" in playlist or interval > 1, "those of the slow camera may have left it"
    assert count_segments(tmp_path) <= services.PLAYLIST_SEGMENTS + 4
    assert [entry["event"] for entry in log.entries] == ["output online"]


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written"):
        async with open_sink(f"hls:{tmp_path}/file/live"):
            pass
