"""Cameras that come and go on the page in a real browser, and clips of what happened at them."""

from __future__ import annotations

import io
from pathlib import Path

import av
from aiohttp import ClientSession

from keepsight.streams.sinks.clips import ClipsSink
from tests.peers.browser import Chromium, needs_chromium
from tests.tracker.shown_page import faults
from tests.tracker.test_fleet import PAGE, SCENE, ZONE, deployment, running

SMALL = {"source": SCENE.replace("fps=50", "fps=10")}
TILES = "[...document.querySelectorAll('.tile strong')].map((one) => one.textContent).join()"


def recorded(folder: Path) -> dict[str, object]:
    return SMALL | {
        "output": [PAGE, f"clips:{folder}?pre=1&post=1&events=zone_enter"],
        "rules": {"zones": {"all": ZONE}},
    }


async def test_the_clip_of_an_event_is_found(tmp_path: Path) -> None:
    async with running(deployment(door=recorded(tmp_path))) as run, ClientSession() as http:
        camera = run.server.cameras["door"]
        await run.watchful.until(lambda _: camera.next_event)
        (event,) = camera.events(0)
        (recorder,) = (sink for sink in run.fleet.streams["door"].sinks if isinstance(sink, ClipsSink))
        await run.watchful.until(lambda frames: frames["door"] > 25)  # the clip is whole
        address = f"{run.server.address}api/cameras/door/event.mp4"
        async with http.get(address, params={"id": event.event_id}) as answer:
            assert (answer.status, answer.content_type) == (200, "video/mp4")
            clip = await answer.read()
        async with http.get(address, params={"id": "other"}) as answer:
            assert answer.status == 404
    assert recorder.recordings.folder == tmp_path / "door"
    with av.open(io.BytesIO(clip)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5


@needs_chromium
async def test_a_camera_comes_and_goes_and_a_clip_is_looked_at(tmp_path: Path) -> None:
    door = recorded(tmp_path / "clips")
    async with (
        running(deployment(door=door, shed=SMALL)) as run,
        Chromium(tmp_path / "browser", f"{run.server.address}?video=jpeg#shed") as page,
    ):
        await page.until(f"{TILES} === 'door,shed'")
        await page.until("/^9|^10/.test(document.querySelector('.pace').textContent)")
        await run.fleet.apply(deployment(yard=SMALL, door=door))
        await page.until(f"{TILES} === 'yard,door'")
        assert await page.until("document.querySelector('#camera-name').textContent") != "shed"
        await page.until("document.querySelector('#picture').dataset.frame")

        await page.until("document.querySelector('#events .play') !== null")
        await page.value("document.querySelector('#events .play').click()")
        await page.until("document.querySelector('#clip-video').readyState >= 2")
        assert await page.value("document.querySelector('#clip-title').textContent") == "#1 entered"
        await page.value("document.querySelector('#clip button').click()")
        assert await page.until("!document.querySelector('#clip').open")
        assert faults(page) == []
