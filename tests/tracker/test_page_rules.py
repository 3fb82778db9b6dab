"""Zones and lines drawn on the page in a real browser: saved to the file, watched at once, tracks go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepsight.tracker.changes import Changes
from keepsight.tracker.config import read_deployment
from tests.peers.browser import Chromium, needs_chromium
from tests.tracker.shown_page import place
from tests.tracker.test_fleet import PAGE, SCENE, Running, running

pytestmark = needs_chromium

FILE = f"""\
# in front of the house
source: {SCENE.replace("160x96&fps=50", "320x192&fps=10")}
output: "{PAGE}"   # for this machine
rules:
  zones:
    door: # where parcels are put down
      points: [[0.1, 0.6], [0.3, 0.6], [0.3, 0.9], [0.1, 0.9]]
      dwell_seconds: 10
"""
CORNERS = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]


def saved(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text()).get("rules", {}))


def text_of(file: Path) -> str:
    return file.read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(FILE)
    return path


@asynccontextmanager
async def drawing(file: Path, size: tuple[int, int] = (1280, 800)) -> AsyncIterator[tuple[Running, Chromium]]:
    async with running(read_deployment(file)) as run:
        run.fleet.deployer = run.server.deployer = Changes(run.fleet, file)
        address = f"{run.server.address}?video=jpeg"
        async with Chromium(file.parent / "browser", address, size=size) as page:
            await page.until("!document.querySelector('#rules').hidden")
            await page.until("document.querySelector('#picture').dataset.frame")
            yield run, page
            assert page.complaints == []


async def click(page: Chromium, selector: str) -> None:
    await page.value(f"document.querySelector('{selector}').click()")


async def toast(page: Chromium, words: str) -> None:
    await page.until(f"document.querySelector('#toasts').textContent.includes({words!r})", 60)


async def test_a_zone_drawn_with_the_mouse_is_saved_and_watched_and_the_tracks_go_on(file: Path) -> None:
    async with drawing(file) as (run, page):
        camera = run.server.cameras["main"]
        assert await page.value("document.querySelector('#rules-list').textContent") == "doorChange"
        await click(page, "#draw-zone")
        assert await page.until("document.querySelector('#drawn-save').disabled")
        for corner in (*CORNERS, CORNERS[0]):
            await page.press(*await place(page, corner))
        await page.until("document.activeElement.id === 'drawn-name'")
        await page.value("document.activeElement.value = 'middle'")
        await page.key("Enter")
        await toast(page, "Saved to cameras.yaml")
        points = saved(file)["zones"]["middle"]["points"]
        assert points == [pytest.approx(corner, abs=0.005) for corner in CORNERS]
        assert text_of(file).startswith(FILE), "comments and all other keys are as they were"
        await run.watchful.until(lambda _: camera.next_event)
        assert [(event.kind, event.rule) for event in camera.events(0)] == [("zone_enter", "middle")]
        await page.until("document.querySelector('[data-name=middle] .count').textContent === '1'")
        assert run.begun == ["main"]
        assert await page.value("document.querySelector('#drawing').hidden")


async def test_a_zone_is_changed_and_deleted_and_what_cannot_be_is_said(file: Path) -> None:
    async with drawing(file) as (run, page):
        await click(page, "[data-name=door] button")
        await page.drag(await place(page, (0.3, 0.9)), await place(page, (0.5, 0.95)))
        await click(page, "#drawn-save")
        await toast(page, "Saved to cameras.yaml")
        door = saved(file)["zones"]["door"]
        assert door["points"][2] == pytest.approx((0.5, 0.95), abs=0.005)
        assert door["dwell_seconds"] == 10
        assert "# where parcels are put down" in text_of(file)

        await click(page, "[data-name=door] button")
        await page.drag(await place(page, (0.1, 0.6)), await place(page, (0.9, 0.8)))
        await click(page, "#drawn-save")
        await toast(page, "the polygon crosses itself")
        assert saved(file)["zones"]["door"] == door
        await click(page, "#drawn-delete")
        await page.until("document.querySelector('#rules-list').children.length === 0")
        assert saved(file) == {}
        assert run.begun == ["main"]
        page.complaints = [one for one in page.complaints if "422" not in one]


async def draw_by_keys(page: Chromium, letter: str, *presses: str) -> None:
    """Begin a shape with a letter, put its corners, and save it as it is called."""
    await page.value("document.querySelector('#toasts').replaceChildren()")
    await page.value("document.querySelector('#picture').focus()")
    for key in (letter, *presses):
        await page.key(key)
    await page.until("document.activeElement.id === 'drawn-name'")
    await page.key("Enter")
    await toast(page, "Saved to cameras.yaml")


async def test_a_line_and_a_zone_are_drawn_with_the_keyboard_alone(file: Path) -> None:
    async with drawing(file) as (_, page):
        await draw_by_keys(page, "l", "ArrowLeft", "Enter", "ArrowDown", "ArrowDown", "Enter")
        assert saved(file)["lines"] == {"line": {"points": [[0.48, 0.5], [0.48, 0.54]]}}
        down, right, up = (3 * (key,) for key in ("ArrowDown", "ArrowRight", "ArrowUp"))
        back = (*up, *(3 * ("ArrowLeft",)))
        await draw_by_keys(
            page,
            "z",
            "ArrowLeft",
            "Enter",
            *down,
            "Enter",
            "Backspace",
            "Enter",
            *right,
            "Enter",
            *back,
            "Enter",
        )
        corners = [[0.48, 0.5], [0.48, 0.56], [0.54, 0.56]]
        assert saved(file)["zones"]["zone"]["points"] == [pytest.approx(one) for one in corners]


async def test_a_zone_is_drawn_with_a_finger_on_a_phone(file: Path) -> None:
    async with drawing(file, (360, 640)) as (_, page):
        await page.resize(360, 640, scale=2, mobile=True)
        await page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        await click(page, "#draw-zone")
        for corner in (*CORNERS[:3], CORNERS[0]):
            await page.tap(*await place(page, corner))
        await page.until("!document.querySelector('#drawn-save').disabled")
        assert await page.value("document.documentElement.scrollWidth") == 360
        await click(page, "#drawn-save")
        await toast(page, "Saved to cameras.yaml")
        points = saved(file)["zones"]["zone"]["points"]
        assert points == [pytest.approx(corner, abs=0.01) for corner in CORNERS[:3]]
