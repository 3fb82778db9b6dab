"""The page in a real browser, on a scene whose truth is known: what is clicked on is what is tracked."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aioice import ice

from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.types import Correct, Forget, Image, Mask, Result
from keepsight.streams.webrtc import whep
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import model_threads
from keepsight.tracker.iou import mask_iou
from keepsight.tracker.pipeline import Session
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.peers.browser import Chromium, needs_chromium
from tests.streams.results import disc
from tests.tracker.known_scene import SIZE, SlowScene, middle, track_of, tracking
from tests.tracker.shown_page import FRAME, IDS, WAY, check_pixels, faults, index_shown, place, press_on

pytestmark = needs_chromium

STEP = 0.02
"""Of the picture, that an arrow key moves the cross."""


@pytest.fixture(autouse=True)
def no_lock_of_another_loop() -> None:
    """aioice has one for each thread, and each test an event loop of its own."""
    vars(ice._mdns).clear()


@pytest.mark.parametrize("way", ["JPEG", "WebRTC"])
async def test_the_page_plays_and_what_is_clicked_on_is_tracked(tmp_path: Path, way: str) -> None:
    async with (
        tracking(source=SlowScene(0.02)) as running,
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


IMPATIENT = """
(() => {
  const real = window.setTimeout;
  window.setTimeout = (then, wait, ...more) => real(then, wait === 6000 ? 1500 : wait, ...more);
})()
"""
"""From the next picture on, what would be waited for for six seconds is waited for a quarter of that."""


async def test_where_webrtc_is_refused_or_brings_nothing_more_pictures_go_on_as_jpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing, asked, admit = asyncio.Event(), asyncio.Event(), whep._House.admit

    async def door(house: whep._House, request: web.Request) -> web.Response:
        asked.set()
        return web.Response(status=503) if refusing.is_set() else await admit(house, request)

    async def write_nothing(encoder: SharedEncoder, result: Result) -> None:
        pass

    async def goes_on(page: Chromium) -> None:
        await page.until(f"Number({FRAME}.split('/')[1]) > {await index_shown(page) + 3}")

    monkeypatch.setattr(whep._House, "admit", door)
    refusing.set()
    async with tracking() as running, Chromium(tmp_path, running.address) as page:
        await asked.wait()
        await goes_on(page)
        assert await page.value(WAY) == "JPEG"
        refusing.clear()
        await page.call("Page.reload")
        await page.until(f"{WAY} === 'WebRTC'")
        await page.value(IMPATIENT)
        await goes_on(page)
        monkeypatch.setattr(SharedEncoder, "write", write_nothing)
        await page.until(f"{WAY} === 'JPEG'", seconds=10)
        await goes_on(page)


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


class Swapping(SlowScene):
    """Two things, of which each is in the other's place from frame `swaps_at` on."""

    def __init__(self) -> None:
        super().__init__(0)
        self.swaps_at = 10**9

    def truth(self, index: int, thing: int) -> Mask:
        if thing > 2:
            return np.zeros(SIZE, np.bool_)
        is_left = (thing == 1) == (index < self.swaps_at)
        return disc(SIZE, (0.3 if is_left else 0.7, 0.5), 0.2)

    def image(self, index: int) -> Image:
        picture = np.full((*SIZE, 3), 90, np.uint8)
        picture[self.truth(index, 1)] = 200, 60, 60
        picture[self.truth(index, 2)] = 60, 60, 200
        return picture


async def test_a_click_is_for_what_was_there_whoever_walks_over_the_place_before_it_is_done(
    tmp_path: Path,
) -> None:
    source = Swapping()
    async with (
        tracking(source=source) as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        await press_on(page, source, 2)
        await page.until(f"{IDS}.join() === '1'")
        made_on = await index_shown(page)
        at = await place(page, middle(source.truth(made_on, 1)))
        await page.hold(*at)
        source.swaps_at = running.newest.results[0].frame.index + 3
        await page.until(f"Number({FRAME}.split('/')[1]) > {source.swaps_at}")
        await page.let_go(*at)
        result = await running.newest.until(lambda result: len(result.tracks) == 2)
        command = running.newest.applied[-1].command
        assert command.frame_ref is not None
        assert made_on <= command.frame_ref[1] < source.swaps_at
        assert mask_iou(track_of(result, 2).mask, source.truth(result.frame.index, 1)) == 1
        assert await page.value("document.querySelector('#chosen').hidden"), "and nothing is selected"


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


SPARK = "document.querySelector('#tracks .spark polyline').getAttribute('points').split(' ').length"


async def check_row(page: Chromium) -> None:
    """The row of the only track tells how it is doing, and it and the newest event have their pictures."""
    await page.until("document.querySelector('#tracks img.thumb:not(.none)')?.naturalWidth > 0")
    await page.until("document.querySelector('#events img.thumb:not(.none)')?.naturalWidth > 0")
    assert await page.value("document.querySelector('#tracks .state').textContent") == "tracked"
    assert await page.value("document.querySelector('#tracks .sure').textContent") == "90 %"
    await page.until(f"{SPARK} > {await page.value(SPARK)}")
    assert re.fullmatch(r"\d+ ms", await page.value("document.querySelector('#latency').textContent"))


async def test_a_click_on_a_track_selects_it(tmp_path: Path) -> None:
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        await page.value("document.querySelector('#label').value = 'cup <b>'")
        await press_on(page, running.source, 1)
        await running.newest.until(lambda result: result.tracks)
        await page.until(f"{IDS}.join() === '1'")
        await check_row(page)
        await press_on(page, running.source, 1)
        assert await page.until("!document.querySelector('#chosen').hidden")
        assert len(running.newest.applied) == 1
        assert running.newest.applied[0].command.label == "cup <b>"
        await page.key("Delete")
        await running.newest.until(lambda result: not result.tracks)
        assert await page.until("document.querySelector('#chosen').hidden")


async def walk(page: Chromium, way: tuple[float, float]) -> None:
    """Move the cross of the keyboard, in parts of the picture, by whole steps."""
    for far, more, less in ((way[0], "ArrowRight", "ArrowLeft"), (way[1], "ArrowDown", "ArrowUp")):
        for _ in range(abs(round(far / STEP))):
            await page.key(more if far > 0 else less)


async def test_the_keyboard_alone_is_enough(tmp_path: Path) -> None:
    async with (
        tracking(source=SlowScene(0.0005)) as running,
        Chromium(tmp_path, running.address + "?video=jpeg") as page,
    ):
        x, y = middle(running.source.truth(await index_shown(page), 1))
        assert max(abs(x - 0.5), abs(y - 0.5)) > 0.1, "or no arrow would be pressed"
        await page.value("document.querySelector('#picture').focus()")
        await walk(page, (x - 0.5, y - 0.5))
        await page.key("Enter")
        result = await running.newest.until(lambda result: result.tracks)
        assert mask_iou(track_of(result, 1).mask, running.source.truth(result.frame.index, 1)) == 1
        await page.until(f"{IDS}.length === 1")
        await page.key("n")
        await page.until("!document.querySelector('#chosen').hidden")
        await page.key("Enter", shift=True)
        await running.newest.until(lambda _: running.newest.carried_out(Correct, 1))
        assert running.newest.applied[-1].command.labels == (False,)
        await page.key("Delete")
        await running.newest.until(lambda result: not result.tracks)

        await page.key("b")
        await walk(page, (4 * STEP, -3 * STEP))
        await page.key("Enter")
        await running.newest.until(lambda result: result.tracks)
        box = running.newest.applied[-1].command.box
        cross = [0.5 + STEP * round((at - 0.5) / STEP) for at in (x, y)]
        assert box == pytest.approx((cross[0], cross[1] - 3 * STEP, cross[0] + 4 * STEP, cross[1]), abs=1e-6)


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


CONTRASTS = """
(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [red, green, blue] = parts(colour).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return (parts(colour)[3] ?? 1) === 1 || !one.parentElement ? colour : ground(one.parentElement);
  };
  const written = (one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const all = [...document.querySelectorAll("body *")].filter((one) => one.getClientRects().length);
  return [light(ground(document.body)), all.filter(written).map((one) => {
    const [low, high] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => a - b);
    return [one.textContent, (high + 0.05) / (low + 0.05)];
  })];
})()
"""
"""The page's luminance, and the text and contrast of all that is written on it, as in WCAG 2.2."""


async def test_on_a_phone_a_tap_is_a_click_and_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    async with (
        tracking() as running,
        Chromium(tmp_path, running.address + "?video=jpeg", size=(360, 640)) as page,
    ):
        await page.resize(360, 640, scale=2, mobile=True, dark=True)
        await page.call("Emulation.setTouchEmulationEnabled", enabled=True)
        at = await place(page, middle(running.source.truth(await index_shown(page), 1)))
        await page.tap(*at)
        await running.newest.until(lambda result: result.tracks)
        await page.until(f"{IDS}.join() === '1'")
        await page.tap(
            *await page.value(
                "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
                "(document.querySelector('[data-tool=remove]').getBoundingClientRect())"
            )
        )
        await page.tap(*at)
        await running.newest.until(lambda _: running.newest.carried_out(Correct, 1))
        assert running.newest.applied[-1].command.labels == (False,)

        assert await page.value("document.documentElement.scrollWidth") == 360
        unnamed = await page.value(
            "[...document.querySelectorAll('button, input, canvas[tabindex]')].filter((one) =>"
            "!(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length"
        )
        assert unnamed == 0, "everything that can be used has a name"
        luminance, contrasts = await page.value(CONTRASTS)
        assert luminance < 0.02
        assert len(contrasts) > 15
        assert not [one for one in contrasts if one[1] < 4.5]
