"""What a browser publishes by WHIP is tracked: its camera shows a film whose truth is known."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import cv2
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keepsight.streams.sources.scene import make_scene
from keepsight.streams.types import Image, Mask, Prompt
from keepsight.tracker.api import load
from keepsight.tracker.iou import mask_iou
from tests.peers.chromium import Chromium, why_no_chromium
from tests.streams.test_webrtc_sources import PUBLISH, nothing
from tests.tracker.known_scene import middle

SIZE = (240, 320)
FRAMES = 40
RESULTS = 20


def write_film(path: Path, images: list[Image]) -> None:
    """There and back again, so that it can be shown in a loop without a jump."""
    with path.open("wb") as film:
        film.write(f"YUV4MPEG2 W{SIZE[1]} H{SIZE[0]} F10:1 Ip A1:1 C420jpeg\n".encode())
        for image in images + images[-2:0:-1]:
            film.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes())


def small(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA), np.uint8)


def nearest(image: Image, film: list[Image]) -> int:
    """Which picture of the film a frame is; coded and decoded, it is a little off."""
    off = [np.abs(small(image).astype(int) - one).mean() for one in film]
    assert min(off) < 12
    return int(np.argmin(off))


async def publish(browser: Chromium, port: int) -> None:
    """Once somebody listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection("localhost", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            break
    script = PUBLISH.replace("width: 640, height: 480", "width: 320, height: 240")
    said = await browser.run(script % f"http://localhost:{port}/phone")
    assert said.startswith("201")


@pytest.mark.skipif(why_no_chromium() is not None, reason=str(why_no_chromium()))
async def test_what_a_browser_publishes_is_tracked(tmp_path: Path, unused_tcp_port: int) -> None:
    scene = make_scene(SIZE, 1, seed=0)
    moments = [number * 0.02 for number in range(FRAMES)]
    images, truths = [scene.image(at) for at in moments], [np.asarray(scene.truth(at) == 1) for at in moments]
    write_film(tmp_path / "film.y4m", images)
    always: Mask = np.logical_and.reduce(truths)
    assert mask_iou(truths[0], truths[-1]) < 0.9, "or nothing would move"
    prompt = Prompt(points=(middle(always),), labels=(True,))
    film = [small(image) for image in images]
    url = f"whip-server://:secret@localhost:{unused_tcp_port}/phone"
    page = web.Application()
    page.router.add_get("/", nothing)
    tracker, overlaps, shown = load("nano"), [], set()
    async with (
        asyncio.timeout(90),
        TestServer(page) as server,
        Chromium(str(server.make_url("/")), tmp_path / "film.y4m") as browser,
        asyncio.TaskGroup() as tasks,
        aclosing(tracker.atrack(url, [prompt])) as results,
    ):
        tasks.create_task(publish(browser, unused_tcp_port))
        async for result in results:
            (track,) = result.tracks
            place = nearest(result.frame.image, film)
            truth = cv2.resize(truths[place].view(np.uint8), result.frame.size[::-1]).astype(np.bool_)
            overlaps.append(mask_iou(track.mask, truth))
            shown.add(place)
            if len(overlaps) == RESULTS:
                break
    assert len(shown) > RESULTS / 4
    assert min(overlaps) > 0.4, "a bound on nano, not on the way here"
