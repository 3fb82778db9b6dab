"""What the page costs and how late it is, measured: `python -m tests.soak_page [viewers|stuck|latency]`.

viewers: the server's share of a core and the pictures it encodes for 0, 1 and 20 viewers of one camera, who
read in a process of their own: over the page's WebSocket, and over WebRTC.
stuck: the frame rate of three viewers before and while others have stopped to read.
latency: from a time stamp painted into a 720p frame to that frame on the canvas in Chromium, with the bundled
model tracking one object, and with nothing tracked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from aiohttp import ClientSession, ClientWebSocketResponse

from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.sources.scene import make_scene
from keepsight.streams.sources.webrtc import WhepSource
from keepsight.streams.types import Frame, Prompt, Result
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink
from keepsight.streams.web.target import parse_target
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import model_threads
from keepsight.tracker.pipeline import Session, Stream, run
from keepsight.tracker.prompts import Cue
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.fakes import CollectingSink, FakeSource
from tests.peers.browser import Chromium
from tests.tracker.test_fleet import Still

FRAMES_A_SECOND = 10
WAIT_SECONDS = 4
SECONDS = 15
BLOCK, BITS = 24, 24
"""The stamp: milliseconds modulo 2**BITS, as BITS squares of BLOCK pixels, white for 1, between a white and
a black one."""
Start = Callable[[], Awaitable[Session]]


class Filmed(FakeSource):
    """Live: the generated scene, drawn before, with the time painted into each frame when it is given."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__([], live=True)
        scene = make_scene(size, 3, seed=0)
        self.truth = scene.truth(0)
        pictures = [scene.image(index * 0.02) for index in range(40)]
        self._pictures = pictures + pictures[::-1]

    async def __aiter__(self) -> AsyncIterator[Frame]:
        due, index = time.monotonic(), 0
        while True:
            image = self._pictures[index % len(self._pictures)].copy()
            now = time.time()
            paint(image, int(now * 1000))
            yield Frame(image, index, 0, index / FRAMES_A_SECOND, now, "generated", time.monotonic())
            due, index = due + 1 / FRAMES_A_SECOND, index + 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def paint(image: np.ndarray[Any, Any], milliseconds: int) -> None:
    bits = [1, 0, *((milliseconds >> bit) & 1 for bit in range(BITS))]
    strip = np.repeat(np.array(bits, np.uint8) * 255, BLOCK)
    image[:BLOCK, : len(strip)] = strip[:, None]


READING = f"""
(() => {{
  const canvas = document.querySelector('#picture');
  let last = null;
  window.lags = [];
  const look = () => {{
    const now = Date.now(), name = canvas.dataset.frame;
    if (name && name !== last) {{
      last = name;
      const data = canvas.getContext('2d').getImageData(0, {BLOCK // 2}, {(BITS + 2) * BLOCK}, 1).data;
      const bit = (place) => data[4 * (place * {BLOCK} + {BLOCK // 2})] > 127;
      let stamp = 0;
      for (let place = 0; place < {BITS}; place++) stamp += bit(place + 2) * 2 ** place;
      if (bit(0) && !bit(1)) window.lags.push(((now - stamp) % 2 ** {BITS} + 2 ** {BITS}) % 2 ** {BITS});
    }}
    requestAnimationFrame(look);
  }};
  look();
}})()
"""


@dataclass(frozen=True)
class Filming:
    sink: WebSink
    server: WebServer
    encoder: SharedEncoder
    steps: deque[float]
    """Seconds that decoding, encoding and tracking took, of the newest frames."""

    @property
    def encoded(self) -> dict[str, int]:
        """Pictures so far, as JPEG and as H.264."""
        return {"jpeg": self.server.cameras["door"].pictures.encoded, "h264": self.encoder.encoded}


class Timed(CollectingSink):
    """Keeps how long steps took."""

    def __init__(self, steps: deque[float]) -> None:
        super().__init__()
        self._steps = steps

    async def write(self, result: Result) -> None:
        self._steps.append(result.timings.total)


@asynccontextmanager
async def filming(source: Filmed, start: Start, cues: tuple[Cue, ...] = ()) -> AsyncIterator[Filming]:
    encoder = SharedEncoder("door")
    server = WebServer(parse_target("web://127.0.0.1:0", environment={}))
    sink, stop = WebSink(server, encoder), asyncio.Event()
    film = Filming(sink, server, encoder, deque(maxlen=FRAMES_A_SECOND * SECONDS))
    timed = Timed(film.steps)
    running = asyncio.create_task(
        run(Stream("door", source, (sink, timed), cues), start, stop, lambda *_: None)
    )
    try:
        while not server.is_open or server.cameras["door"].size is None:
            await asyncio.sleep(0.1)
            assert not running.done(), running.result().faults
        yield film
    finally:
        stop.set()
        await running


async def still() -> Session:
    return Still()


async def viewers() -> dict[str, Any]:
    told = {}
    async with filming(Filmed((360, 640)), still) as film:
        for kind, number in (("none", 0), ("ws", 1), ("ws", 20), ("whep", 1), ("whep", 20)):
            told[f"{number} {kind}"] = await watched_by(film, kind, number)
    return told


async def watched_by(film: Filming, kind: str, number: int) -> dict[str, Any]:
    """What the server does for so many viewers, once all of them see something."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak_page", "view", film.sink.address, kind, str(number)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # all of them see something
    started, used, encoded = time.monotonic(), time.process_time(), film.encoded
    await asyncio.sleep(SECONDS)
    seconds = time.monotonic() - started
    share = (time.process_time() - used) / seconds
    rates = {name: round((count - encoded[name]) / seconds, 1) for name, count in film.encoded.items()}
    process.stdin.write(b"\n")
    seen = json.loads(await process.stdout.readline())
    await process.wait()
    return {"share of a core": round(share, 3), "encoded a second": rates, "seen a second": seen}


async def view(address: str, kind: str, number: int) -> None:
    """In a process of its own: says when all viewers see something, and then what they saw a second."""
    counts = [0] * number
    ways = {"ws": read_socket, "whep": read_whep, "none": None}
    async with ClientSession() as http:
        way = ways[kind]
        reading = [asyncio.create_task(way(http, address, counts, place)) for place in range(number) if way]
        while not all(counts):  # noqa: ASYNC110 - no news of them all
            await asyncio.sleep(0.1)
        await asyncio.sleep(WAIT_SECONDS)
        before, started = list(counts), time.monotonic()
        say("")
        await asyncio.to_thread(sys.stdin.readline)
        seconds = time.monotonic() - started
        rates = sorted(round((now - then) / seconds, 1) for now, then in zip(counts, before, strict=True))
        say(json.dumps({"least": rates[0], "most": rates[-1]} if rates else {}))
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def read_socket(http: ClientSession, address: str, counts: list[int], place: int) -> None:
    async with http.ws_connect(f"{address}api/live", max_msg_size=2**26) as socket:
        await socket.send_json({"watch": {"door": "large"}})
        while True:
            if isinstance((await socket.receive()).data, bytes):
                counts[place] += 1
                await socket.send_json({"seen": "door"})


async def read_whep(http: ClientSession, address: str, counts: list[int], place: int) -> None:
    source = WhepSource(f"whep://{urlsplit(address).netloc}/whep/door", 30)
    async with source:
        async for _ in source:
            counts[place] += 1


async def stuck() -> dict[str, Any]:
    """Ten sockets that say of all pictures that they came and read none, and ten Motion JPEG viewers."""
    counts = [0] * 3
    async with filming(Filmed((360, 640)), still) as film, AsyncExitStack() as exits:
        http = await exits.enter_async_context(ClientSession())
        reading = [
            asyncio.create_task(read_socket(http, film.sink.address, counts, place)) for place in range(3)
        ]
        await asyncio.sleep(WAIT_SECONDS)
        before = await rates(counts)
        host, port = urlsplit(film.sink.address).hostname, film.server.port
        for _ in range(10):
            socket = await exits.enter_async_context(http.ws_connect(f"{film.sink.address}api/live"))
            await socket.send_json({"watch": {"door": "large"}})
            reading.append(asyncio.create_task(claim(socket)))
            _, writer = await asyncio.open_connection(host, port, limit=1)
            exits.callback(writer.close)
            writer.write(f"GET /mjpeg/door HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        while_stuck = await rates(counts)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    return {"seen a second before": before, "while 20 others are stuck": while_stuck}


async def claim(socket: ClientWebSocketResponse) -> None:
    with suppress(ConnectionError):
        while True:
            await socket.send_json({"seen": "door"})
            await asyncio.sleep(0.15)


async def rates(counts: Sequence[int]) -> list[float]:
    before, started = list(counts), time.monotonic()
    await asyncio.sleep(SECONDS)
    seconds = time.monotonic() - started
    return [round((now - then) / seconds, 1) for now, then in zip(counts, before, strict=True)]


async def latency() -> dict[str, Any]:
    told: dict[str, Any] = {}
    model = await asyncio.to_thread(load_predictor, Engine())
    source = Filmed((720, 1280))
    rows, columns = np.nonzero(cv2.erode((source.truth == 1).astype(np.uint8), np.ones((3, 3))))
    box = columns.min() / 1280, rows.min() / 720, (columns.max() + 1) / 1280, (rows.max() + 1) / 720
    prompt = Cue(0, Prompt(object_id=1, box=tuple(float(side) for side in box)))  # type: ignore[arg-type]
    async with model_threads() as threads:

        async def start() -> Session:
            await threads.share_cores()
            return TrackerSession(threads, model, 4, TrackerSettings(), rewinds=True)

        for tracked, cues in (("nothing", ()), ("one object", (prompt,))):
            async with filming(source, start, cues) as film:
                for way in ("WebRTC", "JPEG"):
                    told[f"{way}, {tracked} tracked"] = await late(film, way)
    return told


async def late(film: Filming, way: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        url = film.sink.address + ("?video=jpeg" if way == "JPEG" else "")
        async with Chromium(Path(folder), url) as page:
            await page.until(f"document.querySelector('#way').textContent === '{way}'")
            await asyncio.sleep(WAIT_SECONDS)
            await page.value(READING)
            await asyncio.sleep(2 * SECONDS)
            lags = np.array(await page.value("window.lags"))
            objects = await page.value("document.querySelector('#count').textContent")
    return {
        "median ms": int(np.median(lags)),
        "p95 ms": int(np.quantile(lags, 0.95)),
        "frames": len(lags),
        "median ms the model took": int(1000 * np.median(film.steps)),
        "objects": objects,
    }


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(*what: str) -> None:
    parts = {"viewers": viewers, "stuck": stuck, "latency": latency}
    for name in what or parts:
        for key, value in (await parts[name]()).items():
            say(f"{name}: {key}: {value}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["view"]:
        asyncio.run(view(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        asyncio.run(main(*sys.argv[1:]))
