"""Switches over a real broker, and what they turn off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np

from keepsight.streams.drawing import overlay
from keepsight.streams.node_messages import CameraInfo, NodeInfo
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.types import Result
from keepsight.tracker.engine import model_threads
from keepsight.tracker.finding import FindingSession
from keepsight.tracker.pipeline import Stream, run
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.fakes import CollectingSink
from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto, needs_mosquitto

from .fakes import ColourPredictor
from .test_finding import everything
from .test_mqtt_commands import CAMERA, PaintedCamera, at_or_after, ids

pytestmark = needs_mosquitto
THINGS, ROOM = 2, 6


@asynccontextmanager
async def finding(port: int) -> AsyncIterator[CollectingSink]:
    """A run that finds the camera's two squares by itself; what its other sink is given."""
    sink = MqttSink(parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c", run="r"))
    sink.introduce(NodeInfo("test", (CameraInfo("c", auto=True),)))
    shown, stop = CollectingSink(), asyncio.Event()
    stream = Stream("test", PaintedCamera(), (sink, shown))
    async with model_threads() as threads, asyncio.TaskGroup() as tasks:

        async def start() -> FindingSession:
            inner = TrackerSession(threads, ColourPredictor(), ROOM, TrackerSettings())
            return FindingSession(inner, everything, 0.05, partial(stream.is_on, "auto"), ROOM)

        tasks.create_task(run(stream, start, stop, lambda stream, meter: None))
        try:
            yield shown
        finally:
            stop.set()


async def test_while_finding_is_switched_off_nothing_new_is_prompted(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as asker, finding(broker.port):
        await asker.until("/frames", lambda said: len(ids(said)) == THINGS)
        await asker.turn("auto", "OFF")
        await asker.until("auto/state", lambda said: said == "OFF")
        await asker.ask("reset", {"request_id": "all"})
        empty = (await asker.answer("all"))["applied"]
        asker.heard.clear()
        later = {**empty, "index": empty["index"] + 40}
        await asker.until("/frames", lambda said: at_or_after(later, said))
        after = [
            said for topic, said in asker.heard if topic.endswith("/frames") and at_or_after(empty, said)
        ]
        assert after
        assert not any(ids(said) for said in after)
        await asker.turn("auto", "ON")
        await asker.until("/frames", lambda said: len(ids(said)) == THINGS)


async def test_while_the_overlay_is_switched_off_pictures_are_as_they_came(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        finding(broker.port) as shown,
    ):
        await asker.until("/frames", lambda said: len(ids(said)) == THINGS)
        assert is_drawn(shown.results[-1])
        for state in ("OFF", "ON"):
            await asker.turn("overlay", state)
            await asker.until("overlay/state", lambda said, state=state: said == state)
            now = shown.results[-1].frame.index
            await asker.until("/frames", lambda said, now=now: said["index"] > now + 5)
            newest = shown.results[-1]
            assert len(newest.tracks) == THINGS, "the camera is tracked all the same"
            assert is_drawn(newest) == (state == "ON")


def is_drawn(result: Result) -> bool:
    """Whether a picture that is made of the result shows more than the frame."""
    return not np.array_equal(overlay(result, {}), result.frame.image)
