"""Sinks that write files: chosen by URL, refused in one line, complete when they are left."""

from __future__ import annotations

import asyncio
import errno
import json
import struct
import threading
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keepsight.streams import rle
from keepsight.streams.base import Sink, SinkError
from keepsight.streams.sinks import KNOWN_SINKS, coco, open_sink
from keepsight.streams.sinks.writer import WriterSink
from keepsight.streams.types import Result
from tests.logs import Log
from tests.peers.schemas import validator

from .results import disc, frame, result, track

URLS = ["out.mp4", "out.MKV", "out.jsonl", "masks:out", "coco:out.json", "mot:out.txt"]


def at(folder: Path, url: str) -> str:
    """`url` with its path inside `folder`."""
    scheme, colon, rest = url.rpartition(":")
    return f"{scheme}{colon}{folder / rest}"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def write_all(url: str, results: list[Result]) -> None:
    async with open_sink(url) as sink:
        for made in results:
            await sink.write(made)


@pytest.mark.parametrize(
    "url", ["out.avi", "gopher://host/x.mp4", "out", "", "masks:", "mp4", "coco:", "mot:"]
)
def test_a_sink_that_does_not_exist_is_answered_with_those_that_do(url: str) -> None:
    with pytest.raises(SinkError) as refused:
        open_sink(url)
    assert all(known in str(refused.value) for known in KNOWN_SINKS)


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("coco:out.txt", "coco:FILE.json"),
        ("coco:out.jsonl", "coco:FILE.json"),
        ("mot:out.mp4", "mot:FILE.txt"),
        ("mot:out", "mot:FILE.txt"),
    ],
)
def test_a_table_with_another_ending_is_refused_with_the_right_one(url: str, right: str) -> None:
    with pytest.raises(SinkError, match=f"{url}: .* write {right}$"):
        open_sink(url)


@pytest.mark.parametrize("url", ["out.mp4", "out.jsonl", "coco:out.json", "mot:out.txt"])
async def test_a_folder_where_a_file_is_to_be_is_refused_at_once(tmp_path: Path, url: str) -> None:
    (tmp_path / url.rpartition(":")[2]).mkdir()
    with pytest.raises(SinkError, match="cannot be written: Is a directory") as refused:
        await open_sink(at(tmp_path, url)).__aenter__()
    assert "\n" not in str(refused.value)
    assert files_in(tmp_path) == []


async def test_a_coco_file_that_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dir: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(coco, "TemporaryFile", full)
    with pytest.raises(SinkError, match="No space left"):
        await open_sink(f"coco:{tmp_path}/out.json").__aenter__()
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("url", URLS)
async def test_folders_that_do_not_exist_are_made(tmp_path: Path, url: str) -> None:
    await write_all(at(tmp_path / "a" / "b", url), [result(0), result(1)])
    assert list((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("url", URLS)
async def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("in the way")
    sink: Sink = open_sink(at(tmp_path / "file", url))
    with pytest.raises(SinkError, match="cannot be written") as refused:
        await sink.__aenter__()
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.jsonl", "mot:out.txt", "coco:out.json"])
async def test_a_full_disk_is_a_sink_error(tmp_path: Path, name: str) -> None:
    scheme, _, file = name.rpartition(":")
    (tmp_path / (f".{file}.part" if scheme == "coco" else file)).symlink_to("/dev/full")
    with pytest.raises(SinkError, match="No space left"):
        await write_all(at(tmp_path, name), [result(index) for index in range(5)])
    assert [file for file in contents(tmp_path) if not file.is_symlink()] == [], "nothing half is left"


@pytest.mark.parametrize("url", URLS)
async def test_a_run_without_frames_leaves_nothing_broken(tmp_path: Path, url: str) -> None:
    await write_all(at(tmp_path, url), [])
    claimed = {"out.jsonl": ["out.jsonl"], "mot:out.txt": ["out.txt"]}
    assert files_in(tmp_path) == claimed.get(url, [])


async def test_lines_hold_all_that_is_known_of_a_frame(tmp_path: Path) -> None:
    made = [result(0, events=("new",)), result(1)]
    await write_all(f"{tmp_path}/out.jsonl", made)
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["index"], second["index"]) == (0, 1)
    assert first["events"][0]["kind"] == "new"
    assert second["events"] == []
    for line in (first, second):
        validator("result").validate(line)
    for track_, said in zip(made[0].tracks, first["tracks"], strict=True):
        assert said["box"] == pytest.approx(track_.box, abs=1e-6)
        assert np.array_equal(rle.decode(said["mask"]), track_.mask)


async def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        await write_all(f"{tmp_path}/{name}.jsonl", [result(0, events=("new",)), result(1)])
        await write_all(f"masks:{tmp_path}/{name}", [result(0)])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a/00000.png").read_bytes() == (tmp_path / "b/00000.png").read_bytes()


async def test_an_existing_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("of an older run\n" * 100)
    await write_all(f"{tmp_path}/out.jsonl", [result(0)])
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("url", URLS)
async def test_what_an_earlier_run_wrote_stays_until_there_is_a_result(tmp_path: Path, url: str) -> None:
    await write_all(at(tmp_path, url), [result(0), result(1)])
    before = contents(tmp_path)
    await write_all(at(tmp_path, url), [])
    assert contents(tmp_path) == before != {}


async def test_masks_are_indexed_pngs_named_by_frame_index_in_the_frames_size(tmp_path: Path) -> None:
    await write_all(f"masks:{tmp_path}", [result(0), result(7, size=(31, 45))])
    assert files_in(tmp_path) == ["00000.png", "00007.png"]
    made = result(7, size=(31, 45))
    with av.open(str(tmp_path / "00007.png")) as container:
        picture = next(container.decode(video=0))
        assert picture.format.name == "pal8"
        indices, palette = picture.to_ndarray()
    expected = np.zeros((31, 45), np.uint8)
    for track_ in made.tracks:
        expected[track_.mask] = track_.object_id
    assert np.array_equal(indices, expected)
    assert len(palette) == 256
    shown = cv2.imread(str(tmp_path / "00007.png"))
    assert shown is not None
    assert shown[expected == 1][0].tolist() == [0, 0, 128]  # BGR


async def test_ids_above_255_are_written_as_16_bit_grey(tmp_path: Path) -> None:
    large = Result(frame(), (track(40_000, disc((48, 64), (0.5, 0.5), 0.3)),))
    await write_all(f"masks:{tmp_path}", [large])
    read = cv2.imread(str(tmp_path / "00000.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read, large.tracks[0].mask * np.uint16(40_000))


async def test_an_object_whose_id_no_png_can_hold_is_left_out_and_that_is_said_once(
    tmp_path: Path, log: Log
) -> None:
    left, right = np.zeros((48, 64), np.bool_), np.zeros((48, 64), np.bool_)
    left[:, :32], right[:, 32:] = True, True
    both = (track(65_535, left), track(65_536, right))
    await write_all(f"masks:{tmp_path}", [Result(frame(index), both) for index in range(3)])
    read = cv2.imread(str(tmp_path / "00002.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read, left * np.uint16(65_535))
    assert log.warnings == ["objects with higher ids are left out: a PNG holds no more"]


async def test_masks_of_an_older_run_are_not_mixed_with_the_new_ones(tmp_path: Path) -> None:
    await write_all(f"masks:{tmp_path}", [result(index) for index in range(5)])
    (tmp_path / "notes.png").write_bytes(b"not numbered")
    await write_all(f"masks:{tmp_path}", [result(0)])
    assert files_in(tmp_path) == ["00000.png", "notes.png"]


async def test_numbered_pictures_of_someone_else_are_never_touched(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "00003.png"), frame().image)
    before = (tmp_path / "00003.png").read_bytes()
    sink = open_sink(f"masks:{tmp_path}")
    with pytest.raises(SinkError, match="not written by Keepsight"):
        await sink.__aenter__()
    assert (tmp_path / "00003.png").read_bytes() == before
    assert files_in(tmp_path) == ["00003.png"]


async def test_a_png_is_well_formed(tmp_path: Path) -> None:
    await write_all(f"masks:{tmp_path}", [result(0)])
    data = (tmp_path / "00000.png").read_bytes()
    kinds, offset = [], 8
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kinds.append(data[offset + 4 : offset + 8])
        offset += length + 12
    assert kinds == [b"IHDR", b"tEXt", b"PLTE", b"IDAT", b"IEND"]
    assert offset == len(data)


async def test_the_closing_of_a_live_run_is_a_line_without_tracks_and_no_picture(
    tmp_path: Path,
) -> None:
    written = [result(0), replace(result(0, events=("end",)), closing=True)]
    for url in URLS:
        await write_all(at(tmp_path, url), written)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(len(line["tracks"]), len(line["events"])) for line in lines] == [(2, 0), (0, 1)]
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 1


class HangingWriter:
    """An output whose disk answers no more."""

    writes_events = False

    def __init__(self) -> None:
        self.answers = threading.Event()

    def open(self) -> None:
        pass

    def write(self, result: Result) -> None:
        pass

    def close(self) -> None:
        self.answers.wait()


async def test_an_output_that_hangs_does_not_hold_a_cancelled_run() -> None:
    writer = HangingWriter()
    opened = asyncio.Event()

    async def run() -> None:
        async with WriterSink("hanging", writer):
            opened.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await opened.wait()
    running.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await running
    writer.answers.set()


async def test_a_coco_file_of_a_video_names_frames_and_tracks(tmp_path: Path) -> None:
    peer = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    hidden = track(3, np.zeros((48, 64), np.bool_), state="occluded")
    made = [result(4), replace(result(5), tracks=(*result(5).tracks, hidden))]
    await write_all(f"coco:{tmp_path}/out.json", made)
    read = peer.COCO(str(tmp_path / "out.json"))
    assert [picture["file_name"] for picture in read.dataset["images"]] == ["00004.jpg", "00005.jpg"]
    assert [(one["image_id"], one["track_id"]) for one in read.dataset["annotations"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert [read.cats[one["category_id"]]["name"] for one in read.anns.values()] == ["cup", "object"] * 2
    first = read.anns[1]
    assert np.array_equal(read.annToMask(first).astype(bool), made[0].tracks[0].mask)
    x, y, width, height = first["bbox"]
    assert made[0].tracks[0].mask[y : y + height, x : x + width].sum() == first["area"]
    assert files_in(tmp_path) == ["out.json"]


async def test_a_coco_run_that_ends_early_is_whole_and_one_that_tracks_nothing_has_no_annotations(
    tmp_path: Path,
) -> None:
    async def interrupted() -> None:
        async with open_sink(f"coco:{tmp_path}/out.json") as sink:
            await sink.write(replace(result(0), tracks=()))
            raise RuntimeError("the user went away")

    with pytest.raises(RuntimeError, match="the user went away"):
        await interrupted()
    said = json.loads((tmp_path / "out.json").read_text())
    assert (len(said["images"]), said["annotations"], said["categories"]) == (1, [], [])


async def test_a_table_of_boxes_is_what_is_read_as_truth_of_the_mot_challenge(tmp_path: Path) -> None:
    hidden = track(3, np.zeros((48, 64), np.bool_), state="occluded")
    made = [result(0), replace(result(1), tracks=(*result(1).tracks, hidden))]
    await write_all(f"mot:{tmp_path}/out.txt", made)
    rows = [line.split(",") for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert [row[:2] for row in rows] == [["1", "1"], ["1", "2"], ["2", "1"], ["2", "2"]]
    for row, shown in zip(rows, [*made[0].tracks, *made[1].tracks[:2]], strict=True):
        x, y, width, height = map(int, row[2:6])
        near = shown.mask[y - 1 : y - 1 + height, x - 1 : x - 1 + width]
        assert near.sum() == shown.mask.sum()
        assert near.any(axis=0).all()
        assert near.any(axis=1).all()
        assert row[6:] == ["0.9", "-1", "-1", "-1"]
