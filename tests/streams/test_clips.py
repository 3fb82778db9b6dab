"""Clips of events: what is in them, how long, who can play them, what is kept, and what a full disk does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import pytest

from keepsight.streams.base import SinkError
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.sinks import clip_files, open_sink
from keepsight.streams.sinks.clip_files import ClipFiles
from keepsight.streams.sinks.clips_target import ClipsTarget, parse_clips
from keepsight.streams.sinks.pictures import place
from keepsight.streams.types import EventKind
from tests.logs import Log

from .filming import eventually
from .results import result

SIZE = (120, 160)
RATE = 10
NeedProgram = Callable[[str], str]


async def film(
    url: str, events: dict[int, EventKind], frames: int = 100, sizes: dict[int, tuple[int, int]] | None = None
) -> None:
    """Write frames to a clips sink, 10 a second in stream time; `events` and `sizes` by frame."""
    size = SIZE
    async with open_sink(url, camera="door") as sink:
        for index in range(frames):
            size = (sizes or {}).get(index, size)
            told = (events[index],) if index in events else ()
            await sink.write(result(index, size=size, time=index / RATE, events=told))


def clips(folder: Path) -> list[Path]:
    return sorted((folder / "door").glob("*.mp4"))


def notes(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "door").glob("*.json"))]


def pictures_in(folder: Path) -> int:
    return len(list(folder.glob("*.png")))


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


async def test_a_clip_has_what_was_before_and_after_the_event(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}?pre=2&post=3", {50: "lost"})
    (clip,) = clips(tmp_path)
    seen = times(clip)
    (note,) = notes(tmp_path)
    assert note["kind"] == "lost"
    assert note["clip"] == clip.name
    assert clip.name == "20231114T221325Z-lost-1.mp4"
    at = note["at"]
    assert isinstance(at, float)
    assert 2.0 <= at < 3.05, "from the key frame before the two seconds on"
    assert seen[0] == 0.0
    assert seen[-1] == pytest.approx(at + 3, abs=0.01)
    assert len(seen) == round(seen[-1] * RATE) + 1, "no picture is missing"


async def test_the_picture_of_the_event_lies_beside_it(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}", {30: "new"})
    (note,) = notes(tmp_path)
    picture = cv2.imread(str(tmp_path / "door" / str(note["snapshot"])))
    assert picture is not None
    assert picture.shape == (*SIZE, 3)
    assert note["camera"] == "door"
    assert note["index"] == 30
    middle = picture[50:70, 110:130].mean((0, 1))[::-1]  # in the disc that stays, which is drawn orange
    assert middle[1] == pytest.approx(170, abs=15)


async def test_events_that_follow_each_other_are_one_clip(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}?pre=1&post=1", {20: "new", 28: "zone_enter", 60: "lost"})
    assert [clip.name.split("-")[1] for clip in clips(tmp_path)] == ["new", "lost"]
    told = notes(tmp_path)
    assert [note["clip"] for note in told] == [clips(tmp_path)[0].name] * 2 + [clips(tmp_path)[1].name]
    assert told[1]["at"] - told[0]["at"] == pytest.approx(0.8)  # type: ignore[operator]
    assert times(clips(tmp_path)[0])[-1] == pytest.approx(told[1]["at"] + 1, abs=0.01)  # type: ignore[operator]


async def test_what_goes_on_and_on_is_cut_into_clips_of_bounded_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepsight.streams.sinks.clips.LONGEST_CLIP_SECONDS", 4.0)
    await film(f"clips:{tmp_path}?pre=1&post=1", dict.fromkeys(range(15, 90, 5), "zone_enter"))
    lengths = [times(clip)[-1] for clip in clips(tmp_path)]
    assert len(lengths) >= 3
    assert max(lengths) <= 4.0


async def test_only_events_that_were_asked_for_are_recorded(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}/a", {20: "moving", 40: "occluded"}, frames=60)
    await film(f"clips:{tmp_path}/b?events=moving", {20: "moving", 40: "new"}, frames=60)
    assert clips(tmp_path / "a") == []
    assert [note["kind"] for note in notes(tmp_path / "b")] == ["moving"]


async def test_a_clip_ends_where_the_pictures_change_their_size(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}?pre=1&post=5", {30: "new", 45: "lost"}, sizes={40: (60, 80)})
    first, second = clips(tmp_path)
    assert times(first)[-1] < 2.5
    with av.open(str(second)) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (60, 80)


async def test_what_lies_before_a_long_gap_is_not_in_the_clip(tmp_path: Path) -> None:
    async with open_sink(f"clips:{tmp_path}?pre=2&post=2", camera="door") as sink:
        for index in range(60):
            time = index / RATE + (1000 if index >= 30 else 0)
            await sink.write(
                result(index, size=SIZE, time=time, events=("new",) if index in (25, 33) else ())
            )
    first, second = clips(tmp_path)
    assert times(first)[-1] < 3.5
    assert times(second)[-1] == pytest.approx(2.3, abs=0.01)


async def test_a_clip_is_finished_when_the_run_ends_and_its_last_event_is_told_once(tmp_path: Path) -> None:
    async with open_sink(f"clips:{tmp_path}", camera="door") as sink:
        for index in range(20):
            await sink.write(result(index, size=SIZE, time=index / RATE))
        last = result(20, size=SIZE, time=2.0, events=("lost",))
        await sink.write(last)
        await sink.write(replace(last, events=(), closing=True))
    assert len(notes(tmp_path)) == 1
    assert len(times(clips(tmp_path)[0])) == 21


async def test_ffprobe_and_gstreamer_read_a_clip(need_program: NeedProgram, tmp_path: Path) -> None:
    probe, launch = need_program("ffprobe"), need_program("gst-launch-1.0")
    await film(f"clips:{tmp_path}?pre=2&post=2", {40: "new"})
    (clip,) = clips(tmp_path)
    shown = "stream=codec_name,width,height,nb_read_frames:format=duration"
    asked = (probe, "-v", "error", "-count_frames", "-show_entries", shown, "-of", "json", str(clip))
    said = json.loads(await asyncio.to_thread(subprocess.check_output, asked))
    (stream,) = said["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 160, 120)
    assert int(stream["nb_read_frames"]) == len(times(clip))
    assert float(said["format"]["duration"]) == pytest.approx(times(clip)[-1] + 0.1, abs=0.02)
    pipeline = (
        f"filesrc location={clip} ! qtdemux ! h264parse ! avdec_h264 ! videoconvert ! pngenc ! multifilesink"
    )
    played = (launch, "-q", *pipeline.split(), f"location={tmp_path}/%03d.png")
    await asyncio.to_thread(subprocess.check_call, played)
    assert pictures_in(tmp_path) == len(times(clip))


async def test_a_clip_in_progress_can_be_played(tmp_path: Path) -> None:
    async with open_sink(f"clips:{tmp_path}?post=60", camera="door") as sink:
        for index in range(60):
            told: tuple[EventKind, ...] = ("new",) if index == 20 else ()
            await sink.write(result(index, size=SIZE, time=index / RATE, events=told))
        (clip,) = clips(tmp_path)
        (tmp_path / "killed.mp4").write_bytes(clip.read_bytes())
    assert len(times(tmp_path / "killed.mp4")) >= 50


async def test_viewers_and_clips_share_one_encode(tmp_path: Path) -> None:
    encoder = SharedEncoder("door")
    async with (
        open_sink(f"clips:{tmp_path}/a", encoder=encoder) as one,
        open_sink(f"clips:{tmp_path}/b", encoder=encoder) as other,
    ):
        for index in range(30):
            made = result(index, size=SIZE, time=index / RATE, events=("new",) if index == 15 else ())
            await asyncio.gather(one.write(made), other.write(made))
    assert encoder.encoded == 30
    assert clips(tmp_path / "a")[0].read_bytes() == clips(tmp_path / "b")[0].read_bytes()


def kept(folder: Path, ages: dict[str, float], *, age: float = 1e9, size: int = 10**9) -> set[str]:
    """Which of the files in a camera's folder are still there after tidying; `ages` in seconds, by name."""
    there = folder / "door"
    there.mkdir(parents=True)
    for name, old in ages.items():
        (there / name).write_bytes(b"x" * 1000)
        made = (there / name).stat().st_mtime - old
        os.utime(there / name, (made, made))
    ClipFiles(there, "door", age, size).open()
    return {path.name for path in there.iterdir()}


OLD = ("20260101T000000Z-new-1.mp4", "20260101T000000Z-new-1.1.jpg", "20260101T000000Z-new-1.1.json")
NEW = ("20260102T000000Z-zone_enter-12-2.mp4", "20260102T000000Z-zone_enter-12-2.1.json")


def test_recordings_that_are_too_old_are_removed_whole_and_nothing_else(tmp_path: Path) -> None:
    ages = {**dict.fromkeys(OLD, 1000.0), **dict.fromkeys(NEW, 10.0), "holiday.mp4": 9000.0}
    assert kept(tmp_path, ages, age=500) == {*NEW, "holiday.mp4"}


def test_the_oldest_of_too_many_recordings_are_removed(tmp_path: Path) -> None:
    ages = {**dict.fromkeys(OLD, 1000.0), **dict.fromkeys(NEW, 10.0), "holiday.mp4": 9000.0}
    assert kept(tmp_path / "a", ages, size=5000) == {*OLD, *NEW, "holiday.mp4"}
    assert kept(tmp_path / "b", ages, size=4999) == {*NEW, "holiday.mp4"}


def test_pieces_of_a_process_that_was_killed_are_removed_and_nobody_elses(tmp_path: Path) -> None:
    piece, fresh = f".{OLD[1]}.part", f".{NEW[1]}.part"
    ages = {piece: 100.0, fresh: 1.0, ".holiday.jpg.part": 9000.0, OLD[1]: 100.0}
    assert kept(tmp_path, ages) == {fresh, ".holiday.jpg.part", OLD[1]}


def test_a_file_that_cannot_be_placed_leaves_no_piece(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        place(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


async def test_what_grows_too_old_is_removed_while_no_frames_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepsight.streams.sinks.clips.TIDY_SECONDS", 0.05)
    old = tmp_path / "door" / OLD[0]
    async with asyncio.timeout(10), open_sink(f"clips:{tmp_path}?age=1d", camera="door"):
        old.write_bytes(b"x")
        os.utime(old, (0, 0))
        await eventually(lambda: not old.exists())


async def test_the_size_holds_while_events_go_on(tmp_path: Path) -> None:
    await film(f"clips:{tmp_path}?pre=0&post=0.5&size=0.03M", dict.fromkeys(range(10, 200, 10), "new"), 200)
    files = list((tmp_path / "door").iterdir())
    assert clips(tmp_path)
    assert sum(path.stat().st_size for path in files) <= 30_000


async def test_a_full_disk_is_one_warning_and_recording_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    full = True

    class Disk(clip_files.ShieldedFile):
        def write(self, data: bytes) -> int:
            if full:
                self._error = OSError(28, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(clip_files, "ShieldedFile", Disk)
    async with open_sink(f"clips:{tmp_path}?pre=1&post=1", camera="door") as sink:
        for index in range(120):
            full = index < 70
            told: tuple[EventKind, ...] = ("new",) if index in (20, 50, 90) else ()
            await sink.write(result(index, size=SIZE, time=index / RATE, events=told))
    assert log.warnings == ["clip not written"]
    assert [entry["event"] for entry in log.entries][-1] == "clips are written again"
    assert len(times(clips(tmp_path)[-1])) > 20


async def test_a_folder_that_goes_away_is_one_warning(tmp_path: Path, log: Log) -> None:
    async with open_sink(f"clips:{tmp_path}/c", camera="door") as sink:
        (tmp_path / "c" / "door").rmdir()
        for index in range(60):
            told: tuple[EventKind, ...] = ("new",) if index % 20 == 10 else ()
            await sink.write(result(index, size=SIZE, time=index / RATE, events=told))
    assert log.warnings == ["clip not written"]


async def test_a_folder_that_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written: Not a directory"):
        async with open_sink(f"clips:{tmp_path}/file/x", camera="door"):
            pass


def test_an_address_says_what_is_recorded_and_kept() -> None:
    url = "clips:/srv/clips?pre=2.5&post=30&events=lost,new&age=12h&size=1.5G"
    assert parse_clips(url) == ClipsTarget(
        url, Path("/srv/clips"), 2.5, 30.0, ("new", "lost"), 12 * 3600, 1_500_000_000
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("prae=3", "unknown option 'prae', did you mean 'pre'[?] Known: age, events, post, pre, size"),
        ("pre=-1", "pre=-1: is not a number of seconds from 0 to 60"),
        ("post=61", "post=61: is not a number of seconds from 0 to 60"),
        ("events=gone", "events=gone: unknown event 'gone'.* Known: .*line_cross"),
        ("events=", "unknown event ''"),
        ("age=7", "age=7: is not an amount above 0 with its unit, like 14d"),
        ("size=0G", "size=0G: is not an amount above 0 with its unit, like 5G"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        open_sink(f"clips:x?{options}")
