"""What others, a far broker and a strict one may do over MQTT, and what it may not cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from keepsight.streams.node_messages import CameraInfo, NodeInfo, info_message, process_of
from keepsight.streams.retry import Backoff
from keepsight.streams.sinks import mqtt, mqtt_connection, mqtt_target, sending
from keepsight.streams.sinks.mqtt import MqttSink
from keepsight.streams.sinks.mqtt_listener import Inbox
from keepsight.streams.sinks.mqtt_target import MOST_LEVELS, parse_target, publishable
from keepsight.streams.types import Watched
from tests.logs import Log
from tests.peers.asker import Asker
from tests.peers.gate import Gate, Spoil
from tests.peers.mosquitto import Mosquitto, Subscriber, needs_mosquitto

from .results import result
from .test_mqtt_node import kept, publish, tracking

pytestmark = needs_mosquitto
CAMERA = "keepsight/n/cam/c"
AVAILABILITY = "keepsight/n/availability"
INFO = "keepsight/n/info"
TOO_DEEP = "/".join(["a"] * 300)
"""mosquitto hangs up on who publishes there; as a response topic it hands it on."""
OBJECTS = tuple(range(1, 31))
FLOOD = 700


def mqtt_sink(port: int, *, more: str = "", process: str = "p") -> MqttSink:
    target = replace(
        parse_target(f"mqtt://127.0.0.1:{port}/?node=n&camera=c{more}", run="r"), process=process
    )
    return MqttSink(target, backoff=Backoff(shortest=0.02, longest=0.1))


def connections(broker: Mosquitto) -> int:
    """How often we have connected to a broker."""
    return sum("New client connected" in line and "keepsight-" in line for line in broker.log)


def test_a_topic_that_brokers_hang_up_on_is_not_published_to() -> None:
    assert publishable("/".join(["a"] * MOST_LEVELS))
    for topic in (TOO_DEEP, "a/+", "#", "a\x85", "a\x00", ""):
        assert not publishable(topic)


@pytest.mark.parametrize("allowed", [MOST_LEVELS, 1000], ids=["refused", "tried"])
async def test_a_response_topic_that_the_broker_cannot_take_costs_that_copy_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    monkeypatch.setattr(mqtt_target, "MOST_LEVELS", allowed)
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(broker.port) as sink,
    ):
        await asker.until("overlay/state")
        await asker.ask("forget", {"request_id": "poison", "object": 1}, respond_to=TOO_DEEP)
        assert not (await asker.answer("poison"))["ok"]
        await asker.ask("forget", {"request_id": "sound", "object": 1})
        if allowed == MOST_LEVELS:
            assert not (await asker.answer("sound"))["ok"]
        await sink.write(result(0, events=("new",)))
        await asker.until("/events")
        assert connections(broker) == (1 if allowed == MOST_LEVELS else 2)


async def test_a_far_broker_hears_that_we_have_stopped_and_forgets_our_objects(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Gate(broker.port, delay=0.05) as far:
        async with Subscriber(broker.port, f"{CAMERA}/object/+") as subscriber, mqtt_sink(far.port) as sink:
            await sink.write(tracking(0, *OBJECTS))
            await subscriber.until(f"object/{OBJECTS[-1]}")
        held = await kept(broker.port, "#")
    assert held[AVAILABILITY] == "stopped"
    assert '"state":"stopped"' in held[f"{CAMERA}/status"]
    assert not any("/object/" in topic for topic in held)


async def test_a_broker_that_did_not_hear_our_goodbye_says_offline(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port) as gate,
        Subscriber(broker.port, AVAILABILITY) as subscriber,
    ):
        async with mqtt_sink(gate.port):
            await subscriber.until("/availability", "online")
            gate.hold()
        gate.release()
        await subscriber.until("/availability", "offline")
        assert (await kept(broker.port, AVAILABILITY))[AVAILABILITY] == "offline"


async def test_a_goodbye_that_was_heard_in_part_does_not_leave_us_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(mqtt, "FLUSH_SECONDS", 1.0)
    monkeypatch.setattr(mqtt, "GOODBYE_SECONDS", 1.3)  # time to connect again, and not for another goodbye
    strict = StrictBroker()
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port, strict.spoiler) as gate,
        Subscriber(broker.port, "keepsight/n/#") as subscriber,
    ):
        async with mqtt_sink(gate.port) as sink:
            await subscriber.until("/availability", "online")
            strict.codes[PUBACK] = QUOTA_EXCEEDED
            await sink.write(result(0, events=("new",)))
            await subscriber.until("/status", "running")
            await asyncio.sleep(0.1)  # so that nothing is on its way any more
            strict.swallowed = 1  # the status that we say goodbye with
        await subscriber.until("/availability", "stopped")
        await subscriber.until("/availability", "online")
        await subscriber.until("/availability", "offline")


async def flood(port: int, topic: str, lines: int) -> None:
    flooding = await asyncio.create_subprocess_exec(
        *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-l", "-t", topic),
        stdin=asyncio.subprocess.PIPE,
    )
    await flooding.communicate(b'{"object_id": 1}\n' * lines)


async def test_what_is_said_of_our_node_is_heard_in_a_flood_of_commands(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA, AVAILABILITY) as asker,
        mqtt_sink(broker.port),
    ):
        await asker.until("overlay/state")
        await flood(broker.port, f"{CAMERA}/cmd/forget", FLOOD // 2)
        async with asyncio.TaskGroup() as at_once:
            at_once.create_task(publish(broker.port, AVAILABILITY, "offline", "-r"))
            at_once.create_task(flood(broker.port, f"{CAMERA}/cmd/forget", FLOOD // 2))
        await asker.until("/availability", lambda said: said == "offline")
        await asker.until("/availability", lambda said: said == "online")
        assert (await kept(broker.port, AVAILABILITY))[AVAILABILITY] == "online"


def message(topic: str, retained: bool = False) -> aiomqtt.Message:
    return aiomqtt.Message(topic, b"{}", 1, retained, 1, None)


async def test_an_inbox_counts_commands_that_do_not_fit_and_has_room_for_the_rest() -> None:
    inbox = Inbox(f"{CAMERA}/", INFO, commands=2, others=2)
    for name in ("cmd/reset", "enabled/set", "cmd/forget", "auto/set"):
        inbox.put_nowait(message(f"{CAMERA}/{name}"))
    inbox.put_nowait(message(AVAILABILITY))
    inbox.put_nowait(message(f"{CAMERA}/object/7", retained=True))
    inbox.put_nowait(message(f"{CAMERA}/cmd/reset", retained=True))  # does not fit, and asks for nothing
    taken = [(await inbox.get()).topic.value for _ in range(inbox.qsize())]
    assert taken == [
        *(f"{CAMERA}/cmd/reset", f"{CAMERA}/enabled/set"),
        *(AVAILABILITY, f"{CAMERA}/object/7"),
    ]
    assert inbox.take_dropped() == 2
    inbox.put_nowait(message(f"{CAMERA}/cmd/reset"))
    assert (inbox.qsize(), inbox.take_dropped()) == (1, 0), "there is room again"


async def test_the_description_of_a_node_of_many_cameras_is_read_whole() -> None:
    cameras = tuple(CameraInfo(f"camera-{number}", zones=("yard", "gate")) for number in range(2000))
    info = info_message(NodeInfo("nano", cameras), (), "other", 0.0).model_dump_json().encode()
    inbox = Inbox(f"{CAMERA}/", INFO)
    inbox.put_nowait(aiomqtt.Message(INFO, info, 1, False, 1, None))
    assert process_of((await inbox.get()).payload) == "other"


async def test_objects_that_a_run_has_left_are_cleared_and_are_no_commands(tmp_path: Path) -> None:
    strays = 300
    async with Mosquitto(tmp_path) as broker:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            for number in range(strays):
                await client.publish(f"{CAMERA}/object/{number}", "{}", retain=True)
            await client.publish("mark", "", qos=1)
        async with Asker(broker.port, CAMERA) as asker, mqtt_sink(broker.port) as sink:
            await asker.until("overlay/state")
            await sink.write(result(0, events=("new",)))
            await asker.until("/frames")
            await asker.ask("forget", {"request_id": "last"})
            await asker.answer("last")
        assert not await kept(broker.port, f"{CAMERA}/object/+")
    assert [said["request_id"] for topic, said in asker.heard if topic.endswith("/ack")] == ["last"]


async def test_whatever_is_set_is_answered_and_what_we_say_ourselves_is_not(tmp_path: Path) -> None:
    yard = Watched("zone", "set", ((0, 0), (1, 0), (1, 1)), (("cup", 1),))
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(broker.port) as sink,
    ):
        await asker.until("overlay/state")
        await sink.write(replace(result(0), watched=(yard,)))
        await asker.until("/frames")
        for name in ("object", "lights"):
            await asker.turn(name, "ON")
            refused = await asker.until("/ack", lambda said, name=name: said["command"] == name)
            assert f"unknown switch '{name}'" in refused["error"]
    assert not any(said["command"] == "zone" for topic, said in asker.heard if topic.endswith("/ack"))


async def test_a_zone_is_no_switch_and_that_is_answered(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(broker.port),
    ):
        await asker.until("overlay/state")
        await asker.turn("zone", "ON")
        assert "unknown switch 'zone'" in (await asker.until("/ack"))["error"]


SUBACK, PUBACK = 0x90, 0x40
NOT_AUTHORIZED, QUOTA_EXCEEDED = 0x87, 0x97


class StrictBroker:
    """A broker's answers on their way: from those whose kind is in `codes`, all acknowledgements but that of
    a subscription's first topic are of this code. So many PUBACKs that come next are `swallowed`."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.swallowed = 0

    def spoiler(self) -> Spoil:
        return self._spoil

    def _spoil(self, said: bytes) -> bytes:
        spoilt = b""
        while said:
            body, end = framed(said)
            spoilt += self._spoil_packet(said[:end], said[body:end])
            said = said[end:]
        return spoilt

    def _spoil_packet(self, packet: bytes, body: bytes) -> bytes:
        kind = packet[0]
        if kind == PUBACK and self.swallowed:
            self.swallowed -= 1
            return b""
        if kind not in self.codes:
            return packet
        spared = 4 if kind == SUBACK else 2  # packet id; and no properties, the first code
        codes = max(1, len(body) - spared) if kind == SUBACK else 1
        body = body[:spared] + bytes([self.codes[kind]] * codes)
        return bytes((kind, len(body))) + body


def framed(said: bytes) -> tuple[int, int]:
    """Where the body of the first packet begins and where it ends (MQTT 5.0, section 2.1.4)."""
    length, place = 0, 1
    while place == 1 or said[place - 1] > 127:
        length |= (said[place] & 127) << 7 * (place - 1)
        place += 1
    return place, place + length


async def test_an_event_that_the_broker_does_not_take_for_now_is_sent_again(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PUT_OFF_SECONDS", 0.1)
    strict = StrictBroker()
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port, strict.spoiler) as gate,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(gate.port) as sink,
    ):
        await asker.until("overlay/state")
        await sink.write(result(0))
        await asker.until("/frames")
        strict.codes[PUBACK] = QUOTA_EXCEEDED
        await sink.write(result(1, events=("new", "update")))
        await log.until(lambda entry: entry.get("topic") == f"{CAMERA}/events")
        await sink.write(result(2))
        await asker.until("/frames", lambda said: said["index"] == 2)
        assert sink.undelivered == 2
        strict.codes.clear()
        asker.heard.clear()
        await asker.until("/events", lambda said: said["event_id"] == "n/c/r/1")
    assert sink.undelivered == 0
    assert connections(broker) == 1


async def test_an_event_that_an_access_list_refuses_is_not_sent_again(tmp_path: Path, log: Log) -> None:
    strict = StrictBroker()
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port, strict.spoiler) as gate,
        Asker(broker.port, CAMERA) as asker,
    ):
        async with mqtt_sink(gate.port) as sink:
            await asker.until("overlay/state")
            strict.codes[PUBACK] = NOT_AUTHORIZED
            await sink.write(result(0, events=("new",)))
            await log.until(lambda entry: entry.get("topic") == f"{CAMERA}/events")
        assert sink.undelivered == 0
    assert "Not authorized" in str(log.entries)


async def test_every_topic_that_the_broker_does_not_let_us_hear_is_named(tmp_path: Path, log: Log) -> None:
    strict = StrictBroker()
    strict.codes[SUBACK] = NOT_AUTHORIZED
    async with (
        Mosquitto(tmp_path) as broker,
        Gate(broker.port, strict.spoiler) as gate,
        Asker(broker.port, CAMERA) as asker,
        mqtt_sink(gate.port),
    ):
        await asker.until("overlay/state")
        gate.shut()
        await gate.open()
        await asker.until("overlay/state")
    said = [
        one["topics"].split(", ") for one in log.entries if one["event"] == "the broker does not let us hear"
    ]
    homes = ["homeassistant/status"]
    assert said == [
        [f"{CAMERA}/+/set"],
        ["keepsight/n/info", f"{CAMERA}/object/+", f"{CAMERA}/zone/+", *homes],
    ]


async def test_commands_that_an_access_list_keeps_from_us_are_missed_and_all_else_goes_on(
    tmp_path: Path,
) -> None:
    """mosquitto's list of topics refuses no subscription: it hands on nothing, and says nothing of it."""
    rules = tmp_path / "acl"
    rules.write_text(f"user node\ntopic write #\ntopic read {AVAILABILITY}\nuser robot\ntopic readwrite #\n")
    passwords = tmp_path / "passwords"
    for user, new in (("node", ("-c",)), ("robot", ())):
        making = await asyncio.create_subprocess_exec(
            "mosquitto_passwd", "-b", *new, str(passwords), user, user
        )
        assert await making.wait() == 0
    settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    async with (
        Mosquitto(tmp_path, *settings) as broker,
        Asker(broker.port, CAMERA, login="robot:robot") as asker,
    ):
        target = parse_target(f"mqtt://node:node@127.0.0.1:{broker.port}/?node=n&camera=c", run="r")
        async with MqttSink(target) as sink:
            await asker.until("overlay/state")
            await asker.ask("reset", {"request_id": "unheard"})
            await sink.write(result(0, events=("new",)))
            await asker.until("/events")
            assert sink.take_commands() == ()
    assert not any(topic.endswith("/ack") for topic, _ in asker.heard)


async def test_two_processes_that_have_one_name_are_told_of_it(tmp_path: Path, log: Log) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "keepsight/n/info") as subscriber,
        Asker(broker.port, CAMERA) as asker,
    ):
        async with mqtt_sink(broker.port, process="one"):
            await subscriber.next()
            async with mqtt_sink(broker.port, more="&camera=d", process="one"):
                await subscriber.next()
                await asker.turn("unknown", "ON")
                await asker.until("/ack")  # what was said before is read by then
                assert not log.warnings, "cameras of one process share its name"
            async with mqtt_sink(broker.port, more="&camera=d", process="other"):
                await log.warned()
        async with mqtt_sink(broker.port, process="next"):
            await subscriber.until("/info", '"next"')
    (warning,) = log.warnings
    assert "?node=NAME" in warning
