"""The pan-tilt of the examples, with a real broker and the tracker between its camera and its motors."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.sources import open_source
from keepsight.streams.types import Prompt
from keepsight.tracker.engine import model_threads
from keepsight.tracker.pipeline import Stream, run
from keepsight.tracker.prompts import Cue
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from tests.peers.mosquitto import Mosquitto, free_port, needs_mosquitto
from tests.tracker.fakes import ColourPredictor

FOLLOW = Path(__file__).parents[1] / "examples" / "follow.py"
CENTRE = Prompt(points=((0.5, 0.5),), labels=(True,))


@needs_mosquitto
async def test_the_camera_turns_with_the_object_and_keeps_it_in_view(tmp_path: Path) -> None:
    port = free_port()
    async with Mosquitto(tmp_path) as broker, model_threads() as threads:
        follower = await asyncio.create_subprocess_exec(
            sys.executable, str(FOLLOW), str(broker.port), str(port), stdout=PIPE
        )
        stop = asyncio.Event()

        async def start() -> TrackerSession:
            return TrackerSession(threads, ColourPredictor(), 2, TrackerSettings())

        target = parse_target(f"mqtt://127.0.0.1:{broker.port}/?node=arm&camera=head&spool=off")
        source = open_source(f"http://127.0.0.1:{port}/")
        stream = Stream("head", source, (MqttSink(target),), (Cue(0, CENTRE),))
        try:
            async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
                tasks.create_task(run(stream, start, stop, lambda stream, meter: None))
                assert follower.stdout is not None
                while True:
                    words = (await follower.stdout.readline()).decode().split()
                    assert float(words[-1]) < 0.45, "it is in view"
                    if abs(float(words[1]) - 640) > 30:
                        break
                stop.set()
        finally:
            follower.kill()
            await follower.wait()
