"""The page in a real browser, on a scene whose truth is known: what is clicked on is what is tracked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from keepsight.streams.types import Correct, Forget
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import model_threads
from keepsight.tracker.iou import mask_iou
from keepsight.tracker.pipeline import Session
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.peers.browser import Chromium, needs_chromium
from tests.tracker.known_scene import SlowScene, middle, track_of, tracking
from tests.tracker.shown_page import FRAME, IDS, WAY, check_pixels, faults, index_shown, place, press_on

pytestmark = needs_chromium


@pytest.mark.parametrize("way", ["JPEG", "WebRTC"])
async def test_the_page_plays_and_what_is_clicked_on_is_tracked(tmp_path: Path, way: str) -> None:
    async with (
        tracking(seconds_a_frame=0.02) as running,
        Chromium(tmp_path, running.address + ("?video=jpeg" if way == "JPEG" else "")) as page,
    ):
        await page.until(f"{FRAME} && {WAY} === '{way}'")
        await check_pixels(page, running.source)
        before = await index_shown(page)
        await page.until(f"Number({FRAME}.split('/')[1]) > {before + 3}")
        await press_on(page, running.source, 1)
        result = await running.newest.until(lambda result: result.tracks)
        assert mask_iou(track_of(result, 1).mask, running.source.truth(result.frame.index, 1)) == 1
        await page.until(f"{IDS}.join() === '1'")
        assert await page.until("document.querySelector('#events li').dataset.kind === 'new'")
        assert faults(page) == []


async def test_a_box_a_part_taken_away_and_forgetting(tmp_path: Path) -> None:
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        newest, source = running.newest, running.source
        rows, columns = np.nonzero(source.truth(await index_shown(page), 2))
        left, right, top, bottom = (
            columns.min() / 640,
            columns.max() / 640,
            rows.min() / 360,
            rows.max() / 360,
        )
        way = [await place(page, corner) for corner in ((left, top), (0.5, 0.5), (right, bottom))]
        await page.drag(*way)
        (boxed,) = (await newest.until(lambda result: result.tracks)).tracks
        assert newest.applied[0].command.box == pytest.approx((left, top, right, bottom), abs=0.01)
        assert mask_iou(boxed.mask, source.truth(newest.results[0].frame.index, 2)) > 0.9
        await page.until(f"{IDS}.join() === '1'")

        await press_on(page, source, 2, shift=True)
        await newest.until(lambda _: newest.carried_out(Correct, 1))
        assert newest.applied[-1].command.labels == (False,)
        await press_on(page, source, 3, shift=True)
        await page.until("document.querySelector('#toasts').textContent.includes('Shift-click on a part')")
        assert len(newest.applied) == 2, "where nothing is tracked there is nothing to take away"

        await page.value("document.querySelector('#tracks .track').click()")
        assert await page.until("!document.querySelector('#chosen').hidden")
        await press_on(page, source, 1)
        await newest.until(lambda _: len(newest.carried_out(Correct, 1)) == 2)
        assert newest.applied[-1].command.labels == (True,), "a click adds to what is selected"
        await page.key("Escape")
        await press_on(page, source, 1)
        await newest.until(lambda result: len(result.tracks) == 2)
        await page.until(f"{IDS}.join() === '1,2'")

        await page.value("document.querySelector('#tracks [data-object=\"1\"] .forget').click()")
        await newest.until(lambda _: newest.carried_out(Forget, 1))
        await page.until(f"{IDS}.join() === '2'")
        assert await page.until("document.querySelector('#events li').dataset.kind === 'end'")
        assert faults(page) == []


async def test_a_double_click_is_one_click(tmp_path: Path) -> None:
    """On something new it begins one track, and on that it selects it."""
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        at = await place(page, middle(running.source.truth(await index_shown(page), 1)))
        await page.press(*at)
        await page.press(*at)
        first = await running.newest.until(lambda result: result.tracks)
        await page.until(f"Number({FRAME}.split('/')[1]) > {first.frame.index + 3}")
        assert len(running.newest.applied) == 1

        await page.press(*at)
        await page.press(*at)
        assert await page.until("!document.querySelector('#chosen').hidden")
        await asyncio.sleep(0.5)
        assert len(running.newest.applied) == 1, "nothing is corrected"
        await page.press(*at)
        await running.newest.until(lambda _: running.newest.carried_out(Correct, 1))


async def test_a_click_on_a_track_selects_it(tmp_path: Path) -> None:
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        await page.value("document.querySelector('#label').value = 'cup <b>'")
        await press_on(page, running.source, 1)
        await running.newest.until(lambda result: result.tracks)
        await page.until(f"{IDS}.join() === '1'")
        await press_on(page, running.source, 1)
        assert await page.until("!document.querySelector('#chosen').hidden")
        assert len(running.newest.applied) == 1
        assert running.newest.applied[0].command.label == "cup <b>"
        await page.key("Delete")
        await running.newest.until(lambda result: not result.tracks)
        assert await page.until("document.querySelector('#chosen').hidden")


async def test_the_keyboard_alone_is_enough(tmp_path: Path) -> None:
    async with (
        tracking(seconds_a_frame=0.0005) as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        x, y = middle(running.source.truth(await index_shown(page), 1))
        assert max(abs(x - 0.5), abs(y - 0.5)) > 0.1, "or no arrow would be pressed"
        await page.value("document.querySelector('#picture').focus()")
        for way, more, less in ((x - 0.5, "ArrowRight", "ArrowLeft"), (y - 0.5, "ArrowDown", "ArrowUp")):
            for _ in range(abs(round(way / 0.02))):
                await page.key(more if way > 0 else less)
        await page.key("Enter")
        result = await running.newest.until(lambda result: result.tracks)
        assert mask_iou(track_of(result, 1).mask, running.source.truth(result.frame.index, 1)) == 1
        await page.until(f"{IDS}.length === 1")
        await page.key("n")
        await page.until("!document.querySelector('#chosen').hidden")
        await page.key("Delete")
        await running.newest.until(lambda result: not result.tracks)


async def test_a_click_is_tracked_by_the_bundled_model(tmp_path: Path) -> None:
    model = await asyncio.to_thread(load_predictor, Engine())
    async with AsyncExitStack() as exits:
        threads = await exits.enter_async_context(model_threads())

        async def start(source: SlowScene) -> Session:
            await threads.share_cores()
            return TrackerSession(threads, model, 4, TrackerSettings(), rewinds=True)

        running = await exits.enter_async_context(tracking(start))
        page = await exits.enter_async_context(Chromium(tmp_path, running.address + "?video=jpeg"))
        await press_on(page, running.source, 1)
        result = await running.newest.until(lambda result: result.tracks)
        truths = [running.source.truth(result.frame.index, thing) for thing in (1, 2, 3)]
        found = track_of(result, 1).mask
        assert mask_iou(found, truths[0]) > 0.5
        assert max(mask_iou(found, truths[1]), mask_iou(found, truths[2])) < 0.1


async def test_the_page_asks_for_the_password_and_shows_nothing_before(tmp_path: Path) -> None:
    async with tracking(password="open sesame") as running, Chromium(tmp_path, running.address) as page:
        await page.until("document.querySelector('#login').open")
        assert await page.value(f"{FRAME} ?? null") is None
        for word in ("wrong", "open sesame"):
            await page.value(f"document.querySelector('#password').value = '{word}'")
            await page.value("document.querySelector('#login form button').click()")
            if word == "wrong":
                await page.until(
                    "document.querySelector('#login-reason').textContent === 'the password is wrong'"
                )
        await page.until(FRAME)
        await check_pixels(page, running.source)
        assert "sesame" not in await page.value("document.documentElement.outerHTML")


async def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg", size=(360, 640)) as page,
    ):
        await page.resize(360, 640, scale=2, mobile=True, dark=True)
        await page.until(FRAME)
        assert await page.value("document.documentElement.scrollWidth") == 360
        unnamed = await page.value(
            "[...document.querySelectorAll('button, input, canvas[tabindex]')].filter((one) =>"
            "!(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length"
        )
        assert unnamed == 0, "everything that can be used has a name"
