"""The command as its users run it: a process of its own, real cameras, a real broker, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import orjson
import pytest

from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto, Subscriber, free_port, needs_mosquitto
from tests.peers.rtsp import RtspServer

PATIENCE_SECONDS = 90
"""For a process to import torch on a machine that does other things, too."""
STOP_SECONDS = 2.0
TRACK = ("--model", "test", "--prompt", "box=0.2,0.2,0.7,0.8")


@dataclass(frozen=True)
class Ended:
    """How a process ended: `seconds` after it was told to."""

    code: int
    seconds: float
    out: str
    err: str


class Keepsight:
    """A `keepsight` process, killed when its block is left."""

    def __init__(self, folder: Path, *arguments: str, before: str = "") -> None:
        """`before`: Python that is run first."""
        self.folder = folder
        self._before = before
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", f"{self._before}\nfrom keepsight.tracker.cli import main; main()", *self._arguments),
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=PIPE,
            stderr=PIPE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def end(self, *signals: signal.Signals) -> Ended:
        """Sends the signals and waits for the end."""
        sent = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, time.monotonic() - sent, out.decode(), err.decode())

    async def has_written(self, name: str, size: int) -> None:
        """Returns when an output has grown to `size` bytes."""
        path = self.folder / name
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (path.exists() and path.stat().st_size >= size):
                assert self.process.returncode is None, (await self.end()).err
                await asyncio.sleep(0.05)


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_run_leaves_complete_outputs_and_ends_within_two_seconds(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    outputs = "-o", "x.mp4", "-o", "y.mkv", "-o", "masks:m", "-o", "x.jsonl"
    async with Keepsight(tmp_path, "run", "test://?frames=0&size=160x120", *TRACK, *outputs) as run:
        await run.has_written("x.jsonl", 4000)
        ended = await run.end(number)
    assert (ended.code, ended.err) == (code, "")
    assert ended.seconds < STOP_SECONDS
    results = lines_of(tmp_path / "x.jsonl")
    assert results[-1]["events"][-1]["kind"] == "end"
    written = len(results)
    assert frames_of(tmp_path / "x.mp4") == frames_of(tmp_path / "y.mkv") == written
    assert len(list((tmp_path / "m").glob("*.png"))) == written
    assert f"{written} frames" in ended.out


DEAF = "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(60)"
"""No name server answers."""


@pytest.mark.parametrize("output", ["mqtt://broker.example/?spool=off", "whip://server.example/door"])
async def test_an_interrupted_run_does_not_wait_for_a_name_server(tmp_path: Path, output: str) -> None:
    scene = "test://?frames=0&size=160x120&live=1"
    outputs = "-o", "x.jsonl", "-o", output
    async with Keepsight(tmp_path, "run", scene, *TRACK, *outputs, before=DEAF) as run:
        await run.has_written("x.jsonl", 20_000)
        ended = await run.end(signal.SIGINT)
    assert ended.code == 130
    assert ended.seconds < STOP_SECONDS


async def test_a_run_that_waits_for_its_camera_can_be_interrupted(tmp_path: Path) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/nobody"
    async with Keepsight(tmp_path, "--debug", "run", url, *TRACK, "-o", "x.mp4") as run:
        assert run.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = (await run.process.stderr.readline()).decode()
        assert "offline" in said
        ended = await run.end(signal.SIGINT)
    assert ended.code == 130
    assert ended.seconds < STOP_SECONDS
    assert not (tmp_path / "x.mp4").exists()


async def test_a_run_whose_camera_takes_the_call_and_says_nothing_can_be_interrupted(tmp_path: Path) -> None:
    called = asyncio.Event()
    server = await asyncio.start_server(lambda *_: called.set(), "127.0.0.1", 0)
    url = f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/mute"
    async with server, Keepsight(tmp_path, "run", url, *TRACK, "-o", "x.mp4") as run:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await called.wait()
        ended = await run.end(signal.SIGINT)
    assert (ended.code, ended.err) == (130, "")
    assert ended.seconds < STOP_SECONDS


async def test_a_run_whose_camera_has_fallen_silent_can_be_interrupted(
    tmp_path: Path, make_clip: Callable[..., Path], rtsp_server: Callable[..., RtspServer]
) -> None:
    server = rtsp_server(make_clip(frames=50, size=(120, 160)))
    async with Keepsight(tmp_path, "run", server.url, *TRACK, "-o", "x.jsonl") as run:
        assert run.process.stderr is not None
        await run.has_written("x.jsonl", 1000)
        server.freeze()
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = (await run.process.stderr.readline()).decode()
        ended = await run.end(signal.SIGINT)
    assert "stalled" in said
    assert (ended.code, ended.err) == (130, "")
    assert ended.seconds < STOP_SECONDS
    assert lines_of(tmp_path / "x.jsonl")[-1]["events"][-1]["kind"] == "end"


@needs_mosquitto
async def test_a_camera_is_tracked_to_a_broker(
    tmp_path: Path, make_clip: Callable[..., Path], rtsp_server: Callable[..., RtspServer]
) -> None:
    server = rtsp_server(make_clip(frames=50, size=(120, 160)))
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "eyes/#") as heard:
        sink = f"mqtt://127.0.0.1:{broker.port}/eyes?node=here&camera=door"
        async with Keepsight(tmp_path, "run", server.url, *TRACK, "-o", sink, "-o", "x.mkv") as run:
            messages = await heard.until("/cam/door/frames")
            ended = await run.end(signal.SIGINT)
        messages += await heard.until("/availability", "stopped")
    topics = [message.topic for message in messages]
    assert messages[0].topic == "eyes/here/availability"
    assert messages[0].text == "online"
    assert "eyes/here/cam/door/frames" in topics
    events = [message.json["kind"] for message in messages if message.topic.endswith("/cam/door/events")]
    assert events[-1] == "end"
    frame = next(message.json for message in messages if message.topic.endswith("/frames"))
    assert [track["object_id"] for track in frame["tracks"]] == [1]
    status = [message.json for message in messages if message.topic.endswith("/status")][-1]
    assert (status["state"], status["reason"]) == ("stopped", "interrupted")
    assert ended.code == 130
    assert ended.seconds < STOP_SECONDS
    assert frames_of(tmp_path / "x.mkv") > 0


@needs_mosquitto
async def test_a_broker_that_is_down_at_the_start_gets_its_events_when_it_is_there(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, port=free_port())
    sink = f"mqtt://127.0.0.1:{broker.port}/eyes?node=here"
    source = "test://?frames=0&size=160x120&live=1"
    async with Keepsight(tmp_path, "run", source, *TRACK, "-o", sink, "-o", "x.jsonl") as run:
        await run.has_written("x.jsonl", 4000)
        async with broker, Subscriber(broker.port, "eyes/#") as heard:
            messages = await heard.until("/events", '"new"')
            ended = await run.end(signal.SIGINT)
    assert ended.code == 130
    assert any(message.text == "online" for message in messages)


@needs_mosquitto
async def test_the_events_of_a_killed_run_are_sent_by_the_next_one(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, port=free_port())
    sink = f"mqtt://127.0.0.1:{broker.port}/eyes?node=here"
    source = "test://?frames=0&size=160x120&live=1"
    async with Keepsight(tmp_path, "run", source, *TRACK, "-o", sink, "-o", "x.jsonl") as run:
        await run.has_written("x.jsonl", 8000)
        await run.end(signal.SIGKILL)
    (lost, *_) = [event for line in lines_of(tmp_path / "x.jsonl") for event in line["events"]]
    async with (
        broker,
        Subscriber(broker.port, "eyes/#") as heard,
        Keepsight(tmp_path, "run", source, *TRACK, "-o", sink),
    ):
        said = (await heard.until("/events"))[-1].json
    assert {key: said[key] for key in lost} == lost


@needs_mosquitto
async def test_a_run_without_a_prompt_takes_its_objects_from_mqtt(tmp_path: Path) -> None:
    source = "test://?frames=0&size=160x120&live=1"
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, "keepsight/here/cam/main") as asker:
        sink = f"mqtt://127.0.0.1:{broker.port}/?node=here"
        async with Keepsight(tmp_path, "run", source, "--model", "test", "-o", sink) as run:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not asker.heard:
                    with suppress(TimeoutError):
                        await asker.until("/frames")
            await asker.ask("prompt", {"request_id": "one", "box": [0.2, 0.2, 0.7, 0.8], "label": "cup"})
            done = await asker.answer("one")
            seen = await asker.until("/frames", lambda said: said["index"] >= done["applied"]["index"])
            ended = await run.end(signal.SIGINT)
    assert (done["ok"], done["object_id"]) == (True, 1)
    assert [track["label"] for track in seen["tracks"]] == ["cup"]
    assert (ended.code, ended.err) == (130, "")


async def test_a_killed_run_leaves_a_playable_overlay(tmp_path: Path) -> None:
    source = "test://?frames=0&size=160x120"
    async with Keepsight(tmp_path, "run", source, *TRACK, "-o", "x.mp4") as run:
        await run.has_written("x.mp4", 30_000)
        await run.end(signal.SIGKILL)
    assert frames_of(tmp_path / "x.mp4") > 10
