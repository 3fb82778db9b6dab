"""A camera on a scene whose truth is known, on a page of its own, and tracked by who knows the scene."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import cv2
import numpy as np

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
from keepsight.tracker.pipeline import Session, Stream, run
from tests.fakes import CollectingSink, FakeSource
from tests.streams.results import event, track

SIZE = (360, 640)
FRAMES_A_SECOND = 8
PATIENCE_SECONDS = 240


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
    source: SlowScene | None = None,
) -> AsyncIterator[Running]:
    """A camera on a page of its own port; tracked by who knows the scene, or by what `start` gives."""
    source = source or SlowScene(0.004)
    url = f"web://{f':{password}@' if password else ''}127.0.0.1:0"
    page = WebSink(WebServer(parse_target(url, environment={})), SharedEncoder("door"))
    newest, stop = Newest(), asyncio.Event()

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
