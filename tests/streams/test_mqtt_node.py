"""What a node tells and keeps retained, its switches, and Home Assistant, on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keepsight.streams.node_messages import CameraInfo, NodeInfo
from keepsight.streams.retry import Backoff
from keepsight.streams.sinks import minute
from keepsight.streams.sinks.home_assistant import discovery, discovery_topic
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_target import parse_target
from keepsight.streams.types import Result, Timings, Watched
from tests.logs import Log
from tests.peers.mosquitto import Heard, Mosquitto, Subscriber, needs_mosquitto

from .results import event, frame, result, track

pytestmark = needs_mosquitto
CAMERA = "keepsight/n/cam/c"
DISCOVERY = "homeassistant/device/keepsight_n/config"


def mqtt_sink(port: int, run: str = "r", more: str = "") -> MqttSink:
    target = parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c{more}", run=run)
    return MqttSink(target, backoff=Backoff(shortest=0.02, longest=0.1))


def tracking(index: int, *numbers: int, ended: tuple[int, ...] = (), zone: int = 0) -> Result:
    """A result with these objects, the ends of others, and so many in a zone."""
    of = frame(index)
    mask = np.zeros((48, 64), np.bool_)
    mask[10:20, 10:20] = True
    yard = Watched("zone", "yard", ((0, 0), (1, 0), (1, 1)), (("cup", zone),) if zone else ())
    events = tuple(event(of, "end", number) for number in ended)
    tracks = tuple(track(number, mask, label="cup") for number in numbers)
    return Result(of, tracks, events, watched=(yard,))


async def publish(port: int, topic: str, text: str, *more: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, "-m", text, *more)
    )
    assert await process.wait() == 0


async def kept(port: int, topic: str) -> dict[str, str]:
    """What the broker holds under a topic, by topic; all of it comes before what is sent afterwards."""
    async with Subscriber(port, topic, "-t", "mark") as subscriber:
        await publish(port, "mark", "end")
        heard = await subscriber.until("mark")
    return {one.topic: one.text for one in heard[:-1]}


async def settled(subscriber: Subscriber, index: int) -> list[Heard]:
    """All that is heard until the frame of this index."""
    return await subscriber.until("/frames", f'"index":{index},')


async def test_the_state_of_objects_and_zones_is_kept_and_cleared_at_their_end(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{CAMERA}/#") as subscriber:
        async with mqtt_sink(broker.port) as sink:
            await sink.write(tracking(0, 1, 2, zone=2))
            await settled(subscriber, 0)
            await sink.write(tracking(1, 1, 2, zone=2))
            unchanged = await settled(subscriber, 1)
            held = await kept(broker.port, f"{CAMERA}/object/+")
            zones = await kept(broker.port, f"{CAMERA}/zone/+")
            await sink.write(tracking(2, 1, 2, ended=(2,), zone=0))
            await settled(subscriber, 2)
            later = await kept(broker.port, f"{CAMERA}/object/+")
        assert await kept(broker.port, f"{CAMERA}/object/+") == {}
    assert set(held) == {f"{CAMERA}/object/1", f"{CAMERA}/object/2"}
    first = json.loads(held[f"{CAMERA}/object/1"])
    assert (first["object_id"], first["label"], first["state"], first["index"]) == (1, "cup", "tracked", 0)
    assert json.loads(zones[f"{CAMERA}/zone/yard"])["labels"] == {"cup": 2}
    assert set(later) == {f"{CAMERA}/object/1"}
    assert not any("/object/" in one.topic or "/zone/" in one.topic for one in unchanged)


async def test_retained_state_is_repaired_after_the_broker_forgot_it_and_after_we_were_away(
    tmp_path: Path,
) -> None:
    async with Mosquitto(tmp_path) as broker:
        for stale in ("object/7", "zone/gone"):
            await publish(broker.port, f"{CAMERA}/{stale}", "{}", "-r")
        async with mqtt_sink(broker.port) as sink:
            async with Subscriber(broker.port, f"{CAMERA}/#") as subscriber:
                await sink.write(tracking(0, 1, 2))
                await subscriber.until("object/2")
            await broker.kill()  # it keeps nothing on disk
            await sink.write(tracking(1, 1, 3, ended=(2,)))
            await broker.start()
            async with Subscriber(broker.port, f"{CAMERA}/#") as subscriber:
                await subscriber.until("object/3")
            held = await kept(broker.port, "#")
        assert {name for name in held if "/object/" in name} == {f"{CAMERA}/object/1", f"{CAMERA}/object/3"}
        assert {"keepsight/n/availability", "keepsight/n/info", DISCOVERY, f"{CAMERA}/status"} <= set(held)
        assert held[f"{CAMERA}/enabled/state"] == "ON"


async def test_objects_of_a_run_that_was_killed_are_cleared_by_the_next(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        for stale in ("object/7", "object/1", "zone/gone"):
            await publish(broker.port, f"{CAMERA}/{stale}", "{}", "-r")
        async with Subscriber(broker.port, f"{CAMERA}/#") as subscriber, mqtt_sink(broker.port) as sink:
            await sink.write(tracking(0, 1))
            cleared: set[str] = set()
            while not {f"{CAMERA}/object/7", f"{CAMERA}/zone/gone"} <= cleared:
                heard = await subscriber.next()
                cleared |= {heard.topic} if not heard.text else set()
            held = await kept(broker.port, f"{CAMERA}/object/+")
        assert json.loads(held[f"{CAMERA}/object/1"])["label"] == "cup"


async def test_switches_are_turned_over_mqtt_and_tell_their_state(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, f"{CAMERA}/#") as subscriber,
        mqtt_sink(broker.port) as sink,
    ):
        await subscriber.until("overlay/state", "ON")
        assert sink.is_on("enabled")
        await publish(broker.port, f"{CAMERA}/enabled/set", "OFF")
        await subscriber.until("enabled/state", "OFF")
        await subscriber.until("/status", '"paused"')
        assert not sink.is_on("enabled")
        assert sink.is_on("overlay")
        for name, payload, reason in (
            ("enabled", "maybe", "neither ON nor OFF"),
            ("lights", "ON", "unknown switch 'lights'"),
            ("auto", "ON", "unknown switch 'auto'"),
        ):
            await publish(broker.port, f"{CAMERA}/{name}/set", payload)
            refused = (await subscriber.until("/ack"))[-1].json
            assert reason in refused["error"]
            assert refused["command"] == name
        await publish(broker.port, f"{CAMERA}/enabled/set", "ON")
        await subscriber.until("enabled/state", "ON")
        await subscriber.until("/status", '"waiting"')
        assert sink.is_on("enabled")


async def test_a_retained_switch_is_not_turned_again_at_each_connect(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        await publish(broker.port, f"{CAMERA}/enabled/set", "OFF", "-r")
        async with Subscriber(broker.port, f"{CAMERA}/#") as subscriber, mqtt_sink(broker.port) as sink:
            await sink.write(tracking(0, 1))
            await settled(subscriber, 0)
            assert sink.is_on("enabled")


async def test_home_assistant_finds_the_node_and_hears_of_it_again_when_it_starts(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "homeassistant/#") as subscriber:
        sink = mqtt_sink(broker.port)
        sink.introduce(NodeInfo("nano", (CameraInfo("c", ("yard",), auto=True), CameraInfo("d"))))
        async with sink:
            first = (await subscriber.until("/config"))[-1]
            await publish(broker.port, "homeassistant/status", "online")
            again = (await subscriber.until("/config"))[-1]
        assert (await kept(broker.port, "homeassistant/#"))[DISCOVERY] == first.text == again.text
    said: dict[str, Any] = first.json
    components = said["components"]
    assert {"c_enabled", "c_overlay", "c_auto", "c_event", "c_objects", "c_zone_yard"} <= set(components)
    assert {"d_enabled", "d_overlay"} <= set(components)
    assert "d_auto" not in components
    assert components["c_enabled"]["command_topic"] == f"{CAMERA}/enabled/set"
    yard = components["c_zone_yard"]
    assert yard["state_topic"] == f"{CAMERA}/zone/yard"
    assert [one["topic"] for one in yard["availability"]] == ["keepsight/n/availability", f"{CAMERA}/status"]
    assert yard["availability_mode"] == "all"
    assert len({one["unique_id"] for one in components.values()}) == len(components)
    assert components["c_event"]["value_template"].startswith(
        '{{ {"event_type": value_json.kind, "object_id"'
    )
    assert said["device"]["identifiers"]
    assert said["origin"]["name"] == "keepsight"
    assert said["availability"][0]["topic"] == "keepsight/n/availability"


def test_names_in_any_script_are_entities_and_devices_of_their_own() -> None:
    names = ("前门", "后门", "车库", "front yard", "front.yard", "front_yard")
    target = parse_target("mqtt://broker/?node=n")
    info = NodeInfo(cameras=tuple(CameraInfo(camera, names) for camera in names))
    components = json.loads(discovery(target, info))["components"]
    zones = [one for one in components.values() if "/zone/" in one["state_topic"]]
    assert len({one["state_topic"] for one in zones}) == len(names) ** 2
    assert len({one["unique_id"] for one in components.values()}) == len(components)
    assert "front_yard_zone_front_yard" in components
    nodes = [replace(target, node=node) for node in ("Küche", "Köche", "K_che", "K.che")]
    topics = {discovery_topic(one) for one in nodes}
    assert len(topics) == len(nodes)
    assert all(re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", topic) for topic in topics)
    devices = {json.loads(discovery(one, info))["device"]["identifiers"][0] for one in nodes}
    assert len(devices) == len(nodes)


async def test_nothing_is_said_to_home_assistant_where_that_is_not_wanted(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        async with mqtt_sink(broker.port, more="&discovery=0") as sink:
            await sink.write(result(0))
        heard = await subscriber.until("/availability", "stopped")
    assert not any(one.topic.startswith("homeassistant") for one in heard)
    (info,) = [one for one in heard if one.topic == "keepsight/n/info"]
    assert {"version", "model", "cameras", "schemas"} <= set(info.json)
    assert info.retained is False, "heard live; kept by the broker for those who come later"


async def test_stats_tell_rates_and_latencies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minute, "STATS_SECONDS", 0.5)
    spent = Timings(0.01, 0.02, 0.03, 0.04, 0.05, 0.15)
    async with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "keepsight/n/#") as subscriber,
        mqtt_sink(broker.port) as sink,
    ):
        began = time.monotonic() - 1
        for index in range(10):
            made = result(index)
            told = replace(made.frame, clock="arrival", arrived=began + index / 25)
            await sink.write(replace(made, frame=told, timings=spent))
        stats = (await subscriber.until("/stats"))[-1]
    assert (stats.qos, stats.retained) == (0, False)
    said = stats.json
    assert (said["camera"], said["frames"], said["events_waiting"]) == ("c", 10, 0)
    assert said["frames_per_second"] == pytest.approx(said["frames"] / said["seconds"], rel=0.05)
    assert said["latency"]["encode"] == {"median": 0.02, "p95": 0.02}
    assert said["latency"]["step"]["p95"] == 0.15
    assert said["latency"]["capture_to_publish"]["median"] > 0
    assert said["resident_bytes"] > 2**20
    assert said["source_frames_per_second"] == pytest.approx(25)


async def test_what_an_access_list_refuses_is_said_once(tmp_path: Path, log: Log) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic read #\ntopic write keepsight/n/availability\ntopic write {CAMERA}/status\n")
    async with (
        Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker,
        Subscriber(broker.port, "#") as subscriber,
    ):
        async with mqtt_sink(broker.port) as sink:
            for index in range(3):
                await sink.write(result(index, events=("new",)))
            await subscriber.until("/status", "running")
        await subscriber.until("/availability", "stopped")
    refused = [
        entry["topic"] for entry in log.entries if entry["event"] == "the broker refuses what we publish"
    ]
    assert len(refused) == len(set(refused))
    assert {f"{CAMERA}/events", "keepsight/n/info", DISCOVERY} <= set(refused)
    assert f"{CAMERA}/status" not in refused
