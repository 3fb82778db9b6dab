"""Commands over a real broker to the fold and back: what is asked is tracked, what cannot be is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keepsight.streams.control import read_request
from keepsight.streams.retry import Backoff
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_connection import MOST_PACKET_BYTES
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.sources.gated import GatedSource
from keepsight.streams.types import Frame
from keepsight.tracker.engine import model_threads
from keepsight.tracker.pipeline import Report, Stream, run
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.summary import Meter
from tests.fakes import FakeSource
from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto, needs_mosquitto

from .fakes import GREEN, RED, ColourPredictor, a_frame
from .malformed import BROKEN, MALFORMED

CAMERA = "keepsight/n/cam/c"
ON_RED = {"points": [[0.05, 0.1]]}
ON_GREEN = {"box": [0.84, 0.02, 0.98, 0.23]}
FLOOD = 600
"""Commands at once; mosquitto holds up to 1,000 for a client."""


class PaintedCamera(FakeSource):
    """Live: a red and a green square that stand still, 100 frames a second for ever."""

    def __init__(self) -> None:
        super().__init__([], live=True)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        index = 0
        while True:
            yield a_frame(index, (RED, 0, 0, 16), (GREEN, 80, 0, 16))
            index += 1
            await asyncio.sleep(0.01)


class Running:
    """A tracker of nothing that takes commands on a broker's port."""

    def __init__(self, port: int) -> None:
        target = parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c", run="r")
        sink = MqttSink(target, backoff=Backoff(shortest=0.02, longest=0.1))
        source = GatedSource(PaintedCamera(), lambda: sink.is_on("enabled"))
        self.stream = Stream("test", source, (sink,))
        self.stop = asyncio.Event()
        self.report: Report | None = None
        self._frames = 0

    def stepped(self) -> int:
        """Results so far."""
        return self._frames

    def _observe(self, stream: Stream, meter: Meter) -> None:
        self._frames = meter.frames

    async def run(self) -> None:
        async with model_threads() as threads:

            async def start() -> TrackerSession:
                return TrackerSession(threads, ColourPredictor(), 2, TrackerSettings())

            self.report = await run(self.stream, start, self.stop, self._observe)


@asynccontextmanager
async def tracking(port: int) -> AsyncIterator[Running]:
    """A run that has been heard of at the broker, and is stopped at the end."""
    running = Running(port)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        try:
            yield running
        finally:
            running.stop.set()


def ids(frames: dict[str, Any]) -> list[int]:
    return [track["object_id"] for track in frames["tracks"]]


def at_or_after(place: dict[str, int], said: dict[str, Any]) -> bool:
    return (said["epoch"], said["index"]) >= (place["epoch"], place["index"])


@needs_mosquitto
async def test_an_object_is_prompted_corrected_and_forgotten_over_mqtt(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        tracking(broker.port) as running,
    ):
        assert ids(await asker.until("/frames")) == []
        await asker.ask("prompt", {"request_id": "one", "label": "cup", **ON_RED})
        done = await asker.answer("one")
        assert (done["command"], done["ok"], done["object_id"], done["error"]) == (
            "prompt",
            True,
            1,
            None,
        )
        seen = await asker.until("/frames", lambda said: at_or_after(done["applied"], said))
        assert ids(seen) == [1]
        assert seen["tracks"][0]["label"] == "cup"
        before = [said for topic, said in asker.heard if topic.endswith("/frames") and not ids(said)]
        assert not any(at_or_after(done["applied"], said) for said in before)

        await asker.ask("correct", {"request_id": "two", "object_id": 1, **ON_GREEN})
        moved = await asker.answer("two")
        seen = await asker.until("/frames", lambda said: at_or_after(moved["applied"], said))
        assert seen["tracks"][0]["box"][0] > 0.8

        await asker.ask("forget", {"request_id": "three", "object_id": 1})
        gone = await asker.answer("three")
        assert gone["applied"]["index"] > moved["applied"]["index"]
        end = await asker.until("/events", lambda said: said["kind"] == "end")
        assert (end["object_id"], end["reason"]) == (1, "forgotten on request")
        assert end["index"] == gone["applied"]["index"]
        assert ids(await asker.until("/frames", lambda said: at_or_after(gone["applied"], said))) == []
    assert running.report is not None
    assert running.report.exit_code == 0


@needs_mosquitto
async def test_what_the_fold_refuses_is_answered_and_is_no_fault_of_the_run(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        tracking(broker.port) as running,
    ):
        await asker.until("/frames")
        for number in range(3):
            await asker.ask("prompt", {"request_id": f"p{number}", **ON_RED})
        await asker.ask("forget", {"request_id": "f", "object_id": 9})
        await asker.ask("reset", {"request_id": "r"})
        answers = {name: await asker.answer(name) for name in ("p0", "p1", "p2", "f", "r")}
    assert [answers[name]["ok"] for name in answers] == [True, True, False, False, True]
    assert answers["p2"]["error"].startswith("all 2 object slots are in use")
    assert answers["f"]["error"] == "there is no object 9: known ids are 1, 2"
    assert running.report is not None
    assert running.report.faults == ()


@needs_mosquitto
async def test_a_command_waits_for_the_frame_that_it_names(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as asker:
        async with tracking(broker.port):
            now = (await asker.until("/frames"))["index"]
            there = {"epoch": 0, "index": now + 60}
            await asker.ask("prompt", {"request_id": "later", "frame_ref": there, **ON_RED})
            done = await asker.answer("later")
            assert at_or_after(there, done["applied"])
            never = {"epoch": 0, "index": done["applied"]["index"] + 590}
            await asker.ask("prompt", {"request_id": "never", "frame_ref": never, **ON_GREEN})
            await asker.ask("reset", {"request_id": "reset"})
            assert (await asker.answer("never"))["error"] == "everything was reset before the frame came"
            await asker.ask("prompt", {"request_id": "unheard", "frame_ref": never, **ON_GREEN})
            await asker.until("/frames", lambda said: said["index"] > done["applied"]["index"] + 20)
        assert (await asker.answer("unheard"))["error"] == "the run ended before it was carried out"


@needs_mosquitto
async def test_the_response_topic_and_correlation_data_of_mqtt_5_are_honoured(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA, "robot/7") as asker,
        tracking(broker.port),
    ):
        await asker.until("/frames")
        await asker.ask("prompt", ON_RED, respond_to="robot/7", correlation=b"\x00\xff")
        done = await asker.until("robot/7")
        assert (done["ok"], done["request_id"], asker.correlations[-1]) == (True, None, b"\x00\xff")
        assert any(topic.endswith("/ack") and said == done for topic, said in asker.heard)


@needs_mosquitto
async def test_commands_are_taken_again_after_the_broker_was_away(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, tracking(broker.port):
        for round_number in range(3):
            async with Asker(broker.port, CAMERA) as asker:
                await asker.until("/frames")
                await asker.ask("prompt", {"request_id": "again", "object_id": 1, **ON_RED})
                assert (await asker.answer("again"))["ok"], round_number
            await broker.kill()
            await broker.start()


@needs_mosquitto
async def test_a_retained_command_is_not_carried_out_again(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        publishing = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-r"),
            *("-t", f"{CAMERA}/cmd/prompt", "-m", json.dumps({"request_id": "old", **ON_RED})),
        )
        assert await publishing.wait() == 0
        async with Asker(broker.port, CAMERA) as asker, tracking(broker.port):
            await asker.until("/frames")
            await asker.ask("reset", {"request_id": "new"})
            await asker.answer("new")
    assert not any(said["request_id"] == "old" for topic, said in asker.heard if topic.endswith("/ack"))


@needs_mosquitto
async def test_a_camera_that_is_switched_off_is_not_tracked_until_it_is_switched_on(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        tracking(broker.port) as running,
    ):
        await asker.until("/frames")
        await asker.turn("enabled", "OFF")
        await asker.until("enabled/state", lambda said: said == "OFF")
        await asyncio.sleep(0.3)
        await asker.turn("overlay", "OFF")
        await asker.until("overlay/state", lambda said: said == "OFF")  # what was on its way has come
        asker.heard.clear()
        await asker.ask("reset", {"request_id": "waits"})
        await asyncio.sleep(0.3)  # some 30 frames of the camera
        await asker.turn("overlay", "ON")
        await asker.until("overlay/state", lambda said: said == "ON")
        assert not any(topic.endswith(("/frames", "/ack")) for topic, _ in asker.heard)
        await asker.turn("enabled", "ON")
        assert (await asker.answer("waits"))["ok"]
    assert running.report is not None
    assert running.report.exit_code == 0


def test_commands_that_their_schemas_tell_to_be_broken_in_one_place_are_refused() -> None:
    assert len(BROKEN) > 400
    assert [one for one in BROKEN if not read_request(*one, "t").refusal] == []


@needs_mosquitto
@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(sent=st.lists(MALFORMED, min_size=100, max_size=100))
def test_hundreds_of_malformed_commands_are_each_refused_and_disturb_nothing(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, bytes]]
) -> None:
    asyncio.run(refuse_all(tmp_path_factory.mktemp("broker"), sent))


async def refuse_all(folder: Path, sent: list[tuple[str, bytes]]) -> None:
    async with (
        Mosquitto(folder) as broker,
        Asker(broker.port, CAMERA) as asker,
        tracking(broker.port) as running,
    ):
        await asker.until("/frames")
        await asker.ask("prompt", {"request_id": "first", **ON_RED})
        await asker.answer("first")
        for name, payload in sent:
            await asker.ask(name, payload)
        await asker.ask("forget", {"request_id": "last", "object_id": 1})
        last = await asker.answer("last")
    refused = [said for topic, said in asker.heard if topic.endswith("/ack") and not said["ok"]]
    assert last["ok"], "the object was tracked through all of it"
    assert len(refused) == len(sent)
    assert all(said["error"] for said in refused)
    assert running.report is not None
    assert running.report.exit_code == 0


@needs_mosquitto
async def test_a_message_too_large_for_a_broker_to_hand_on_disturbs_nothing(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as asker, tracking(broker.port):
        await asker.until("/frames")
        await asker.ask("prompt", b" " * (MOST_PACKET_BYTES + 1))
        await asker.ask("prompt", b" " * (MOST_PACKET_BYTES // 4))
        assert "too long" in (await asker.until("/ack"))["error"]
        await asker.ask("prompt", {"request_id": "sound", **ON_RED})
        assert (await asker.answer("sound"))["ok"]


@needs_mosquitto
async def test_a_flood_of_commands_is_answered_or_counted(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA) as asker, tracking(broker.port):
        await asker.until("/frames")
        flooding = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-l"),
            *("-t", f"{CAMERA}/cmd/forget"),
            stdin=asyncio.subprocess.PIPE,
        )
        await flooding.communicate(b'{"object_id": 1}\n' * FLOOD)
        answered = 0
        while answered < FLOOD:
            answered += refused_at_once((await asker.until("/ack"))["error"])
        assert answered == FLOOD
        await asker.ask("prompt", {"request_id": "after", **ON_RED})
        assert (await asker.answer("after"))["ok"]


def refused_at_once(error: str) -> int:
    """How many requests an answer is for."""
    return int(error.split()[0]) if error.endswith("messages came faster than they can be read") else 1
