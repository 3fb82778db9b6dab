"""A connection to a broker: its certificates, the version that is spoken, an ear for what is refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..base import SinkError
from .mqtt_target import MqttTarget

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""A broker that has not answered for so long is taken for dead."""
KEEPALIVE_SECONDS = 15
MOST_PACKET_BYTES = 2**24
"""A larger message the broker shall not even send to us."""
MOST_ON_THEIR_WAY = 1000
"""Messages whose topics are remembered until the broker has answered."""
UNEXPLAINED = (0x80, 0x83)
"""Refusals for a reason that is not told: unspecified error, implementation specific error."""
FOR_NOW = (*UNEXPLAINED, 0x91, 0x97)
"""Refusals that need not be about the message: these, packet identifier in use, quota exceeded (MQTT 5.0,
section 3.4.2.1)."""
UNKNOWN_VERSION = ("Unsupported protocol version", "Protocol error", "Malformed packet")
"""How a broker may answer to who speaks a version it does not know (MQTT 5.0, section 3.2.2.2)."""


class Connector:
    """Makes connections, in MQTT 5 or, where the broker does not take that, in 3.1.1. A broker that has taken
    MQTT 5 once is not spoken to in 3.1.1 any more: what it then refuses has another reason."""

    def __init__(self, target: MqttTarget, inbox: asyncio.Queue[aiomqtt.Message]) -> None:
        self.tls: ssl.SSLContext | None = None
        self.most_packet_bytes: int | None = None
        """What the broker takes, of the connection made last; None where it did not say."""
        self.put_off: dict[str, int] = {}
        """Events, as they were sent over that connection, that the broker did not take for now, and with
        which reason code."""
        self._target = target
        self._inbox = inbox
        self._took_mqtt5 = False

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[aiomqtt.Client]:
        """Raises `aiomqtt.MqttError`."""
        async with AsyncExitStack() as exits:
            try:
                client = await exits.enter_async_context(self._open(aiomqtt.ProtocolVersion.V5))
                self._took_mqtt5 = True
                self.put_off = watch_refusals(client, self._target)
            except aiomqtt.MqttError as error:
                if self._took_mqtt5 or not may_be_too_old(error):
                    raise
                client = await exits.enter_async_context(self._open(aiomqtt.ProtocolVersion.V311))
                reason = str(error)
                log.info("the broker takes no MQTT 5: we speak 3.1.1", url=self._target.url, reason=reason)
            yield client

    @asynccontextmanager
    async def _open(self, protocol: aiomqtt.ProtocolVersion) -> AsyncIterator[aiomqtt.Client]:
        """A connection that the broker did not answer to in time is closed: it might answer yet."""
        client = self._client(protocol)
        try:
            async with client:
                yield client
        finally:
            hang_up(client)

    def _client(self, protocol: aiomqtt.ProtocolVersion) -> aiomqtt.Client:
        target = self._target
        client = aiomqtt.Client(
            target.host,
            target.port,
            username=target.username,
            password=target.password,
            # One name for all connections of a run: a broker that still holds an old one then ends it, and
            # says `offline` for it, before it takes the new one and not long after.
            identifier=f"keepsight-{target.node}-{target.camera}-{target.run}",
            protocol=protocol,
            will=aiomqtt.Will(target.availability_topic, "offline", qos=1, retain=True),
            timeout=ANSWER_SECONDS,
            keepalive=KEEPALIVE_SECONDS,
            tls_context=self.tls,
            transport="tcp" if target.path is None else "websockets",
            websocket_path=target.path,
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda **_: self._inbox),
            properties=_most_packet_bytes() if protocol == aiomqtt.ProtocolVersion.V5 else None,
        )
        client.pending_calls_threshold = MOST_ON_THEIR_WAY  # aiomqtt warns above it
        _notice_closing(client)
        self._note_most_packet_bytes(client)
        return client

    def _note_most_packet_bytes(self, client: aiomqtt.Client) -> None:
        """Said by a broker that takes us (MQTT 5.0, section 3.2.2.3.6); aiomqtt does not hand it on."""
        paho: Any = client._client
        on_connect = paho.on_connect
        self.most_packet_bytes = None

        def note(of: Any, userdata: Any, flags: Any, code: Any, properties: Any = None) -> None:
            self.most_packet_bytes = getattr(properties, "MaximumPacketSize", None)
            on_connect(of, userdata, flags, code, properties)

        paho.on_connect = note


def speaks_mqtt5(client: aiomqtt.Client) -> bool:
    return bool(client._client.protocol == aiomqtt.ProtocolVersion.V5.value)


def packet_bytes(topic: str, payload: str, properties: Properties | None) -> int:
    """The length of a PUBLISH packet (MQTT 5.0, section 3.3), or up to 5 bytes more."""
    head, packet_id, no_properties = 1 + 4, 2, 1
    described = no_properties if properties is None else len(properties.pack())  # type: ignore[no-untyped-call]
    return head + 2 + len(topic.encode()) + packet_id + described + len(payload.encode())


def _most_packet_bytes() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = MOST_PACKET_BYTES
    return properties


def hang_up(client: aiomqtt.Client) -> None:
    """Ends a connection without a word, so that the broker says our will (MQTT 5.0, section 3.1.2.5); aiomqtt
    would say goodbye, and then the broker says nothing."""
    if not client._disconnected.done():
        client._client._sock_close()
        client._disconnected.set_result(None)


def _notice_closing(client: aiomqtt.Client) -> None:
    """A broker that closes instead of answering is noticed at once; aiomqtt would wait for the answer."""
    paho: Any = client._client
    on_disconnect = paho.on_disconnect

    def notice(*said: Any) -> None:
        if not client._connected.done():
            client._connected.set_exception(aiomqtt.MqttError("the broker closed the connection at once"))
        on_disconnect(*said)

    paho.on_disconnect = notice


def may_be_too_old(error: aiomqtt.MqttError) -> bool:
    """Whether a broker that speaks only 3.1.1 may answer so to MQTT 5: that it does not understand, or by
    closing the connection, or not at all."""
    return not isinstance(error, aiomqtt.MqttCodeError) or str(error.rc) in UNKNOWN_VERSION


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


def watch_refusals(client: aiomqtt.Client, target: MqttTarget) -> dict[str, int]:
    """Warn, once a topic and connection, of what the broker does not let us publish. Given back is what it
    did not take for now of the events, and with which reason code: it fills as the broker answers.

    Over MQTT 5 a broker may tell so in its acknowledgement (section 3.4.2.1), which aiomqtt does not hand on.
    Messages of QoS 0 have none: what is refused of them cannot be known.
    """
    paho: Any = client._client
    publish, on_publish = paho.publish, paho.on_publish
    sent: dict[int, tuple[str, str]] = {}
    said: set[str] = set()
    put_off: dict[str, int] = {}

    def note(topic: str, payload: str, *args: Any, **kwargs: Any) -> Any:
        info = publish(topic, payload, *args, **kwargs)
        if len(sent) < MOST_ON_THEIR_WAY:
            sent[info.mid] = topic, payload
        return info

    def look(paho: Any, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        topic, payload = sent.pop(mid, ("", ""))
        if code.is_failure and topic:
            if topic == target.camera_topic("events") and code.value in FOR_NOW:
                put_off[payload] = code.value
            if topic not in said and len(said) < MOST_ON_THEIR_WAY:
                said.add(topic)
                log.warning(
                    "the broker refuses what we publish", url=target.url, topic=topic, reason=str(code)
                )
        on_publish(paho, userdata, mid, code, properties)

    paho.publish, paho.on_publish = note, look
    return put_off
