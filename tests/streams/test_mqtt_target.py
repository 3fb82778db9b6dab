"""What an MQTT URL says: where, as whom, under which topics and how much."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keepsight.streams.base import SinkError
from keepsight.streams.sinks import open_sink
from keepsight.streams.sinks.mqtt_target import MqttTarget, parse_target


def test_user_and_password_come_from_the_url_or_else_from_the_environment() -> None:
    environment = {"KEEPSIGHT_MQTT_USERNAME": "ann", "KEEPSIGHT_MQTT_PASSWORD": "from outside"}
    plain = parse_target("mqtt://host", environment=environment)
    given = parse_target("mqtt://bob:p%40ss@host", environment=environment)
    assert (plain.username, plain.password) == ("ann", "from outside")
    assert (given.username, given.password) == ("bob", "p@ss")
    assert "outside" not in repr(plain)
    assert "p@ss" not in repr(given)
    assert "p%40ss" not in repr(given)


def test_user_and_password_may_lie_in_files(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("ann\n")
    (tmp_path / "password").write_text("from a file \n")
    files = {
        "KEEPSIGHT_MQTT_USERNAME_FILE": str(tmp_path / "user"),
        "KEEPSIGHT_MQTT_PASSWORD_FILE": str(tmp_path / "password"),
    }
    target = parse_target("mqtt://host", environment=files)
    assert (target.username, target.password) == ("ann", "from a file ")
    direct = {"KEEPSIGHT_MQTT_PASSWORD": "direct"}
    assert parse_target("mqtt://host", environment=files | direct).password == "direct"
    missing = {"KEEPSIGHT_MQTT_PASSWORD_FILE": "nowhere"}
    with pytest.raises(SinkError, match=r"KEEPSIGHT_MQTT_PASSWORD_FILE: nowhere: No such file"):
        parse_target("mqtt://host", environment=missing)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mqtt://host?ca=a.pem", "ca is for TLS: write mqtts://"),
        ("mqtts://host?key=a.pem", "key without cert"),
        ("mqtt://host?path=/mqtt", "path is for WebSockets: write mqtt+ws://"),
        ("mqtt://host?discovery=maybe", "discovery=maybe is neither 1 nor 0"),
    ],
)
def test_what_has_no_use_there_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SinkError, match=re.escape(reason)):
        parse_target(url)


def test_websockets_have_the_ports_of_the_web_and_a_path() -> None:
    plain, secured = parse_target("mqtt+ws://host"), parse_target("mqtt+wss://host?path=/broker")
    assert (plain.port, plain.tls, plain.path) == (80, False, "/mqtt")
    assert (secured.port, secured.tls, secured.path) == (443, True, "/broker")
    assert parse_target("mqtt://host").path is None


def test_a_url_says_where_and_how_much() -> None:
    target = parse_target("mqtts://host/home/eyes?node=hall&camera=door&masks=1&frames_per_second=2.5")
    assert (target.host, target.port, target.tls, target.prefix) == ("host", 8883, True, "home/eyes")
    assert (target.masks, target.frames_per_second) == (True, 2.5)
    assert target.camera_topic("events") == "home/eyes/hall/cam/door/events"
    assert parse_target("mqtt://host", node="a", camera="b").camera_topic("x") == "keepsight/a/cam/b/x"
    assert parse_target("mqtt://[::1]:1884").port == 1884


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://",
        "mqtt:broker",
        "mqtt://host:port/",
        "mqtt://host:99999/",
        "mqtt://ho..st/",
        "mqtt://user:se/cret@host/",
        "mqtt://user:secret@host/a+b",
        "mqtt://user:secret@host/$SYS",
        "mqtt://user:secret@host/a//b",
        "mqtt://user:secret@host/?node=%2B",
        "mqtt://user:secret@host/?camera=a/b",
        "mqtt://user:secret@host/?camera=%23",
        "mqtt://user:secret@host/?camera=a%00b",
        "mqtt://user:secret@host/?camera=" + "x" * 200,
        "mqtt://user:secret@host/?masks=perhaps",
        "mqtt://user:secret@host/?frames_per_second=0",
        "mqtt://user:secret@host/?frames_per_second=nan",
        "mqtt://user:secret@host/?colour=red",
        "mqtt://user:secret@host/?spool=",
    ],
)
def test_a_url_that_makes_no_sense_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(SinkError) as refused:
        open_sink(url)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "cret" not in str(refused.value)


def test_events_wait_in_a_file_for_each_camera_of_each_broker() -> None:
    urls = ("mqtt://a", "mqtt://b", "mqtt://a:1884", "mqtts://a", "mqtt://a/x", "mqtt://a?node=n")
    files = {parse_target(url, camera=camera).spool for url in urls for camera in ("door", "door?", "door!")}
    assert len(files) == 18
    assert parse_target("mqtt://a?camera=door").spool == parse_target("mqtt://user:pw@a", camera="door").spool


def test_where_events_wait_is_the_users_to_say() -> None:
    def folder(url: str, **environment: str) -> str:
        spool = parse_target(url, environment=environment).spool
        return "" if spool is None else str(spool.parent)

    assert folder("mqtt://a?spool=/var/events", KEEPSIGHT_STATE="/state") == "/var/events"
    assert folder("mqtt://a?spool=off", KEEPSIGHT_STATE="/state") == ""
    assert folder("mqtt://a", KEEPSIGHT_STATE="/state", XDG_STATE_HOME="/xdg") == "/state/mqtt"
    assert folder("mqtt://a", XDG_STATE_HOME="/xdg") == "/xdg/keepsight/mqtt"
    assert folder("mqtt://a") == "~/.local/state/keepsight/mqtt"


def test_two_sinks_never_share_event_ids() -> None:
    runs = {parse_target("mqtt://host").run for _ in range(50)}
    assert len(runs) == 50
    assert parse_target("mqtt://host", run="mine").run == "mine"


def test_a_target_is_a_value() -> None:
    assert isinstance(parse_target("mqtt://host", run="r"), MqttTarget)
    assert parse_target("mqtt://host", run="r") == parse_target("mqtt://host", run="r")
