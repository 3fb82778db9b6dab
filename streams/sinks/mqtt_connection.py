"""What a connection to a broker needs beside itself: certificates, and an ear for what the broker refuses."""

from __future__ import annotations

import ssl
from typing import Any

import aiomqtt
import structlog

from ..base import SinkError
from .mqtt_target import MqttTarget

log = structlog.get_logger(__name__)

MOST_ON_THEIR_WAY = 1000
"""Messages whose topics are remembered until the broker has answered."""


def tls_context(target: MqttTarget) -> ssl.SSLContext:
    """Whom we trust, and how we prove who we are. Raises SinkError, naming the file that cannot be used."""
    named = {"ca": target.ca, "cert": target.cert, "key": target.key}
    for name, file in named.items():
        if file is not None and not file.is_file():
            raise SinkError(f"{target.url}: {name}: there is no file {file}")
    try:
        context = ssl.create_default_context(cafile=target.ca)
    except ssl.SSLError:
        raise SinkError(f"{target.url}: ca: {target.ca} holds no certificate in PEM form") from None
    if target.cert is not None:
        try:
            context.load_cert_chain(target.cert, target.key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SinkError(
                f"{target.url}: cert: {target.cert} with its key cannot be used ({reason}): "
                "both must be PEM, belong together, and the key have no passphrase"
            ) from None
    return context


def watch_refusals(client: aiomqtt.Client, url: str) -> None:
    """Warn, once a topic and connection, of what the broker does not let us publish.

    Over MQTT 5 a broker may tell so in its acknowledgement (section 3.4.2.1), which aiomqtt does not hand on.
    Messages of QoS 0 have none: what is refused of them cannot be known.
    """
    paho: Any = client._client
    publish, on_publish = paho.publish, paho.on_publish
    topics: dict[int, str] = {}
    said: set[str] = set()

    def note(topic: str, *args: Any, **kwargs: Any) -> Any:
        info = publish(topic, *args, **kwargs)
        if len(topics) < MOST_ON_THEIR_WAY:
            topics[info.mid] = topic
        return info

    def look(paho: Any, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        topic = topics.pop(mid, None)
        if topic is not None and code.is_failure and topic not in said and len(said) < MOST_ON_THEIR_WAY:
            said.add(topic)
            log.warning("the broker refuses what we publish", url=url, topic=topic, reason=str(code))
        on_publish(paho, userdata, mid, code, properties)

    paho.publish, paho.on_publish = note, look
