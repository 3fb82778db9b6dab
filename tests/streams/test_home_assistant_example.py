"""The automations in the example name what Keepsight sends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepsight.streams.messages import schema
from keepsight.streams.sinks.mqtt_target import parse_target

EXAMPLE = (Path(__file__).parents[2] / "examples" / "home_assistant.md").read_text()
AUTOMATIONS = [
    automation
    for block in re.findall(r"```yaml\n(.*?)```", EXAMPLE, re.DOTALL)
    for automation in yaml.safe_load(block)["automation"]
]
TARGET = parse_target("mqtt://broker/keepsight?node=house", camera="main")
TOPICS = {
    re.escape(TARGET.camera_topic("events")): "events",
    re.escape(TARGET.camera_topic("status")): "status",
    re.escape(TARGET.camera_topic("zone/")) + "[^/]+": "zone",
}


def message_of(topic: str) -> str:
    """The name of the message that is sent to a topic."""
    (name,) = [name for pattern, name in TOPICS.items() if re.fullmatch(pattern, topic)]
    return name


@pytest.mark.parametrize("automation", AUTOMATIONS, ids=[one["alias"] for one in AUTOMATIONS])
def test_an_automation_waits_for_a_topic_that_there_is_and_reads_fields_that_its_message_has(
    automation: dict[str, Any],
) -> None:
    (trigger,) = automation["triggers"]
    fields = schema(message_of(trigger["topic"]))["properties"]
    named = re.findall(r"(?:payload_json|value_json)\.(\w+)", str(automation))
    assert named
    assert set(named) <= set(fields)
    if "payload" in trigger:  # what the field that the trigger looks at may say
        (looked_at,) = re.findall(r"value_json\.(\w+)", trigger["value_template"])
        assert trigger["payload"] in fields[looked_at]["enum"]


def test_the_text_names_topics_and_states_that_there_are() -> None:
    topics = re.findall(r"`(keepsight/[^`]+)`", EXAMPLE)
    assert [message_of(topic) for topic in topics] == ["status"]
    assert "running" in schema("status")["properties"]["state"]["enum"]
    assert "source" in schema("status")["properties"]
    assert len(AUTOMATIONS) == 2
