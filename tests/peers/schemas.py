"""What is heard over MQTT, held against the JSON Schemas that users are given, by a validator of others."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from keepsight.streams.messages import schema

_BY_TOPIC = ("status", "frames", "masks", "events", "ack", "info", "stats")
"""Topics that end as their message is called."""
_BY_PARENT = ("object", "zone")
"""Topics whose last but one level is what their message is called."""


def check(topic: str, said: object) -> None:
    """Raises `jsonschema.ValidationError` where a message of this topic is not what its schema says. Topics
    without one (availability, switches, discovery) are left alone."""
    levels = topic.split("/")
    if levels[-1] in _BY_TOPIC:
        validator(levels[-1]).validate(said)
    elif len(levels) > 1 and levels[-2] in _BY_PARENT:
        validator(levels[-2]).validate(said)


@cache
def validator(name: str) -> Any:
    """Of the messages that are called so."""
    Draft202012Validator.check_schema(schema(name))
    return Draft202012Validator(schema(name))
