"""Recordings played like a camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.base import Source, SourceError
from keepsight.streams.sources import open_source
from keepsight.streams.types import Frame
from tests.clips import grey_steps

MakeClip = Callable[..., Path]


async def read(source: Source, count: int | None = None) -> list[Frame]:
    frames: list[Frame] = []
    async with source:
        async for frame in source:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


async def test_a_file_in_real_time_takes_as_long_as_it_is_and_ends(make_clip: MakeClip) -> None:
    source = open_source(str(make_clip(frames=25, rate=25)), realtime=True)
    assert source.live
    started = time.monotonic()
    frames = await read(source)
    assert time.monotonic() - started >= 0.96
    assert len(frames) == 25
    assert all(frame.arrived - frames[0].arrived >= frame.time - 0.002 for frame in frames)
    assert {frame.clock for frame in frames} == {"arrival"}
    assert abs(frames[-1].captured - time.time()) < 1


async def test_a_looped_file_goes_on_and_its_time_rises(make_clip: MakeClip) -> None:
    source = open_source(str(make_clip(frames=10, rate=25, draw=grey_steps)), loop=True)
    assert not source.live
    assert source.frame_count is None
    frames = await read(source, 25)
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(25)], abs=0.01)
    assert abs(int(frames[12].image.mean()) - int(frames[2].image.mean())) <= 1


async def test_a_loop_in_real_time_keeps_its_rate(make_clip: MakeClip) -> None:
    frames = await read(open_source(str(make_clip(frames=10, rate=50)), loop=True, realtime=True), 40)
    assert frames[-1].arrived - frames[0].arrived >= 0.77
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, as long as 0.4 s of video."""
    there = tmp_path / "pictures"
    there.mkdir()
    for index in range(10):
        cv2.imwrite(str(there / f"{index}.png"), grey_steps(index, (48, 64)))
    return there


async def test_a_folder_of_pictures_in_real_time_takes_as_long_as_it_is_and_ends(folder: Path) -> None:
    source = open_source(str(folder), realtime=True)
    assert source.live
    started = time.monotonic()
    frames = await read(source)
    assert time.monotonic() - started >= 0.35
    assert [frame.index for frame in frames] == list(range(10))
    assert {frame.clock for frame in frames} == {"arrival"}


async def test_a_looped_folder_of_pictures_goes_on_and_its_time_rises(folder: Path) -> None:
    source = open_source(str(folder), loop=True)
    assert (source.live, source.frame_count) == (False, None)
    frames = await read(source, 25)
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(25)])
    assert np.array_equal(frames[12].image, frames[2].image)


def test_what_is_live_is_not_played() -> None:
    with pytest.raises(SourceError, match="only files and folders"):
        open_source("rtsp://camera/main", loop=True)
    with pytest.raises(SourceError, match="no such file"):
        open_source("gone.mp4", realtime=True)
