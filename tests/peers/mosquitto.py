"""A real MQTT broker and a real subscriber, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from .schemas import check

needs_mosquitto = pytest.mark.skipif(
    not (shutil.which("mosquitto") and shutil.which("mosquitto_sub")), reason="mosquitto is not installed"
)

PATIENCE_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A broker on a port of 127.0.0.1 that can be killed, frozen and started again.

    `settings` are lines added to its configuration; without any, everybody may do anything.
    """

    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.log: list[str] = []
        self._config = folder / f"mosquitto-{self.port}.conf"
        self._settings = settings or ("allow_anonymous true",)
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """Starts the broker and waits until it listens."""
        lines = (f"listener {self.port} 127.0.0.1", "user root", "log_dest stderr", *self._settings)
        self._config.write_text("\n".join(lines) + "\n")
        self._process = await asyncio.create_subprocess_exec(
            "mosquitto", "-v", "-c", str(self._config), stderr=PIPE, stdout=PIPE
        )
        listening = asyncio.Event()
        self._reading = asyncio.create_task(self._read_log(self._process, listening))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listening.wait()

    async def kill(self) -> None:
        if self._process is None or self._reading is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading
        self._process = None

    def freeze(self) -> None:
        """The broker stays connected and answers nothing until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _read_log(self, process: Process, listening: asyncio.Event) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            if " running" in self.log[-1]:
                listening.set()
        listening.set()


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as a subscriber got it."""

    topic: str
    qos: int
    retained: bool
    text: str

    @property
    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text)
        return said


class Subscriber:
    """`mosquitto_sub` on a topic filter."""

    def __init__(self, port: int, topic: str, *arguments: str) -> None:
        self._arguments = ("-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, *arguments)
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        """Returns when the broker has taken the subscription."""
        self._process = await asyncio.create_subprocess_exec(
            *("stdbuf", "-oL", "mosquitto_sub", "-d", "-V", "mqttv5", "-F", "HEARD %q %r %t %p"),
            *self._arguments,
            stdout=PIPE,
            limit=2**24,
        )
        while not (await self._line()).startswith("Subscribed"):
            pass
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def next(self) -> Heard:
        """The next message; fails where none comes in time."""
        while True:
            line = await self._line()
            if line.startswith("HEARD "):
                _, qos, retained, topic, text = line.split(" ", 4)
                if text.startswith("{") and text != "{}":  # which tests leave behind as of another run
                    check(topic, json.loads(text))
                return Heard(topic, int(qos), retained == "1", text)

    async def until(self, topic_end: str, text: str = "") -> list[Heard]:
        """All messages up to the first whose topic ends in `topic_end` and whose text holds `text`."""
        heard = [await self.next()]
        while not (heard[-1].topic.endswith(topic_end) and text in heard[-1].text):
            heard.append(await self.next())
        return heard

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "mosquitto_sub has ended"
        return line.decode().rstrip("\n")
