"""What is private is in no picture that leaves: files, live video, the page, clips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from aiohttp import ClientSession

from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.privacy import Cover
from keepsight.streams.sinks import open_sink
from keepsight.streams.threads import Worker
from keepsight.streams.types import Command, Event, Frame, Image, Result
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink
from keepsight.streams.web.target import parse_target
from keepsight.tracker.pipeline import Session, Stream, run
from keepsight.tracker.private import PrivateSession
from tests.fakes import FakeSource
from tests.streams.results import disc, event, track

SIZE = (180, 320)
FRAMES = 40
GROUND, SECRET = (60, 150, 70), (250, 0, 250)


def painted(index: int) -> Frame:
    image = np.full((*SIZE, 3), GROUND, np.uint8)
    image[where(index)] = SECRET
    return Frame(image, index, 0, index / 25, 1_700_000_000 + index / 25, "generated", index / 25)


def where(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return disc(SIZE, (0.3 + 0.005 * index, 0.5), 0.2)


class Secrets(FakeSource):
    """Something magenta before a green ground; it comes to an end when it is told to."""

    def __init__(self, end: asyncio.Event) -> None:
        super().__init__([painted(index) for index in range(FRAMES)])
        self._end = end

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for frame in super().__aiter__():
            if frame.index == FRAMES - 1:
                await self._end.wait()
            yield frame


class KnowingSession:
    """Knows where it is, and tells of it at frame 20."""

    def when_due(self, frame: Frame) -> None:
        return None

    async def prepare(self, frame: Frame) -> None:
        raise AssertionError("nothing is to be prepared")

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return (event(frame, "end"),)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        assert (frame.image[where(frame.index)] == SECRET).all(), "who tracks sees everything"
        told = (event(frame, "new"),) if frame.index == 20 else ()
        return Result(frame, (track(1, where(frame.index)),), told)


def magenta(image: Image) -> int:
    """How many pixels are."""
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return int(((red > green + 60) & (blue > green + 60)).sum())


def in_video(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [magenta(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def in_jpeg(data: bytes) -> int:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return magenta(image[..., ::-1])


async def pictures_of(page: WebSink) -> list[bytes]:
    """What the page shows of the last frame, of the object, and of what happened to it."""
    async with ClientSession() as http:

        async def get(path: str) -> bytes:
            async with http.get(f"{page.address}api/cameras/door/{path}") as answer:
                assert answer.status == 200, path
                return await answer.read()

        async with http.get(f"{page.address}api/cameras/door/events") as answer:
            (told,) = (await answer.json())["events"]
        paths = ("picture.jpg", "objects/1.jpg", f"event.jpg?id={told['event_id']}")
        return [await get(path) for path in paths]


async def left(folder: Path, covers: tuple[Cover, ...]) -> dict[str, int]:
    """The most magenta pixels in a picture, by where it went."""
    encoder, end = SharedEncoder("door"), asyncio.Event()
    page = WebSink(WebServer(parse_target("web://127.0.0.1:0", environment={})), encoder)
    urls = (f"{folder}/x.mp4", f"clips:{folder}", f"hls:{folder}/hls")
    sinks = (page, *(open_sink(url, camera="door", encoder=encoder) for url in urls))
    source, seen = Secrets(end), asyncio.Event()

    async with asyncio.timeout(60), Worker("private") as worker, asyncio.TaskGroup() as tasks:

        async def begin() -> Session:
            return PrivateSession(KnowingSession(), covers, worker.run)

        stream = Stream("door", source, sinks)
        observe = lambda _, meter: seen.set() if meter.frames >= FRAMES - 2 else None  # noqa: E731
        running = tasks.create_task(run(stream, begin, asyncio.Event(), observe))
        await seen.wait()
        shown = await pictures_of(page)
        end.set()
        assert (await running).exit_code == 0
    (clip,), (picture,) = (list((folder / "door").glob(name)) for name in ("*.mp4", "*.jpg"))
    return {
        "page": max(map(in_jpeg, shown)),
        "file": max(in_video(folder / "x.mp4")),
        "clip": max(in_video(clip)),
        "clip's picture": in_jpeg(picture.read_bytes()),
        "live": max(max(in_video(part)) for part in (folder / "hls").glob("*.ts")),
    }


async def test_what_is_removed_is_in_no_picture_that_leaves(tmp_path: Path) -> None:
    assert min((await left(tmp_path / "open", ())).values()) > 1000
    covered = await left(tmp_path / "private", (Cover("remove"),))
    assert covered == dict.fromkeys(covered, 0)
