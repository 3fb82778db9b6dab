"""Cameras that come and go on the page in a real browser, and clips of what happened at them."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import av
from aiohttp import ClientSession

from keepsight.streams.sinks.clips import ClipsSink
from keepsight.streams.types import SourceStatus
from tests.peers.browser import Chromium, needs_chromium
from tests.streams.page import open_page
from tests.streams.results import result
from tests.tracker.shown_page import FRAME, faults
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


@needs_chromium
async def test_what_happened_is_in_our_order_whatever_the_cameras_clock_says(tmp_path: Path) -> None:
    async with open_page() as shown:
        shown.sink.hear_of_source(SourceStatus("online", "", 0))
        await asyncio.sleep(0.02)
        await shown.sink.write(result(0, events=("new",)))  # of 2023, says the camera
        async with Chromium(tmp_path, f"{shown.sink.address}?video=jpeg") as page:
            await page.until("document.querySelectorAll('#events li').length === 2")
            assert await page.value("document.querySelector('#events li').dataset.kind") == "new"


NAME = "document.querySelector('#camera-name').textContent"
NEWEST = "document.querySelector('#events li .what')?.textContent"
FOLLOW = """
new Promise((done) => {
  addEventListener("hashchange", () => setTimeout(done), { once: true });
  location.hash = "cellar";
})
"""


@needs_chromium
async def test_links_and_keys_lead_to_cameras_there_are_and_a_lost_source_is_told(tmp_path: Path) -> None:
    async with (
        running(deployment(door=SMALL, shed=SMALL)) as run,
        Chromium(tmp_path, f"{run.server.address}?video=jpeg#shed") as page,
    ):
        await page.until(f"{NAME} === 'shed' && {FRAME}")
        await page.value("document.querySelector('.skip').focus()")
        await page.key("Enter")
        await page.until("document.activeElement.id === 'picture'")
        await page.value(FOLLOW)
        assert await page.value(NAME) == "shed"
        await page.until(FRAME)
        for other in ("door", "shed"):
            await page.key("c")
            await page.until(f"{NAME} === '{other}' && location.hash === '#{other}'")

        run.server.cameras["shed"].hear(SourceStatus("offline", "no route to host", 0))
        await page.until(f"{NEWEST} === 'offline: no route to host'")
        await page.until("document.querySelector('#source').dataset.state === 'offline'")
        for where in ("#source", ".tile[aria-current=true] .chip"):
            assert await page.value(f"document.querySelector('{where}').textContent") == "offline"
        assert "no route to host" in await page.value("document.querySelector('#reason').textContent")
        assert await page.value("document.querySelector('#events li .why').textContent") == "shed"
        run.server.cameras["shed"].hear(SourceStatus("online", "", 1))
        await page.until(f"{NEWEST} === 'online'")
        assert await page.until("document.querySelector('#source').textContent") == "online"
        assert await page.value("document.querySelectorAll('#events [data-source]').length") == 2
        assert faults(page) == []
