"""What a configuration becomes: streams whose sinks hear how their source is doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from keepsight.streams.types import Frame
from keepsight.streams.web.sink import WebSink
from keepsight.tracker.config import Deployment, run_config
from keepsight.tracker.deployment import prepare
from keepsight.tracker.fleet import Fleet
from keepsight.tracker.pipeline import Session, Stream, run
from keepsight.tracker.summary import Meter
from keepsight.tracker.validation import ConfigError
from tests.peers.asker import Asker
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


def test_all_live_outputs_of_a_stream_share_one_encode_and_streams_do_not(tmp_path: Path) -> None:
    """Each picture is then drawn and encoded once, see `test_viewers_and_clips_share_one_encode`."""
    outputs = ["web://127.0.0.1:0", "rtsp-server://127.0.0.1:0", f"clips:{tmp_path}", "whip://127.0.0.1/x"]
    streams = {
        name: {"source": "test://", "output": [*outputs, f"hls:{tmp_path}/{name}"]}
        for name in ("door", "yard")
    }
    encoders = [
        {id(held._encoder) for sink in stream.sinks for held in (sink, getattr(sink, "_service", sink))}
        for stream in prepare(Deployment.model_validate({"streams": streams}))
    ]
    assert [len(held) for held in encoders] == [1, 1]
    assert encoders[0] != encoders[1]


@needs_mosquitto
async def test_every_output_says_that_a_camera_is_switched_off_through_one_of_them(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "keepsight/b/cam/door/status") as status,
        Asker(broker.port, "keepsight/a/cam/door") as asker,
        AsyncExitStack() as sinks,
    ):
        outputs = [f"mqtt://127.0.0.1:{broker.port}/?node={node}" for node in ("a", "b")]
        options = {"source": "test://", "output": ["web://127.0.0.1:0", *outputs]}
        (stream,) = prepare(run_config(options).deployment("door"))
        for sink in stream.sinks:
            await sinks.enter_async_context(sink)
        (page,) = (sink for sink in stream.sinks if isinstance(sink, WebSink))
        http = await sinks.enter_async_context(ClientSession())
        await asker.until("overlay/state")
        for turned, state in (("OFF", "paused"), ("ON", "waiting")):
            await asker.turn("enabled", turned)
            async with asyncio.timeout(20):
                await status.until("/status", f'"{state}"')
            async with http.get(f"{page.address}api/cameras") as answer:
                (camera,) = (await answer.json())["cameras"]
            assert camera["status"]["state"] == state


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


def cameras(count: int) -> Deployment:
    """Cameras that nobody answers for."""
    streams = {
        f"c{k}": {"prompt": "box=0,0,1,1", "source": f"rtsp://127.0.0.1:9/c{k}", "output": f"{k}.jsonl"}
        for k in range(count)
    }
    return Deployment.model_validate({"streams": streams})


def first_waits(streams: Iterable[Stream]) -> list[float]:
    """Seconds that each waits before its source is opened: `test_the_first_opening_waits_for_its_turn`."""
    return [stream.source._first_wait for stream in streams]


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


def test_each_camera_waits_for_those_before_it() -> None:
    assert first_waits(prepare(cameras(4))) == pytest.approx([0.0, 0.1, 0.2, 0.3])


async def test_many_cameras_that_are_added_at_once_are_opened_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        stop, start = asyncio.Event(), lambda stream, room: never()
        wanted = cameras(4)
        fleet = Fleet(wanted.model_copy(update={"streams": {}}), {}, start, Unwatched(), tasks)
        await fleet.apply(wanted)
        stop.set()
        await fleet.until_over(stop)
    assert first_waits(fleet.streams.values()) == pytest.approx([0.0, 0.1, 0.2, 0.3])


class Unwatched:
    def observe(self, stream: Stream, meter: Meter) -> None:
        pass

    def leave(self, stream: Stream) -> None:
        pass
