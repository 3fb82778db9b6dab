"""Results over MQTT to a real broker: what subscribers hear, also when the broker or we fail."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keepsight.streams.base import Ending
from keepsight.streams.retry import Backoff
from keepsight.streams.sinks import open_sink
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.sinks.outbox import STATUS_SECONDS
from keepsight.streams.types import SourceStatus
from tests.logs import Log
from tests.peers.mosquitto import Mosquitto, Subscriber, free_port, needs_mosquitto

from .results import frame, result, track

CAMERA = "keepsight/n/cam/c"
RETAINED = {
    *("keepsight/n/availability", "keepsight/n/info", "homeassistant/device/keepsight_n/config"),
    *(f"{CAMERA}/{name}" for name in ("status", "enabled/state", "overlay/state")),
}
"""What is kept of a run that has ended."""


def mqtt_sink(port: int, *, more: str = "") -> MqttSink:
    """A sink on a broker of this machine that tries again at once, or nearly."""
    target = parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c{more}", run="r")
    return MqttSink(target, backoff=Backoff(shortest=0.02, longest=0.1))


@needs_mosquitto
async def test_a_run_is_announced_and_its_events_and_frames_are_heard_in_order(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        async with mqtt_sink(broker.port) as sink:
            await sink.write(result(0, events=("new",)))
            heard = await subscriber.until("/frames")
            await sink.write(result(1, events=("occluded", "recovered")))
            heard += await subscriber.until("/frames")
        heard += await subscriber.until("/availability")
    spoken = [(message.topic, message.text) for message in heard if message.topic.endswith("/availability")]
    assert spoken == [("keepsight/n/availability", "online"), ("keepsight/n/availability", "stopped")]
    events = [message.json for message in heard if message.topic == f"{CAMERA}/events"]
    assert [event["kind"] for event in events] == ["new", "occluded", "recovered"]
    assert [event["event_id"] for event in events] == ["n/c/r/0", "n/c/r/1", "n/c/r/2"]
    frames = [message.json for message in heard if message.topic == f"{CAMERA}/frames"]
    assert [said["index"] for said in frames] == [0, 1]
    assert [track["object_id"] for track in frames[0]["tracks"]] == [1, 2]
    states = [message.json["state"] for message in heard if message.topic == f"{CAMERA}/status"]
    assert states[0] in ("waiting", "running")
    assert states[-1] == "stopped"
    assert not any(message.topic.endswith("/masks") for message in heard)


@needs_mosquitto
async def test_events_have_qos_1_and_frames_qos_0_and_neither_is_kept(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        async with Subscriber(broker.port, f"{CAMERA}/#") as subscriber:
            async with mqtt_sink(broker.port) as sink:
                await sink.write(result(0, events=("new",)))
            heard = await subscriber.until("/status", "stopped")
            live = {message.topic: message.qos for message in heard}
        async with Subscriber(broker.port, "#") as late:
            kept = {heard.topic: heard for heard in [await late.next() for _ in RETAINED]}
    assert (live[f"{CAMERA}/events"], live[f"{CAMERA}/frames"]) == (1, 0)
    assert set(kept) == RETAINED
    assert all(message.retained and message.qos == 1 for message in kept.values())
    assert kept["keepsight/n/availability"].text == "stopped"
    assert (kept[f"{CAMERA}/status"].json["state"], kept[f"{CAMERA}/status"].json["reason"]) == (
        "stopped",
        "finished",
    )


@needs_mosquitto
@pytest.mark.parametrize("ending", ["interrupted", "failed"])
async def test_a_run_that_did_not_come_to_its_end_is_not_called_finished(
    tmp_path: Path, ending: Ending
) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{CAMERA}/status") as subscriber:
        async with mqtt_sink(broker.port) as sink:
            await subscriber.until("/status")
            sink.hear_of_end(ending)
        assert (await subscriber.until("/status", "stopped"))[-1].json["reason"] == ending


@needs_mosquitto
async def test_a_node_is_online_as_long_as_one_of_its_cameras_is(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "+/+/availability") as subscriber:
        async with mqtt_sink(broker.port) as staying:
            await subscriber.until("/availability", "online")
            target = parse_target(f"mqtt://127.0.0.1:{broker.port}/?node=n&camera=other")
            async with MqttSink(target):
                await subscriber.until("/availability", "online")
            await subscriber.until("/availability", "stopped")
            assert (await subscriber.next()).text == "online"
            await staying.write(result(0))
        assert (await subscriber.next()).text == "stopped"


@needs_mosquitto
async def test_a_source_that_is_away_is_in_the_status_at_once_and_stays_there(tmp_path: Path) -> None:
    topic = f"{CAMERA}/status"
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, topic) as subscriber:
        sink = mqtt_sink(broker.port)
        async with sink:
            await subscriber.until("/status", "waiting")
            began = time.monotonic()
            sink.hear_of_source(SourceStatus("offline", "Connection refused", 0))
            said = (await subscriber.until("/status", "offline"))[-1]
            assert time.monotonic() - began < STATUS_SECONDS / 2
            async with Subscriber(broker.port, topic) as late:
                assert (await late.next()).json["reason"] == "Connection refused"
    assert (said.json["state"], said.json["source"]) == ("waiting", "offline")
    assert (said.json["reconnects"], said.json["stalls"]) == (0, 0)


@needs_mosquitto
async def test_masks_are_sent_where_they_are_asked_for(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{CAMERA}/masks") as subscriber:
        async with mqtt_sink(broker.port, more="&masks=1") as sink:
            await sink.write(result(4))
        said = (await subscriber.next()).json
    assert said["index"] == 4
    assert [mask["mask"]["size"] for mask in said["masks"]] == [[48, 64], [48, 64]]


@needs_mosquitto
async def test_what_is_larger_than_the_broker_takes_is_left_out_and_the_rest_goes_on(
    tmp_path: Path, log: Log
) -> None:
    """A broker hangs up on who sends more than it said it takes."""
    noise = np.random.default_rng(0).random((48, 64)) > 0.5
    many = replace(result(1), tracks=tuple(track(number, noise) for number in range(1, 20)))
    settings = ("allow_anonymous true", "max_packet_size 1500")
    async with Mosquitto(tmp_path, *settings) as broker, Subscriber(broker.port, f"{CAMERA}/#") as subscriber:
        async with mqtt_sink(broker.port, more="&masks=1") as sink:
            await sink.write(many)
            await log.until(lambda entry: entry.get("topic") == f"{CAMERA}/masks")
            await sink.write(result(2, events=("new",)))
            heard = await subscriber.until("/masks")
            await sink.write(replace(many, frame=frame(3)))
        heard += await subscriber.until("/status", "finished")
    told = {one.topic: one.json["index"] for one in heard if one.topic.endswith(("/frames", "/masks"))}
    assert told == {f"{CAMERA}/frames": 2, f"{CAMERA}/masks": 2}
    assert any(one.topic == f"{CAMERA}/events" for one in heard)
    assert sum("New client connected" in line and "keepsight-" in line for line in broker.log) == 1
    large = [entry["topic"] for entry in log.entries if entry["event"] == "message too large, not sent"]
    assert len(large) == len(set(large)) == len(log.warnings), "each topic is said once, and nothing else"
    assert {f"{CAMERA}/frames", f"{CAMERA}/masks"} <= set(large)


PUBLISH_UNTIL_KILLED = """
import asyncio, sys
from keepsight.streams.sinks import open_sink
from tests.streams.results import result

async def main():
    async with open_sink(sys.argv[1]) as sink:
        await sink.write(result(0, events=("new",)))
        await asyncio.Event().wait()

asyncio.run(main())
"""


@needs_mosquitto
async def test_the_broker_says_offline_for_a_process_that_was_killed(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        url = f"mqtt://127.0.0.1:{broker.port}/?node=n&camera=c"
        root = Path(__file__).parents[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PUBLISH_UNTIL_KILLED, url, cwd=root
        )
        try:
            await subscriber.until("/frames")
        finally:
            process.kill()
            await process.wait()
        assert (await subscriber.until("/availability"))[-1].text == "offline"
        async with Subscriber(broker.port, "+/+/availability") as late:
            kept = await late.next()
    assert (kept.text, kept.qos, kept.retained) == ("offline", 1, True)


@needs_mosquitto
async def test_no_event_is_lost_when_the_broker_dies_in_the_middle(tmp_path: Path, log: Log) -> None:
    async with Mosquitto(tmp_path) as broker:
        async with mqtt_sink(broker.port) as sink:
            async with Subscriber(broker.port, "#") as subscriber:
                await sink.write(result(0, events=("new",)))
                await subscriber.until("/frames")
            await broker.kill()
            for index in range(1, 50):
                await sink.write(result(index, events=("update",)))
            await log.warned()
            await broker.start()
            async with Subscriber(broker.port, "#") as subscriber:
                await sink.write(result(50, events=("end",)))
                heard = await subscriber.until("/events", '"kind":"end"')
        assert sink.undelivered == 0
    again = [message.json["event_id"] for message in heard if message.topic.endswith("/events")]
    assert again[-1] == "n/c/r/50"
    assert again == sorted(again, key=lambda name: int(name.rsplit("/")[-1]))
    assert log.warnings == ["mqtt broker away, trying on"]
    newest = [message.json["index"] for message in heard if message.topic.endswith("/frames")]
    assert len(newest) <= 2, "frames of the outage were not kept"


@needs_mosquitto
async def test_events_from_before_the_broker_was_there_are_delivered_in_order(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path, "allow_anonymous true", "persistence false") as broker:
        await broker.kill()
        async with mqtt_sink(broker.port) as sink:
            for index in range(200):
                await sink.write(result(index, events=("update",)))
            lasting = ("-c", "-i", "listener", "-x", "3600")
            await broker.start()
            async with Subscriber(broker.port, f"{CAMERA}/events", *lasting) as subscriber:
                await sink.write(result(200, events=("end",)))
                heard = await subscriber.until("/events", '"kind":"end"')
    sequence = [int(message.json["event_id"].rsplit("/")[-1]) for message in heard]
    assert sequence == list(range(sequence[0], 201))


async def test_a_broker_that_is_not_there_delays_nothing_and_is_said_once(log: Log) -> None:
    made = [result(index, events=("update",) if index < 7 else ()) for index in range(300)]
    async with mqtt_sink(free_port(), more="&spool=off") as sink:
        began = time.monotonic()
        for one in made:
            await sink.write(one)
        writing = time.monotonic() - began
        await log.warned()
        began = time.monotonic()
    leaving = time.monotonic() - began
    assert writing < 0.5
    assert 1 < leaving < 2.5, "what is left is tried for a bounded time"
    assert log.warnings == ["mqtt broker away, trying on", "events were not delivered"]
    assert sink.undelivered == log.entries[-1]["events"] == 7


async def test_leaving_without_events_does_not_wait_for_a_broker_that_is_not_there() -> None:
    async with mqtt_sink(free_port()) as sink:
        await sink.write(result(0))
        began = time.monotonic()
    assert time.monotonic() - began < 1


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_that_never_answers_holds_up_neither_writing_nor_leaving() -> None:
    with deaf_port() as port:
        began = time.monotonic()
        async with mqtt_sink(port) as sink:
            await sink.write(result(0, events=("new",)))
        assert time.monotonic() - began < 3
        assert sink.undelivered == 1


@needs_mosquitto
async def test_a_broker_that_freezes_holds_up_neither_writing_nor_leaving(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        async with mqtt_sink(broker.port, more="&masks=1") as sink:
            async with Subscriber(broker.port, "#") as subscriber:
                await sink.write(result(0))
                await subscriber.until("/frames")
            broker.freeze()
            began = time.monotonic()
            for index in range(100):
                await sink.write(result(index, events=("update",)))
                await asyncio.sleep(0)
            assert time.monotonic() - began < 2
            began = time.monotonic()
        assert time.monotonic() - began < 3
        assert sink.undelivered == 100
        broker.thaw()


@needs_mosquitto
async def test_a_password_opens_the_broker_and_is_in_no_log(tmp_path: Path, log: Log) -> None:
    passwords = tmp_path / "passwords"
    making = await asyncio.create_subprocess_exec(
        "mosquitto_passwd", "-b", "-c", str(passwords), "ann", "s3cr:t/@"
    )
    assert await making.wait() == 0
    async with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        async with open_sink(f"mqtt://ann:s3cr%3At%2F%40@127.0.0.1:{broker.port}/?node=n") as sink:
            login = ("-u", "ann", "-P", "s3cr:t/@")
            async with Subscriber(broker.port, "#", *login) as subscriber:
                await sink.write(result(0, events=("new",)))
                assert (await subscriber.until("/frames"))[-1].json["index"] == 0
        async with open_sink(f"mqtt://ann:wr0ng@127.0.0.1:{broker.port}/?node=n") as sink:
            await sink.write(result(0))
            await log.warned()
    told = str(log.entries) + sink.url
    assert "ann:***@" in told
    assert "Not authorized" in told
    assert "s3cr" not in told
    assert "wr0ng" not in told


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_a_broker_is_spoken_to_over_tls_where_its_certificate_is_trusted(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "broker.crt", tmp_path / "broker.key"
    making = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await making.wait() == 0
    tls = ("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    async with Mosquitto(tmp_path, *tls) as broker:
        url = f"mqtts://localhost:{broker.port}/?node=n&camera=c"
        async with open_sink(url):
            await log.warned()
        assert "CERTIFICATE_VERIFY_FAILED" in log.entries[-1]["reason"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        secured = ("--cafile", str(certificate), "-h", "localhost")
        async with open_sink(url) as sink, Subscriber(broker.port, "#", *secured) as subscriber:
            await sink.write(result(0))
            assert (await subscriber.until("/frames"))[-1].json["index"] == 0
