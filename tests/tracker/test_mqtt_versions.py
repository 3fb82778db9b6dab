"""Brokers that know only MQTT 3.1.1."""

from __future__ import annotations

from pathlib import Path

import aiomqtt
import pytest
from aiomqtt.exceptions import MqttConnectError

from keepsight.streams.sinks.mqtt_connection import may_be_too_old
from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto, needs_mosquitto
from tests.peers.old_broker import CONNACK_UNKNOWN_VERSION, old_broker

from .test_mqtt_commands import CAMERA, ON_RED, ids, tracking


@needs_mosquitto
@pytest.mark.parametrize("answer", [CONNACK_UNKNOWN_VERSION, b""], ids=["refuses", "closes"])
async def test_a_broker_that_takes_no_mqtt_5_is_spoken_to_in_3_1_1(tmp_path: Path, answer: bytes) -> None:
    kept = {"request_id": "kept", "object_id": 2, **ON_RED}
    async with (
        Mosquitto(tmp_path) as broker,
        old_broker(broker.port, answer) as (port, asked),
        Asker(broker.port, CAMERA) as asker,
    ):
        await asker.ask("prompt", kept, retain=True)
        async with tracking(port):
            assert ids(await asker.until("/frames")) == [], "what is published retained is not taken"
            await asker.ask("prompt", {"request_id": "one", "object_id": 1, **ON_RED})
            assert (await asker.answer("one"))["ok"]
            assert ids(await asker.until("/frames")) == [1]
            await asker.ask("forget", {"request_id": "two", "object_id": 1})
            assert (await asker.answer("two"))["ok"]
            await asker.until("/events", lambda said: said["kind"] == "end")
    assert asked == [5, 4]


def test_a_wrong_password_is_no_reason_to_speak_another_version() -> None:
    assert not may_be_too_old(MqttConnectError(5))
    assert may_be_too_old(aiomqtt.MqttError("Operation timed out"))


@needs_mosquitto
async def test_a_broker_that_has_taken_mqtt_5_is_not_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        async with Asker(broker.port, CAMERA) as asker, tracking(broker.port):
            await asker.until("/frames")
            await broker.kill()
            await asker.rest()
            await broker.start()
            async with Asker(broker.port, CAMERA) as again:
                await again.until("/frames")
        spoken = [line for line in broker.log if "keepsight-n-c-r" in line and " as " in line]
    assert len(spoken) == 2
    assert all("(p5," in line for line in spoken)
