"""What a configuration becomes: streams whose sinks hear how their source is doing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from keepsight.streams.types import Frame
from keepsight.tracker.config import Deployment, run_config
from keepsight.tracker.deployment import prepare
from keepsight.tracker.pipeline import Session, run
from keepsight.tracker.validation import ConfigError
from tests.peers.mosquitto import Mosquitto, Subscriber, free_port, needs_mosquitto


def test_a_stream_that_takes_commands_needs_no_prompt() -> None:
    options = {"source": "test://", "output": ["x.jsonl", "mqtt://broker.local/"]}
    (stream,) = prepare(run_config(options).deployment("door"))
    assert stream.cues == ()
    assert stream.take() == ()
    with pytest.raises(
        ConfigError, match=r"door: nothing to track: show it, .*, or take commands over -o web:.*mqtt"
    ):
        prepare(run_config({**options, "output": "x.jsonl"}).deployment("door"))


async def never(*_: Frame) -> Session:
    raise AssertionError("no frame has come")


@needs_mosquitto
async def test_a_camera_that_is_away_is_offline_in_its_status_over_mqtt(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "+/+/cam/door/status") as subscriber:
        options = {
            "source": f"rtsp://user:hush@127.0.0.1:{free_port()}/main",
            "prompt": "box=0,0,1,1",
            "output": f"mqtt://127.0.0.1:{broker.port}/",
        }
        (stream,) = prepare(run_config(options).deployment("door"))
        running = asyncio.create_task(run(stream, never, stop, lambda stream, meter: None))
        said = (await subscriber.until("/status", "offline"))[-1]
        stop.set()
        assert (await running).exit_code == 0
    assert said.json["state"] == "waiting"
    assert said.json["reason"].endswith("Connection refused")
    assert "hush" not in said.text


async def test_many_cameras_are_opened_one_after_the_other() -> None:
    asked: dict[str, float] = {}

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, name = (await reader.readline()).decode().split(" ")[1].rpartition("/")
        asked.setdefault(name, time.monotonic())
        everyone.set() if len(asked) == 4 else None
        await everyone.wait()
        writer.close()

    everyone = asyncio.Event()
    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    stream = {"prompt": "box=0,0,1,1"}
    cameras = {
        f"c{k}": {**stream, "source": f"rtsp://127.0.0.1:{port}/c{k}", "output": f"{k}.jsonl"}
        for k in range(4)
    }
    streams = prepare(Deployment.model_validate({"streams": cameras}))
    async with asyncio.timeout(10), server:
        opening = [asyncio.ensure_future(stream.source.__aenter__()) for stream in streams]
        await everyone.wait()
        for one in opening:
            one.cancel()
        await asyncio.wait(opening)
    assert list(asked) == ["c0", "c1", "c2", "c3"]
    assert asked["c3"] - asked["c0"] > 0.25
