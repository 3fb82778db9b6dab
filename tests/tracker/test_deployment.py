"""What a configuration becomes: streams whose sinks hear how their source is doing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keepsight.streams.types import Frame
from keepsight.tracker.config import run_config
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
