"""The page in a real browser, on a scene whose truth is known: what is clicked on is what is tracked."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.sources.scene import make_scene
from keepsight.streams.types import (
    Applied,
    Command,
    Correct,
    Event,
    Forget,
    Frame,
    Image,
    Mask,
    Prompt,
    Refusal,
    Result,
    Track,
)
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink
from keepsight.streams.web.target import parse_target
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import model_threads
from keepsight.tracker.iou import mask_iou
from keepsight.tracker.pipeline import Session, Stream, run
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.fakes import CollectingSink, FakeSource
from tests.peers.browser import Chromium, needs_chromium
from tests.streams.results import event, track

SIZE = (360, 640)
FRAMES_A_SECOND = 8
FRAME = "document.querySelector('#picture').dataset.frame"
WAY = "document.querySelector('#way').textContent"
IDS = "[...document.querySelectorAll('#tracks li')].map((one) => Number(one.dataset.object))"
PATIENCE_SECONDS = 240

pytestmark = needs_chromium


class SlowScene(FakeSource):
    """Live: the generated scene, in slow motion, so that a hand on the mouse of a busy machine finds it."""

    def __init__(self, seconds_a_frame: float) -> None:
        super().__init__([], live=True)
        self.scene = make_scene(SIZE, 3, seed=0)
        self.seconds_a_frame = seconds_a_frame

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for index in itertools.count():
            image = self.image(index)
            yield Frame(image, index, 0, index / FRAMES_A_SECOND, time.time(), "generated", time.monotonic())
            await asyncio.sleep(1 / FRAMES_A_SECOND)

    def image(self, index: int) -> Image:
        return self.scene.image(index * self.seconds_a_frame)

    def truth(self, index: int, thing: int) -> Mask:
        return np.asarray(self.scene.truth(index * self.seconds_a_frame) == thing)


class KnowingSession:
    """A fold that knows the scene: a prompt is for the thing that was there in the very frame it names."""

    def __init__(self, source: SlowScene) -> None:
        self._source = source
        self._things: dict[int, int] = {}
        self._holes: dict[int, list[tuple[float, float]]] = {}

    def when_due(self, frame: Frame) -> None:
        return None

    async def prepare(self, frame: Frame) -> None:
        raise AssertionError("nothing is to be prepared")

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return ()

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        applied: list[Applied] = []
        refusals: list[Refusal] = []
        events: list[Event] = []
        for command in commands:
            number = getattr(command, "object_id", None) or len(self._things) + 1
            match command:
                case Prompt() if thing := self._thing_at(command):
                    self._things[number] = thing
                    events.append(event(frame, "new", number))
                case Correct() if number in self._things:
                    self._holes.setdefault(number, []).extend(command.points)
                case Forget() if number in self._things:
                    del self._things[number]
                    events.append(event(frame, "end", number))
                case _:
                    refusals.append(Refusal(command, "there is nothing"))
                    continue
            applied.append(Applied(command, frame.ref, number))
        tracks = tuple(self._track(number, thing, frame) for number, thing in self._things.items())
        return Result(frame, tracks, tuple(events), tuple(applied), tuple(refusals))

    def _thing_at(self, prompt: Prompt) -> int:
        assert prompt.frame_ref is not None, "the page says which frame was clicked on"
        truths = [self._source.truth(prompt.frame_ref[1], thing) for thing in (1, 2, 3)]
        shown = np.zeros(SIZE, np.bool_)
        for x, y in prompt.points:
            shown[min(int(y * SIZE[0]), SIZE[0] - 1), min(int(x * SIZE[1]), SIZE[1] - 1)] = True
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            shown[int(y0 * SIZE[0]) : int(y1 * SIZE[0]), int(x0 * SIZE[1]) : int(x1 * SIZE[1])] = True
        seen = [int((truth & shown).sum()) for truth in truths]
        return int(np.argmax(seen)) + 1 if max(seen) else 0

    def _track(self, number: int, thing: int, frame: Frame) -> Track:
        mask = self._source.truth(frame.index, thing)
        for x, y in self._holes.get(number, ()):
            cv2.circle(mask.view(np.uint8), (int(x * SIZE[1]), int(y * SIZE[0])), 20, 0, cv2.FILLED)
        return track(number, mask)


class Newest(CollectingSink):
    """Keeps the newest result only, and the commands that were carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[Applied] = []
        self._news = asyncio.Event()

    async def write(self, result: Result) -> None:
        self.results = [result]
        self.applied += result.applied
        self._news.set()

    async def until(self, wanted: Callable[[Result], object]) -> Result:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.results or not wanted(self.results[0]):
                self._news.clear()
                await self._news.wait()
        return self.results[0]

    def carried_out(self, kind: type[Command], number: int) -> list[Applied]:
        return [one for one in self.applied if isinstance(one.command, kind) and one.object_id == number]


@dataclass
class Running:
    address: str
    source: SlowScene
    newest: Newest


@asynccontextmanager
async def tracking(
    start: Callable[[SlowScene], Awaitable[Session]] | None = None,
    *,
    password: str = "",
    seconds_a_frame: float = 0.004,
) -> AsyncIterator[Running]:
    """A camera on a page of its own port; tracked by who knows the scene, or by what `start` gives."""
    url = f"web://{f':{password}@' if password else ''}127.0.0.1:0"
    page = WebSink(WebServer(parse_target(url, environment={})), SharedEncoder("door"))
    newest, stop, source = Newest(), asyncio.Event(), SlowScene(seconds_a_frame)

    async def begin() -> Session:
        return KnowingSession(source) if start is None else await start(source)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(Stream("door", source, (page, newest)), begin, stop, lambda *_: None))
        try:
            await newest.until(bool)
            yield Running(page.address, source, newest)
        finally:
            stop.set()


def middle(mask: Mask) -> tuple[float, float]:
    """The point of a mask that is farthest from its border, in [0, 1] of the frame."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float((x + 0.5) / mask.shape[1]), float((y + 0.5) / mask.shape[0])


def track_of(result: Result, object_id: int) -> Track:
    return next(track for track in result.tracks if track.object_id == object_id)


def faults(page: Chromium) -> list[str]:
    """What went wrong in the page; a picture of an object that was forgotten a moment ago may be missing."""
    return [one for one in page.complaints if "status of 404" not in one]


async def index_shown(page: Chromium) -> int:
    return int((await page.until(FRAME)).split("/")[1])


async def place(page: Chromium, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the picture is on the page."""
    x, y, width, height = await page.value(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.querySelector('#picture').getBoundingClientRect())"
    )
    return x + point[0] * width, y + point[1] * height


async def check_pixels(page: Chromium, source: SlowScene) -> None:
    """What the canvas shows is the frame that it says it shows."""
    name, shown = await page.value(
        "(() => { const small = new OffscreenCanvas(160, 90).getContext('2d');"
        "const picture = document.querySelector('#picture'); small.drawImage(picture, 0, 0, 160, 90);"
        "return [picture.dataset.frame, [...small.getImageData(0, 0, 160, 90).data]]; })()"
    )
    picture = np.array(shown, np.float32).reshape(90, 160, 4)[:, :, :3]
    true, other = (
        cv2.resize(source.image(int(name.split("/")[1]) + ahead), (160, 90), interpolation=cv2.INTER_AREA)
        for ahead in (0, 8)
    )
    off, off_other = (np.abs(picture[:80] - one[:80]).mean() for one in (true, other))  # without the clock
    assert off < 8, "of 255: JPEG, H.264 and the browser's scaling lose a little"
    assert off < 0.7 * off_other, "and it is no other frame"


async def press_on(page: Chromium, source: SlowScene, thing: int, *, shift: bool = False) -> None:
    """Click on the middle of a thing, as it is shown."""
    await page.press(*await place(page, middle(source.truth(await index_shown(page), thing))), shift=shift)


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
