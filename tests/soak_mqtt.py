"""What MQTT must withstand, measured: `python -m tests.soak_mqtt [outages|frozen|malformed|live]`.

outages: a process of ours writes events and is killed again and again, and so is the broker, or frozen.
Told: the events that were safe, how many of them were missing, came twice with one id, or out of order.
frozen: the frame rate of tracking with the broker well, away and frozen.
live: see `soak_mqtt_live`.
malformed: thousands of commands that cannot be meant: how many were refused, and what they cost in memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keepsight.streams.sinks.minute import resident_bytes
from tests.peers.asker import Asker
from tests.peers.gate import Gate
from tests.peers.mosquitto import Mosquitto
from tests.soak_mqtt_live import live
from tests.streams.test_mqtt_spool import CAMERA, OBJECTS, events, mqtt_sink, safe, writing
from tests.streams.test_mqtt_spool import busy as busy_result
from tests.tracker.malformed import MALFORMED
from tests.tracker.test_mqtt_commands import ON_RED, tracking

BROKER_KILLS, BROKER_FREEZES, OUR_KILLS, EVENTS = 20, 5, 20, 2000
MALFORMED_COMMANDS = 10_000
AT_ONCE = 100
MOST_GROWTH_MIB = 25
"""From the second reading on, when all code has been used once."""


async def outages(folder: Path) -> dict[str, Any]:
    """A consumer listens wherever there is a broker: a message that no one hears is lost by the broker, not
    by us. So we reach it through a gate that is open while the consumer listens."""
    chance = random.Random(11)
    heard: list[dict[str, Any]] = []
    safe_frames: dict[str, int] = {}
    counts = {"broker killed": 0, "broker frozen": 0, "we were killed": 0}
    frames_a_run = EVENTS // len(OBJECTS) // OUR_KILLS + 1
    async with Mosquitto(folder) as broker, Gate(broker.port) as gate:
        gate.shut()
        for number in range(OUR_KILLS):
            async with writing(gate.port, f"r{number}") as process:
                waiting = asyncio.create_task(safe(process, frames_a_run))
                while (
                    not waiting.done() or counts["broker killed"] < BROKER_KILLS * (number + 1) // OUR_KILLS
                ):
                    heard += await one_life(broker, gate, counts, chance)
                safe_frames[f"r{number}"] = await waiting
                counts["we were killed"] += 1
        async with Asker(broker.port, CAMERA) as subscriber:
            await gate.open()
            async with mqtt_sink(gate.port, "last") as sink:
                await sink.write(busy_result(0))
                await subscriber.until("/events", lambda said: said["event_id"] == "n/c/last/2")
            heard += events(subscriber)
    return judged(heard, safe_frames) | counts


async def one_life(
    broker: Mosquitto, gate: Gate, counts: dict[str, int], chance: random.Random
) -> list[dict[str, Any]]:
    """What a consumer hears from when the broker is there until it is killed; it is started again."""
    async with Asker(broker.port, CAMERA) as subscriber:
        await gate.open()
        await asyncio.sleep(chance.uniform(0.2, 2.0))
        if counts["broker frozen"] < BROKER_FREEZES:
            broker.freeze()
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            broker.thaw()
            counts["broker frozen"] += 1
            await asyncio.sleep(chance.uniform(0.0, 0.5))
        await broker.kill()
        gate.shut()
        counts["broker killed"] += 1
        await subscriber.rest()
        await broker.start()
        return events(subscriber)


def judged(heard: list[dict[str, Any]], safe_frames: dict[str, int]) -> dict[str, Any]:
    """What is to be seen of it: every event that was safe, each with one id, in the order of its object."""
    first: dict[str, dict[str, Any]] = {}
    unlike = 0
    for said in heard:
        before = first.setdefault(said["event_id"], said)
        unlike += before | {"published": 0} != said | {"published": 0}
    counts = {run: frames * len(OBJECTS) for run, frames in safe_frames.items()}
    wanted = {f"n/c/{run}/{number}" for run, count in counts.items() for number in range(count)}
    disorder = 0
    for run in safe_frames:
        mine = [one for name, one in first.items() if f"/{run}/" in name]
        for number in OBJECTS:
            frames = [one["index"] for one in mine if one["object_id"] == number]
            disorder += frames != sorted(frames)
    return {
        "events that were safe": len(wanted),
        "missing": len(wanted - first.keys()),
        "heard": len(heard),
        "with an id of their own": len(first),
        "told again with the same id": len(heard) - len(first),
        "told again unlike before": unlike,
        "objects of a run out of order": disorder,
    }


async def frozen(folder: Path) -> dict[str, Any]:
    """Frames a second of a tracked camera of at most 100, with the broker well, away and frozen, in turns."""
    rates: dict[str, list[float]] = {"well": [], "away": [], "frozen": []}
    async with Mosquitto(folder) as broker, tracking(broker.port) as running:
        async with Asker(broker.port, CAMERA) as asker:
            await asker.until("/frames")
            await asker.ask("prompt", {"request_id": "one", **ON_RED})
            await asker.answer("one")
        for _ in range(5):
            rates["well"].append(await rate(running.stepped))
            broker.freeze()
            rates["frozen"].append(await rate(running.stepped))
            broker.thaw()
            await broker.kill()
            rates["away"].append(await rate(running.stepped))
            await broker.start()
    return {f"frames/s, broker {name}": [round(one, 1) for one in found] for name, found in rates.items()}


async def rate(stepped: Callable[[], int], seconds: float = 3.0) -> float:
    before, began = stepped(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (stepped() - before) / (time.perf_counter() - began)


def malformed_commands(count: int) -> list[tuple[str, bytes]]:
    """As many as asked for, the same each time, fuzzed from the messages' schemas and beyond."""
    made: list[tuple[str, bytes]] = []

    @settings(
        max_examples=count // 50 + 50,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MALFORMED, min_size=50, max_size=50))
    def draw(sent: list[tuple[str, bytes]]) -> None:
        made.extend(sent)

    draw()
    return (made * (count // len(made) + 1))[:count]


async def malformed(folder: Path) -> dict[str, Any]:
    sent = malformed_commands(MALFORMED_COMMANDS)
    refused = 0
    memory: list[int] = []
    began = time.perf_counter()
    async with Mosquitto(folder) as broker, Asker(broker.port, CAMERA) as asker, tracking(broker.port):
        await asker.until("/frames")
        await asker.ask("prompt", {"request_id": "first", **ON_RED})
        await asker.answer("first")
        for start in range(0, len(sent), AT_ONCE):
            for name, payload in sent[start : start + AT_ONCE]:
                await asker.ask(name, payload)
            answered = 0
            while answered < len(sent[start : start + AT_ONCE]):
                said = await asker.until("/ack")
                assert not said["ok"], said
                assert said["error"], said
                answered += 1
            refused += answered
            asker.heard.clear()
            asker.correlations.clear()
            if start % 2000 == 0:
                memory.append(resident_bytes() // 2**20)
        memory.append(resident_bytes() // 2**20)
        await asker.ask("forget", {"request_id": "last", "object_id": 1})
        alive = (await asker.answer("last"))["ok"]
    assert memory[-1] - memory[1] < MOST_GROWTH_MIB, memory
    return {
        "sent": len(sent),
        "distinct": len(set(sent)),
        "refused with a reason": refused,
        "tracked through all of it": alive,
        "MiB resident on the way": memory,
        "seconds": round(time.perf_counter() - began),
    }


TRIALS: dict[str, Callable[[Path], Awaitable[dict[str, Any]]]] = {
    "outages": outages,
    "frozen": frozen,
    "malformed": malformed,
    "live": live,
}


def main() -> None:
    for name in sys.argv[1:] or TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["KEEPSIGHT_STATE"] = folder  # of this process and of those it starts and kills
            found = asyncio.run(asyncio.wait_for(run(TRIALS[name], Path(folder)), 900))
            sys.stdout.write(json.dumps({name: found}, indent=1) + "\n")


async def run(trial: Callable[[Path], Awaitable[dict[str, Any]]], folder: Path) -> dict[str, Any]:
    return await trial(folder)


if __name__ == "__main__":
    main()
