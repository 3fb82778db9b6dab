"""No event is lost: not when the broker dies, not when the connection is cut, not when we are killed."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keepsight.streams.retry import Backoff
from keepsight.streams.sinks import mqtt_connection
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.types import Result
from tests.logs import Log
from tests.peers.asker import Asker
from tests.peers.gate import Gate
from tests.peers.mosquitto import Mosquitto, free_port, needs_mosquitto

from .results import event, frame, result

CAMERA = "keepsight/n/cam/c"
EVENTS = f"{CAMERA}/events"
OBJECTS = (1, 2, 3)
ROOT = Path(__file__).parents[2]


def busy(index: int) -> Result:
    """A result with an event of each object."""
    of = frame(index)
    return replace(result(index), events=tuple(event(of, "update", number) for number in OBJECTS))


def mqtt_sink(port: int, run: str = "r") -> MqttSink:
    target = parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c", run=run)
    return MqttSink(target, backoff=Backoff(shortest=0.02, longest=0.1))


def events(asker: Asker) -> list[dict[str, Any]]:
    return [said for topic, said in asker.heard if topic == EVENTS]


def ids(heard: Iterable[dict[str, Any]]) -> list[str]:
    """The ids of all events, without those that were heard before."""
    return list(dict.fromkeys(said["event_id"] for said in heard))


def expected(run: str, frames: int) -> list[str]:
    return [f"n/c/{run}/{number}" for number in range(frames * len(OBJECTS))]


def at(index: int) -> Callable[[dict[str, Any]], bool]:
    return lambda said: said["index"] == index


def assert_in_order(heard: Iterable[dict[str, Any]]) -> None:
    """Each object's events came in the order of their frames; what was told again was told alike."""
    first: dict[str, dict[str, Any]] = {}
    for said in heard:
        before = first.setdefault(said["event_id"], said)
        assert before | {"published": 0} == said | {"published": 0}
    for number in OBJECTS:
        frames = [said["index"] for said in first.values() if said["object_id"] == number]
        assert frames == sorted(frames)


@needs_mosquitto
async def test_every_event_arrives_though_the_broker_is_killed_again_and_again(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    index = 0
    async with Mosquitto(tmp_path) as broker, Gate(broker.port) as gate, mqtt_sink(gate.port) as sink:
        gate.shut()
        for _ in range(5):
            async with Asker(broker.port, CAMERA) as subscriber:
                await gate.open()
                for _ in range(20):
                    await sink.write(busy(index))
                    index += 1
                await subscriber.until("/events", at(index - 5))
                await broker.kill()
                gate.shut()
                await subscriber.rest()
                heard += events(subscriber)
            for _ in range(20):
                await sink.write(busy(index))
                index += 1
            await broker.start()
        async with Asker(broker.port, CAMERA) as subscriber:
            await gate.open()
            await subscriber.until("/events", lambda said: said["event_id"] == f"n/c/r/{index * 3 - 1}")
            heard += events(subscriber)
    assert ids(heard) == expected("r", index)
    assert_in_order(heard)


@needs_mosquitto
async def test_every_event_arrives_though_the_broker_freezes_again_and_again(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "ANSWER_SECONDS", 0.3)
    index = 0
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as subscriber:
        async with mqtt_sink(broker.port) as sink:
            for _ in range(3):
                broker.freeze()
                for _ in range(20):
                    await sink.write(busy(index))
                    index += 1
                await log.until(lambda entry: entry["event"] == "mqtt broker away, trying on")
                log.entries.clear()
                broker.thaw()
                for _ in range(20):
                    await sink.write(busy(index))
                    index += 1
                last = f"n/c/r/{index * len(OBJECTS) - 1}"
                await subscriber.until("/events", lambda said, last=last: said["event_id"] == last)
        assert sink.undelivered == sink.dropped == 0
        assert ids(events(subscriber)) == expected("r", index)
    assert_in_order(events(subscriber))


@needs_mosquitto
async def test_every_event_arrives_in_order_though_the_connection_is_cut_anywhere(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port) as gate,
        Asker(broker.port, CAMERA) as subscriber,
    ):
        async with mqtt_sink(gate.port) as sink:
            for index in range(120):
                await sink.write(busy(index))
                if index % 10 == 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await gate.passes(chance.randrange(4000))
                    gate.shut()
                    await gate.open()
            await subscriber.until("/events", lambda said: said["event_id"] == "n/c/r/359")
        assert sink.undelivered == sink.kept == 0
    assert ids(events(subscriber)) == expected("r", 120)
    assert_in_order(events(subscriber))


WRITE_FOR_EVER = """
import asyncio, itertools, sys
from tests.streams.test_mqtt_spool import busy, mqtt_sink

async def main():
    async with mqtt_sink(int(sys.argv[1]), sys.argv[2]) as sink:
        for index in itertools.count():
            await sink.write(busy(index))
            while sink.undelivered > sink.kept:
                await asyncio.sleep(0)
            print("safe", index, flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def writing(port: int, run: str) -> AsyncIterator[Process]:
    """A process that writes events as fast as it can and says of which frames they are safe. It is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITE_FOR_EVER, str(port), run, cwd=ROOT, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def safe(process: Process, frames: int) -> int:
    """Waits until the events of so many frames are safe; how many are when it is killed there and then."""
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(60):
        while said.count(b"safe") < frames:
            said += (line := await process.stdout.readline())
            assert line, "the process has ended"
    process.kill()
    said += await process.stdout.read()
    return said.count(b"safe")


@needs_mosquitto
async def test_events_that_wait_when_we_are_killed_are_sent_by_the_next_run(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, port=free_port())
    async with writing(broker.port, "killed") as process:
        frames = await safe(process, 30)
    async with broker, Asker(broker.port, CAMERA) as subscriber:
        async with mqtt_sink(broker.port, "next") as sink:
            await sink.write(busy(0))
            await subscriber.until("/events", lambda said: said["event_id"] == "n/c/next/2")
        assert sink.undelivered == 0
    known = ids(events(subscriber))
    assert known[: frames * 3] == expected("killed", frames)
    assert known[-3:] == expected("next", 1)
    assert_in_order(said for said in events(subscriber) if "/killed/" in said["event_id"])


@needs_mosquitto
async def test_no_event_is_lost_however_often_we_are_killed_while_we_send(tmp_path: Path) -> None:
    chance = random.Random(3)
    frames = {}
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as subscriber:
        for run in ("r0", "r1", "r2"):
            async with writing(broker.port, run) as process:
                frames[run] = await safe(process, chance.randrange(5, 60))
        async with mqtt_sink(broker.port, "last") as sink:
            await sink.write(busy(0))
            await subscriber.until("/events", lambda said: said["event_id"] == "n/c/last/2")
    known = ids(events(subscriber))
    for run, count in frames.items():
        of_run = [name for name in known if f"/{run}/" in name]
        assert of_run[: count * 3] == expected(run, count), "nothing that was safe is missing"
        assert of_run == expected(run, len(of_run) // 3 + 1)[: len(of_run)], "and nothing before what came"
        assert_in_order(said for said in events(subscriber) if f"/{run}/" in said["event_id"])


async def test_what_a_run_leaves_behind_is_said(log: Log) -> None:
    async with mqtt_sink(free_port()) as sink:
        await sink.write(busy(0))
        await log.warned()
    assert log.warnings == ["mqtt broker away, trying on", "events wait on disk for the next run"]
    assert log.entries[-1]["events"] == sink.kept == sink.undelivered == 3


@needs_mosquitto
async def test_events_that_were_dropped_are_said_with_their_number(tmp_path: Path, log: Log) -> None:
    def said() -> list[int]:
        return [one["events"] for one in log.entries if "oldest were dropped" in one["event"]]

    async with Mosquitto(tmp_path) as broker, Gate(broker.port) as gate:
        gate.shut()
        target = parse_target(f"mqtt://127.0.0.1:{gate.port}/?node=n&camera=c", run="r")
        async with MqttSink(target, backoff=Backoff(0.02, 0.1), capacity=6) as sink:
            for index in range(12):
                await sink.write(busy(index))
            assert said() == [3, 30]
            assert (sink.dropped, sink.undelivered) == (30, 6)
            await sink.write(busy(12))
            async with Asker(broker.port, CAMERA) as subscriber:
                await gate.open()
                await subscriber.until("/events", lambda one: one["event_id"] == "n/c/r/38")
            while sink.undelivered:  # noqa: ASYNC110 - no news of them
                await asyncio.sleep(0.01)
            assert said() == [3, 30, 33], "and again when the broker is back"
            assert sink.dropped == 33
            gate.shut()
            for index in range(3):
                await sink.write(busy(20 + index))
    assert said() == [3, 30, 33, 36], "and at the end"
    waiting = [one["events"] for one in log.entries if "wait on disk" in one["event"]]
    assert waiting == [sink.kept] == [6]
    assert "events were not delivered" not in log.warnings


@needs_mosquitto
async def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_event(tmp_path: Path, log: Log) -> None:
    (tmp_path / "state").write_text("not a folder")
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as subscriber,
        mqtt_sink(broker.port) as sink,
    ):
        for index in range(10):
            await sink.write(busy(index))
        await subscriber.until("/events", lambda said: said["event_id"] == "n/c/r/29")
    assert ids(events(subscriber)) == expected("r", 10)
    assert log.warnings == ["events are in memory only, a crash would lose them"]
