from __future__ import annotations

import asyncio
import gc
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame
from structlog.testing import capture_logs

from keepsight.streams.base import SourceError
from keepsight.streams.sources import open_source
from keepsight.streams.sources.container import Access, ContainerSource, Timeline
from keepsight.streams.sources.live import http as http_source
from keepsight.streams.sources.reading import Blindness
from keepsight.streams.types import Frame, Image
from tests.clips import CORNERS, grey_steps, set_display_matrix

MakeClip = Callable[..., Path]


async def read_all(url: str | Path) -> list[Frame]:
    async with open_source(str(url)) as source:
        return [frame async for frame in source]


def corner_colours(image: Image) -> Image:
    """(2, 2, 3): the colour in the middle of each quarter."""
    height, width = image.shape[:2]
    return image[np.ix_([height // 4, height * 3 // 4], [width // 4, width * 3 // 4])]


def assert_close(image: Image, expected: Image) -> None:
    """Within 25 of 255: conversion to yuv and a lossy coder move colours a little."""
    assert np.abs(image.astype(int) - expected).max() <= 25


async def test_a_file_gives_every_frame_and_then_ends(make_clip: MakeClip) -> None:
    clip = make_clip(frames=30, draw=grey_steps)
    async with open_source(str(clip)) as source:
        assert (source.live, source.rate, source.frame_count) == (False, 25.0, 30)
        frames = [frame async for frame in source]
    assert [frame.index for frame in frames] == list(range(30))
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (48, 64, 3)
        assert_close(frame.image, grey_steps(frame.index, (48, 64)))


async def test_decoded_pictures_do_not_wait_for_the_garbage_collector(make_clip: MakeClip) -> None:
    clip = make_clip(frames=30)
    gc.collect()
    gc.disable()
    try:
        await read_all(clip)
        left = sum(isinstance(thing, VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 2  # at most what the decoder was holding


async def test_a_file_counts_time_from_its_first_frame(make_clip: MakeClip) -> None:
    frames = await read_all(make_clip("late.ts", rate=10))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(10)], abs=1e-3)
    assert all(frame.captured == frame.time and frame.clock == "file" for frame in frames)
    assert all(frame.decode_seconds > 0 for frame in frames)
    assert all(later.arrived >= earlier.arrived for earlier, later in pairwise(frames))


async def test_leaving_a_file_early_is_quick_and_clean(make_clip: MakeClip) -> None:
    async with open_source(str(make_clip(frames=200))) as source:
        async for frame in source:
            if frame.index == 2:
                break


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((0, 1, -1, 0), np.rot90(CORNERS, -1)),
        ((-1, 0, 0, -1), np.rot90(CORNERS, 2)),
        ((0, -1, 1, 0), np.rot90(CORNERS, 1)),
        ((-1, 0, 0, 1), CORNERS[:, ::-1]),
        ((1, 0, 0, -1), CORNERS[::-1]),
        ((0, 1, 1, 0), CORNERS.transpose(1, 0, 2)),
    ],
    ids=["clockwise", "upside down", "anticlockwise", "mirrored", "flipped", "transposed"],
)
async def test_a_turned_phone_video_is_shown_upright(
    make_clip: MakeClip, matrix: tuple[int, int, int, int], expected: Image
) -> None:
    clip = make_clip(frames=2)
    set_display_matrix(clip, *matrix)
    for frame in await read_all(clip):
        assert frame.size == ((64, 48) if matrix[0] == 0 else (48, 64))
        assert_close(corner_colours(frame.image), expected)


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuva420p", "bgra", "yuv444p", "gbrp10le"])
async def test_every_pixel_format_becomes_rgb(make_clip: MakeClip, pixels: str) -> None:
    (first, *_) = await read_all(make_clip("clip.mkv", codec="ffv1", pixels=pixels, frames=2))
    assert first.image.shape == (48, 64, 3)
    assert first.image.dtype == np.uint8
    assert_close(corner_colours(first.image), CORNERS)


@pytest.mark.parametrize("pixels", ["gray", "gray10le"])
async def test_grey_video_becomes_rgb_with_equal_channels(make_clip: MakeClip, pixels: str) -> None:
    clip = make_clip("clip.mkv", codec="ffv1", pixels=pixels, frames=3, draw=grey_steps)
    for frame in await read_all(clip):
        assert_close(frame.image, grey_steps(frame.index, (48, 64)))


@pytest.mark.parametrize("size", [(1, 1), (33, 51), (1, 64), (47, 2)])
async def test_odd_and_tiny_pictures_keep_their_size(make_clip: MakeClip, size: tuple[int, int]) -> None:
    frames = await read_all(make_clip("clip.mkv", codec="ffv1", pixels="bgra", size=size, frames=2))
    assert [frame.size for frame in frames] == [size, size]


async def test_a_picture_of_48_megapixels_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.jpg"), np.full((6000, 8000, 3), 90, np.uint8))
    (frame,) = await read_all(tmp_path / "large.jpg")
    assert frame.size == (6000, 8000)
    assert_close(frame.image[::1000, ::1000], np.full((6, 8, 3), 90, np.uint8))


async def test_a_truncated_file_gives_what_is_readable_and_a_warning(make_clip: MakeClip) -> None:
    clip = make_clip("clip.mkv", frames=100, options={"g": "10"}, draw=grey_steps)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    with capture_logs() as logs:
        frames = await read_all(clip)
    assert 40 < len(frames) < 80
    assert [frame.index for frame in frames] == list(range(len(frames)))
    (warning,) = logs
    assert (warning["event"], warning["log_level"]) == ("damaged video", "warning")
    assert warning["frames_read"] == len(frames)
    assert warning["seconds_promised"] == pytest.approx(4.0)


def overwrite_packets(clip: Path, which: slice) -> None:
    with av.open(str(clip)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(clip.read_bytes())
    for at, size in packets[which]:
        data[at : at + size] = b"\xff" * size
    clip.write_bytes(data)


async def test_broken_packets_are_skipped_and_counted(make_clip: MakeClip) -> None:
    clip = make_clip(frames=20, options={"g": "1", "bf": "0"}, draw=grey_steps)
    overwrite_packets(clip, slice(8, 11))
    source = ContainerSource(str(clip), live=False)
    with capture_logs() as logs:
        async with source:
            frames = [frame async for frame in source]
    assert source.broken == 3
    assert len(frames) == 17
    assert logs[0]["broken_packets"] == 3
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    assert_close(frames[-1].image, grey_steps(19, (48, 64)))


class Impatient(ContainerSource):
    """Live, and opened in all the time that takes; then it waits for nothing."""

    def __init__(self, clip: Path) -> None:
        super().__init__(str(clip), live=True, access=Access(timeout_seconds=0.0))

    def _open_container(self) -> InputContainer:
        return av.open(self._address)


async def test_one_packet_that_cannot_be_decoded_is_no_reason_to_open_a_live_stream_again(
    make_clip: MakeClip,
) -> None:
    """Whatever passed since the last picture: a gap may be as long as we have patience."""
    clip = make_clip(frames=20, options={"g": "1", "bf": "0"})
    overwrite_packets(clip, slice(8, 9))
    assert sum(1 for _ in Impatient(clip).replay()) == 19


async def test_a_whole_file_is_read_without_a_warning(make_clip: MakeClip) -> None:
    with capture_logs() as logs:
        await read_all(make_clip(frames=100))
    assert logs == []


async def refusal(url: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        await read_all(url)
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_a_missing_file_is_named() -> None:
    assert await refusal("clip.mp4") == "clip.mp4: no such file"


async def test_a_recording_without_its_index_is_said_to_be_cut_off(
    make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    whole, cut = make_clip().read_bytes(), tmp_path / "cut.mp4"
    cut.write_bytes(whole[: whole.index(b"moov")])
    assert (await refusal(cut)).startswith(f"{cut}: its index is missing: it was cut off")


async def test_what_is_not_a_video_is_refused_in_one_line(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("this is not a video\n" * 50)
    empty.write_bytes(b"")
    assert await refusal(text) == f"{text}: not a video"
    assert await refusal(empty) == f"{empty}: not a video"


async def test_a_video_without_pictures_is_refused(make_clip: MakeClip) -> None:
    clip = make_clip("none.mkv", frames=0)
    assert await refusal(clip) == f"{clip}: it ends before the first picture"


async def test_a_video_whose_pictures_are_all_broken_is_refused(make_clip: MakeClip) -> None:
    clip = make_clip(frames=5)
    overwrite_packets(clip, slice(None))
    assert await refusal(clip) == f"{clip}: no picture in it can be decoded"


async def test_a_video_in_a_codec_that_nobody_knows_is_refused(make_clip: MakeClip) -> None:
    clip = make_clip()
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzz1"))
    assert (await refusal(clip)).startswith(f"{clip}: there is no decoder for its video")


async def test_a_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        sound.rate = 16_000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert await refusal(path) == f"{path}: no video in it, only audio"


async def test_an_unknown_scheme_is_refused_with_the_known_ones_and_without_the_password() -> None:
    message = await refusal("gopher://me:secret@host/clip?token=abc")
    assert message.startswith("gopher://me:***@host/clip?token=***: unknown scheme gopher; known: rtsp://, ")
    assert "test://" in message


@pytest.mark.parametrize("url", ["rtsp://me:se/cret@host/x", "rtsp://host:99999/x", "http://[::1/x"])
async def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    message = await refusal(url)
    assert message.startswith(f"{url[:4]}://: the host or port cannot be read; ")
    assert "cret" not in message


async def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert (await refusal("x" * 300 + ".mp4")).endswith(".mp4: File name too long")


def test_a_stream_without_times_is_timed_by_its_rate() -> None:
    timeline = Timeline(step=0.1)
    assert [timeline.place(None) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert timeline.place(50.0) == pytest.approx(0.3)
    assert timeline.place(50.1) == pytest.approx(0.4)


def test_what_is_not_seen_after_a_gap_is_waited_for_anew() -> None:
    blindness = Blindness(patience=30.0)
    assert [blindness.lasts(second) for second in (100.0, 115.0, 130.0, 131.0)] == [False, False, False, True]
    blindness.ends(patience=10.0)
    assert [blindness.lasts(second) for second in (200.0, 205.0, 210.0, 211.0)] == [False, False, False, True]
    blindness.ends(patience=10.0)
    assert [blindness.lasts(second) for second in (300.0, 308.0, 320.0, 329.0, 331.0)] == [False] * 4 + [True]


def test_time_rises_when_a_stream_repeats_itself_or_sets_its_clock_back() -> None:
    timeline = Timeline(step=0.1)
    times = [timeline.place(told) for told in (5.0, 5.1, 5.1, 5.05, 90.0, 0.0, 0.1)]
    assert all(later > earlier for earlier, later in pairwise(times))
    assert times[4:] == pytest.approx([85.0, 85.1, 85.2])


def placed(told: list[float], arrived: list[float], step: float = 0.1) -> list[float]:
    timeline = Timeline(step)
    return [timeline.place(*picture) for picture in zip(told, arrived, strict=True)]


def test_a_live_clock_that_is_set_ahead_leaves_no_gap_but_that_in_which_nothing_came() -> None:
    told = [5.0, 5.1, 5.2, 93_600.0, 93_600.1, 187_200.0]
    assert placed(told, [0.0, 0.1, 0.2, 0.3, 0.4, 60.4]) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 60.4])


def test_a_camera_of_one_picture_a_minute_keeps_its_times() -> None:
    minutes = [60.0 * index for index in range(9)]
    assert placed(minutes, minutes) == pytest.approx(minutes)
    bursts = [180.0 * (index // 3) for index in range(9)]  # segments of three pictures
    assert placed(minutes, bursts) == pytest.approx([0.0, *(60.0 * index + 0.1 for index in range(8))])


def test_a_recording_keeps_its_gaps() -> None:
    timeline = Timeline(step=0.1)
    assert [timeline.place(told) for told in (5.0, 5.1, 9000.0)] == pytest.approx([0.0, 0.1, 8995.0])


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """Serves the test's folder, and under /camera an MJPEG stream of six pictures. Gives its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Camera, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Camera(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/camera":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        for index in range(6):
            jpeg = cv2.imencode(".jpg", grey_steps(10 * index, (48, 64)))[1].tobytes()
            self.wfile.write(b"--picture\r\nContent-Type: image/jpeg\r\n")
            self.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg))
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


async def test_a_recording_over_http_is_read_to_its_end(make_clip: MakeClip, web_server: str) -> None:
    make_clip(frames=12, options={"movflags": "faststart"})
    assert len(await read_all(f"{web_server}/clip.mp4")) == 12


async def test_a_recording_that_the_server_does_not_have_is_an_error(web_server: str) -> None:
    assert (await refusal(f"{web_server}/no.mp4")).endswith("no.mp4: Server returned 404 Not Found")


async def test_an_mjpeg_camera_is_live_and_stamped_as_it_arrives(web_server: str) -> None:
    source = http_source(f"{web_server}/camera", 5.0)
    assert source.live
    async with source:
        frame = await anext(aiter(source))
    assert frame.clock == "arrival"
    assert frame.captured > 1_600_000_000


async def test_an_hls_play_list_is_played_at_its_own_speed(make_clip: MakeClip, web_server: str) -> None:
    make_clip("live.m3u8", frames=20, rate=50, options={"hls_list_size": "0", "g": "10"})
    source = http_source(f"{web_server}/live.m3u8", 5.0)
    started = time.monotonic()
    async with source:
        frames = [frame async for frame in source]
    assert source.live
    assert len(frames) + source.dropped == 20
    assert all(frame.arrived - started >= frame.time for frame in frames)


async def test_an_hls_encoder_that_begins_again_with_later_times_is_played_on_at_once(
    make_clip: MakeClip, web_server: str, tmp_path: Path
) -> None:
    make_clip("a.ts", frames=10)
    make_clip("b.ts", frames=10, options={"output_ts_offset": "3600"})
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    segments = "#EXTINF:0.4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:0.4,\nb.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "live.m3u8").write_text(head + segments)
    async with asyncio.timeout(10), http_source(f"{web_server}/live.m3u8", 5.0) as source:
        frames = [frame async for frame in source]
    assert len(frames) + source.dropped == 20
    assert 0.7 < frames[-1].time < 5.0, "what passed until the second segment came counts"
