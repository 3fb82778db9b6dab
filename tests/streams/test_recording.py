"""A recording's frames by index, whichever way they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.base import SourceError
from keepsight.streams.recording import Recording, open_recording
from keepsight.streams.types import Frame
from tests.clips import grey_steps

FRAMES = 40
GROUPS = {"g": "10", "bf": "2", "preset": "ultrafast"}
"""A key frame every ten frames, with frames between that are decoded out of order."""


@pytest.fixture
def clip(make_clip: Callable[..., Path]) -> Path:
    return make_clip(frames=FRAMES, draw=grey_steps, options=GROUPS)


def same(found: list[Frame], wanted: list[Frame]) -> bool:
    """The same pictures under the same index and time."""
    pairs = list(zip(found, wanted, strict=True))
    return all((a.index, a.time) == (b.index, b.time) and np.array_equal(a.image, b.image) for a, b in pairs)


def test_a_recording_knows_its_frames(clip: Path) -> None:
    recording = open_recording(str(clip))
    assert recording.frame_count == FRAMES
    assert recording.seconds == pytest.approx((FRAMES - 1) / 25)
    assert recording.picture_bytes == 48 * 64 * 3
    assert [mark.index for mark in recording.marks] == [10, 20, 30]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_frames_from_anywhere_are_those_of_a_reading_from_the_beginning(
    make_clip: Callable[..., Path], ending: str
) -> None:
    recording = open_recording(str(make_clip(f"x.{ending}", frames=FRAMES, draw=grey_steps, options=GROUPS)))
    everything = list(recording.forwards())
    assert [frame.index for frame in everything] == list(range(FRAMES))
    for start, stop in ((0, 3), (9, 12), (10, 11), (25, FRAMES), (FRAMES, FRAMES)):
        assert same(list(recording.forwards(start, stop)), everything[start:stop])


def test_backwards_is_forwards_turned_around_whatever_the_buffer(clip: Path) -> None:
    everything = list(open_recording(str(clip)).forwards())
    for pictures in (1, 7, 100):
        recording = open_recording(str(clip), buffer_bytes=pictures * 48 * 64 * 3)
        assert same(list(recording.backwards(FRAMES)), everything[::-1])
        assert same(list(recording.backwards(30, 12)), everything[29:11:-1])


def test_a_mark_that_seeking_does_not_find_is_read_up_to(clip: Path) -> None:
    known = open_recording(str(clip))
    lost = tuple(replace(mark, place=mark.place + 1) for mark in known.marks)
    recording = Recording(known.open, known.frame_count, known.seconds, known.picture_bytes, lost)
    assert same(list(recording.forwards(23, 26)), list(known.forwards())[23:26])


def test_a_folder_and_a_scene_are_recordings_too(tmp_path: Path) -> None:
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), np.full((8, 8, 3), 10 * index, np.uint8))
    (tmp_path / "05.png").write_bytes(b"no picture")
    folder = open_recording(str(tmp_path))
    assert [int(frame.image[0, 0, 0]) // 10 for frame in folder.backwards(11)] == [
        *range(11, 5, -1),
        *range(4, -1, -1),
    ]
    scene = open_recording("test://?frames=5&size=64x48")
    assert [frame.index for frame in scene.backwards(5)] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("url", "said"),
    [("rtsp://host/x", "is live"), ("test://?live=1", "is live"), ("test://?frames=0", "no end")],
)
def test_what_has_no_end_is_no_recording(url: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_recording(url)


def test_reading_it_can_be_ended_after_any_frame(clip: Path) -> None:
    read = 0

    def each() -> None:
        nonlocal read
        read += 1
        if read == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_recording(str(clip), each=each)
    assert read == 3
