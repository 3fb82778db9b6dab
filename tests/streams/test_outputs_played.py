"""What is written is played by GStreamer, which has not a line in common with what wrote it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keepsight.streams.drawing import overlay
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.sinks import open_sink

from .results import result

FRAMES = 30
SIZE = (120, 160)


def list_pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def written(path: Path) -> int:
    """How many pictures FFmpeg finds."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("output", "played"),
    [("out.mp4", "out.mp4"), ("out.mkv", "out.mkv"), ("hls:{folder}", "live.m3u8")],
    ids=["mp4", "mkv", "hls"],
)
async def test_gstreamer_plays_every_picture(
    need_program: Callable[[str], str], tmp_path: Path, output: str, played: str
) -> None:
    launch = need_program("gst-launch-1.0")
    url = output.format(folder=tmp_path) if ":" in output else str(tmp_path / output)
    made = [result(index, size=SIZE) for index in range(FRAMES)]
    encoder = SharedEncoder("door")
    async with open_sink(url, encoder=encoder) as sink:
        while output.startswith("hls") and not encoder.readers:  # noqa: ASYNC110 - no news of readers
            await asyncio.sleep(0)
        for one in made:
            await sink.write(one)
    pipeline = f"uridecodebin uri=file://{tmp_path / played} ! videoconvert ! pngenc ! multifilesink"
    command = (launch, "-q", *pipeline.split(), f"location={tmp_path}/%03d.png")
    await asyncio.to_thread(subprocess.check_call, command, timeout=60)
    shown = len(list_pictures(tmp_path))
    assert shown == written(tmp_path / played)
    assert shown == FRAMES, "also the last ones, though the output ends at once"
    image = cv2.imread(str(list_pictures(tmp_path)[-1]))
    assert image is not None
    expected = overlay(made[-1], {}).astype(int)
    # half the chroma resolution and the encoder's loss, as in the test of the files themselves
    assert np.abs(image[:, :, ::-1].astype(int) - expected).mean() < 14
