"""What is promised of each topic: its quality of service, whether it is kept, how long it lasts, how much."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from keepsight.streams.sinks import minute, mqtt_publisher
from tests.logs import Log
from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto, Subscriber, needs_mosquitto

from .results import result
from .test_mqtt import mqtt_sink
from .test_mqtt_node import kept, publish, tracking

pytestmark = needs_mosquitto
CAMERA = "keepsight/n/cam/c"
NODE = "keepsight/n"
KEPT = {
    *(f"{NODE}/availability", f"{NODE}/info", "homeassistant/device/keepsight_n/config"),
    *(f"{CAMERA}/{name}" for name in ("status", "enabled/state", "overlay/state", "object/1", "zone/yard")),
}
PASSING = {f"{CAMERA}/ack": 1, f"{CAMERA}/events": 1, f"{CAMERA}/frames": 0, f"{CAMERA}/masks": 0}
QOS = dict.fromkeys(KEPT, 1) | PASSING | {f"{NODE}/stats": 0}


async def test_every_topic_has_its_quality_of_service_and_is_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minute, "STATS_SECONDS", 0.3)
    async with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        mqtt_sink(broker.port, more="&masks=1") as sink,
    ):
        heard = await subscriber.until("overlay/state")
        await publish(broker.port, f"{CAMERA}/cmd/forget", "{}")
        await sink.write(tracking(0, 1, ended=(2,), zone=1))
        while {one.topic for one in heard} - {f"{CAMERA}/cmd/forget"} != QOS.keys():
            heard.append(await subscriber.next())
        assert set(await kept(broker.port, "#")) == KEPT
    assert {one.topic: one.qos for one in heard if "/cmd/" not in one.topic} == QOS


async def test_events_last_a_day_and_answers_a_minute(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(broker.port) as sink,
    ):
        await asker.until("overlay/state")
        await sink.write(result(0, events=("new",)))
        await asker.until("/events")
        day = asker.expiries[-1]
        await asker.ask("forget", {"request_id": "a"})
        await asker.answer("a")
        minute_ = asker.expiries[-1]
    assert day == pytest.approx(24 * 3600, abs=5)
    assert minute_ == pytest.approx(60, abs=5)


async def test_frames_and_masks_are_as_many_a_second_as_was_asked_for(tmp_path: Path) -> None:
    asked, seconds = 10, 0.8
    async with Mosquitto(tmp_path) as broker, Asker(broker.port, CAMERA, f"{CAMERA}/masks") as asker:
        async with mqtt_sink(broker.port, more=f"&masks=1&frames_per_second={asked}") as sink:
            await asker.until("overlay/state")
            began, index = time.monotonic(), 0
            while time.monotonic() - began < seconds:
                await sink.write(result(index))
                index += 1
                await asyncio.sleep(0.01)
            lasted = time.monotonic() - began
        await asker.until("/masks", lambda said: said["index"] == index - 1)
    for name in ("frames", "masks"):
        heard = sum(topic.endswith(f"/{name}") for topic, _ in asker.heard)
        assert asked * seconds / 2 <= heard <= asked * lasted + 2, "with the first and the last of the run"


async def test_masks_that_are_too_large_are_left_out_and_that_is_said(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_publisher, "MASKS_BYTES", 100)
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA, f"{CAMERA}/masks") as asker,
        mqtt_sink(broker.port, more="&masks=1") as sink,
    ):
        for index in range(3):
            await sink.write(result(index))
            await asker.until("/frames", lambda said, index=index: said["index"] == index)
        await sink.write(result(3, events=("new",)))
        await asker.until("/events")
    assert not any(topic.endswith("/masks") for topic, _ in asker.heard)
    (said,) = [one for one in log.entries if one["event"] == "message too large, not sent"]
    assert (said["topic"], said["most"]) == (f"{CAMERA}/masks", 100)
