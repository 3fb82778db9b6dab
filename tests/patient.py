"""A run of `keepsight` as a process of its own, heard over MQTT, while its cameras have faults."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiomqtt
import yaml

from tests.orbits import THINGS, box_of, is_on
from tests.peers.mosquitto import Mosquitto

SECRET = "hush-hush"
LOGIN = f"user:{SECRET}"
STARTING_SECONDS = 120
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a camera and when it came (`time.monotonic()`)."""

    at: float
    camera: str
    kind: str
    message: dict[str, Any]

    @property
    def places(self) -> dict[int, int | None]:
        """Of a frame: for each object that is tracked the thing it lies on, None where that is none."""
        return {
            track["object_id"]: next(
                (number for number in THINGS if is_on(number, track["box"], self.message["size"])), None
            )
            for track in self.message["tracks"]
            if track["state"] == "tracked" and track["box"]
        }


@dataclass(frozen=True, slots=True)
class Use:
    """What a process holds: MiB resident, threads, file descriptors."""

    mib: int
    threads: int
    files: int

    @classmethod
    def of(cls, process: int) -> Use:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        said = dict(line.split(":", 1) for line in lines)
        files = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        return cls(int(said["VmRSS"].split()[0]) // 1024, int(said["Threads"]), files)


class Patient:
    """Watches `cameras`, URLs by name, in each of which `things` of the clip are shown; `engine` are keys of
    the configuration, `size` is the (height, width) at first. `said` holds the newest messages, `leaks` the
    topics where the password was said."""

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, str],
        engine: Mapping[str, object],
        things: Sequence[int] = tuple(THINGS),
        size: tuple[int, int] = (480, 640),
    ) -> None:
        self.things = tuple(things)
        self.folder = folder
        self.said: list[Said] = []
        self.leaks: list[str] = []
        self._broker = Mosquitto(folder)
        self._cameras, self._engine, self._size = cameras, engine, size
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._broker.__aenter__()
        subscribed = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(subscribed))
        await subscribed.wait()
        path = self.folder / "watch.yaml"
        path.write_text(yaml.safe_dump(self._configuration()))
        with (self.folder / "said.txt").open("wb") as said:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from keepsight.tracker.cli import main; main()"),
                *("--debug", "run", "--config", str(path)),
                stdout=said,
                stderr=said,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._listening.cancel()
        await asyncio.wait({self._listening})
        await self._broker.__aexit__(kind, error, trace)

    def _configuration(self) -> dict[str, object]:
        boxes = {
            number: ",".join(f"{v:.3f}" for v in box_of(number, 0, self._size)) for number in self.things
        }
        shown = [f"box={box} id={number}" for number, box in boxes.items()]
        sink = f"mqtt://127.0.0.1:{self._broker.port}/keepsight?node=n"
        streams = {
            name: {"source": url, "prompt": shown, "output": [sink, str(self.folder / f"{name}.jsonl")]}
            for name, url in self._cameras.items()
        }
        return {**self._engine, "streams": streams}

    async def _listen(self, subscribed: asyncio.Event) -> None:
        async with aiomqtt.Client("127.0.0.1", self._broker.port) as client:
            await client.subscribe("#")
            subscribed.set()
            async for message in client.messages:
                payload = bytes(message.payload) if isinstance(message.payload, bytes) else b""
                topic = message.topic.value
                if SECRET.encode() in payload or SECRET in topic:
                    self.leaks.append(topic)
                match topic.split("/"):
                    case [_, _, "cam", camera, ("frames" | "status") as kind]:
                        self.said.append(Said(time.monotonic(), camera, kind, json.loads(payload)))
                        del self.said[:-2000]
                        self._news.set()

    async def until(
        self,
        wanted: Callable[[Said], bool],
        camera: str = "c1",
        since: float = 0.0,
        seconds: float = PATIENCE_SECONDS,
    ) -> Said | None:
        """The first that was said of a camera since then and is `wanted`; None where it does not come."""
        limit = time.monotonic() + seconds
        while True:
            assert self.process.returncode is None, (self.folder / "said.txt").read_text()
            for said in self.said:
                if said.at > since and said.camera == camera and wanted(said):
                    return said
            self._news.clear()
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + limit - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                return None

    def is_well(self, said: Said) -> bool:
        """Whether every thing is tracked on its place under its own id."""
        return said.kind == "frames" and said.places == {number: number for number in self.things}

    async def begun(self) -> None:
        """Until every camera's things are tracked."""
        for camera in self._cameras:
            assert await self.until(self.is_well, camera, seconds=STARTING_SECONDS), self._tail()

    def use(self) -> Use:
        return Use.of(self.process.pid)

    def secrets_in_files(self) -> list[str]:
        """What it wrote that holds the password: its output, its results."""
        written = [self.folder / "said.txt", *self.folder.glob("*.jsonl"), *self.folder.rglob("*.sqlite*")]
        return [path.name for path in written if SECRET.encode() in path.read_bytes()]

    def _tail(self) -> str:
        return (self.folder / "said.txt").read_text()[-2000:]
