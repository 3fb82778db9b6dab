"""Who sends commands over MQTT and listens for the answers: a client of its own on a real broker."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .schemas import check

PATIENCE_SECONDS = 60


class Asker:
    """Hears everything under `camera` ("keepsight/n/cam/c") and `more`, and asks there; where `login` names
    one, "user:password", as a user."""

    def __init__(
        self, port: int, camera: str, *more: str, login: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.correlations: list[bytes | None] = []
        self.expiries: list[int | None] = []
        """What is left of each message's life when it is heard, in seconds."""
        self._camera = camera
        heard = ("ack", "frames", "events", "+/state")
        self._topics = (*(f"{camera}/{name}" for name in heard), *more)
        user, _, password = login.partition(":")
        self._client = aiomqtt.Client(
            "localhost" if tls else "127.0.0.1",
            port,
            username=user or None,
            password=password or None,
            tls_context=tls,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=PATIENCE_SECONDS,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        for topic in self._topics:
            await self._client.subscribe(topic, qos=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def ask(
        self,
        name: str,
        said: object,
        *,
        respond_to: str | None = None,
        correlation: bytes = b"",
        retain: bool = False,
    ) -> None:
        """Sends a command: `said` as JSON, or as it is where it is bytes."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if respond_to is not None:
            properties.ResponseTopic, properties.CorrelationData = respond_to, correlation
        payload = said if isinstance(said, bytes) else json.dumps(said)
        await self._client.publish(
            f"{self._camera}/cmd/{name}", payload, qos=1, retain=retain, properties=properties
        )

    async def turn(self, switch: str, state: str) -> None:
        await self._client.publish(f"{self._camera}/{switch}/set", state, qos=1)

    async def until(self, topic_end: str, wanted: Callable[[Any], bool] = lambda said: True) -> Any:
        """The next message whose topic ends so and that is `wanted`; all that is heard is kept in `heard`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for message in self._client.messages:
                topic, said = self._hear(message)
                if topic.endswith(topic_end) and wanted(said):
                    return said
        raise AssertionError("the connection has ended")

    async def rest(self) -> None:
        """Hears what is still to be heard before the connection is lost."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(aiomqtt.MqttError):
                async for message in self._client.messages:
                    self._hear(message)

    def _hear(self, message: aiomqtt.Message) -> tuple[str, dict[str, Any]]:
        plain = message.topic.value.endswith(("/state", "/availability"))
        said = message.payload.decode() if plain else json.loads(message.payload)
        check(message.topic.value, said)
        self.heard.append((message.topic.value, said))
        self.correlations.append(getattr(message.properties, "CorrelationData", None))
        self.expiries.append(getattr(message.properties, "MessageExpiryInterval", None))
        return self.heard[-1]

    async def answer(self, request_id: str | None) -> dict[str, Any]:
        return await self.until("/ack", lambda said: said["request_id"] == request_id)
