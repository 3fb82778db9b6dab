"""The overlay video: what a player reads back, also from a run that was killed."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from keepsight.streams.drawing import overlay
from keepsight.streams.sinks import open_sink
from keepsight.streams.types import Image, Result

from .results import result

ENDINGS = ["mp4", "mkv"]


async def write_all(path: Path, results: list[Result]) -> None:
    async with open_sink(str(path)) as sink:
        for made in results:
            await sink.write(made)


def read_back(path: Path) -> tuple[list[float], list[Image]]:
    """The times and pictures that a player gets."""
    times, images = [], []
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            assert picture.pts is not None
            assert picture.time_base is not None
            times.append(float(picture.pts * Fraction(picture.time_base)))
            images.append(np.asarray(picture.to_ndarray(format="rgb24"), np.uint8))
    return times, images


@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_frame_is_there_with_its_overlay(tmp_path: Path, ending: str) -> None:
    made = [result(index, size=(120, 160)) for index in range(40)]
    await write_all(tmp_path / f"out.{ending}", made)
    times, images = read_back(tmp_path / f"out.{ending}")
    assert times == pytest.approx([index / 25 for index in range(40)], abs=0.001)
    expected = overlay(made[20], {}).astype(int)
    # half the chroma resolution and the encoder's loss: some 8 of 255 on average on these fine stripes
    assert np.abs(images[20].astype(int) - expected).mean() < 12


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_variable_frame_rate_is_kept_and_times_always_rise(tmp_path: Path, ending: str) -> None:
    given = [100.0, 100.04, 100.5, 100.5, 100.2, 103.0]
    await write_all(tmp_path / f"out.{ending}", [result(n, time=time) for n, time in enumerate(given)])
    times, _ = read_back(tmp_path / f"out.{ending}")
    assert times == pytest.approx([0, 0.04, 0.5, 0.5, 0.5, 3.0], abs=0.003)
    assert all(earlier < later for earlier, later in pairwise(times))


@pytest.mark.parametrize(("ending", "longest"), [("mp4", 6), ("mkv", 24)])
async def test_after_a_camera_was_away_for_hours_the_times_still_rise_as_they_did(
    tmp_path: Path, ending: str, longest: int
) -> None:
    gaps, given = (5, 7, 24), [0.0, 0.04]
    for hours in gaps:
        given += [given[-1] + hours * 3600, given[-1] + hours * 3600 + 0.04]
    await write_all(tmp_path / f"out.{ending}", [result(n, time=time) for n, time in enumerate(given)])
    times, _ = read_back(tmp_path / f"out.{ending}")
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert steps[::2] == pytest.approx([0.04] * 4, abs=0.002)
    assert steps[1::2] == pytest.approx([3600 * min(hours, longest) for hours in gaps], abs=0.002)


@pytest.mark.parametrize(("size", "stored"), [((47, 63), (48, 64)), ((1, 1), (2, 2)), ((49, 31), (50, 32))])
async def test_odd_sizes_are_made_even(
    tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]
) -> None:
    await write_all(tmp_path / "out.mp4", [result(index, size=size) for index in range(3)])
    _, images = read_back(tmp_path / "out.mp4")
    assert [image.shape[:2] for image in images] == [stored] * 3


async def test_frames_that_change_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    sizes = [(48, 64), (96, 128), (30, 30), (48, 64)]
    await write_all(tmp_path / "out.mp4", [result(n, size=size) for n, size in enumerate(sizes)])
    _, images = read_back(tmp_path / "out.mp4")
    assert [image.shape for image in images] == [(48, 64, 3)] * 4


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
async def test_players_are_told_the_colour_matrix(tmp_path: Path) -> None:
    await write_all(tmp_path / "out.mp4", [result(0)])
    probe = await asyncio.create_subprocess_exec(
        "ffprobe", "-v", "error", "-show_streams", "-of", "json", str(tmp_path / "out.mp4"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer, _ = await probe.communicate()
    (stream,) = json.loads(answer)["streams"]
    assert (stream["color_space"], stream["color_range"], stream["pix_fmt"]) == ("smpte170m", "tv", "yuv420p")


WRITE_UNTIL_KILLED = """
import asyncio, sys
from keepsight.streams.sinks import open_sink
from tests.streams.results import result

async def main():
    async with open_sink(sys.argv[1]) as sink:
        for index in range(1_000_000):
            await sink.write(result(index))
            if index == 60:
                sys.stdout.write("enough\\n")
                sys.stdout.flush()

asyncio.run(main())
"""


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_run_that_is_killed_leaves_a_playable_video(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), stdout=asyncio.subprocess.PIPE, cwd=root
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"enough\n"
        process.kill()
        await process.wait()
    times, images = read_back(path)
    assert len(images) >= 30  # of 61 or more at 25 a second: at most a second and some frames are lost
    assert times[:30] == pytest.approx([index / 25 for index in range(30)], abs=0.001)


async def test_a_sink_that_is_cancelled_finishes_its_video(tmp_path: Path) -> None:
    written = asyncio.Event()

    async def run_for_ever() -> None:
        async with open_sink(f"{tmp_path}/out.mp4") as sink:
            for index in range(1_000_000):
                await sink.write(result(index))
                if index == 10:
                    written.set()

    running = asyncio.create_task(run_for_ever())
    await written.wait()
    running.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await running
    times, _ = read_back(tmp_path / "out.mp4")
    assert len(times) >= 11
