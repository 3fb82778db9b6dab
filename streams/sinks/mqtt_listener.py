"""What comes in over a sink's MQTT connection: commands, and what others say of our node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiomqtt
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..control import MAX_BYTES, Request, read_request
from ..threads import Worker
from ..types import Switch
from ..wording import cut, unknown
from .home_assistant import BIRTH_TOPIC
from .mqtt_connection import speaks_mqtt5
from .mqtt_publisher import say_available
from .mqtt_target import MqttTarget, publishable
from .requests import Asker, Requests
from .retained import OBJECTS, ZONES, Retained, plain

log = structlog.get_logger(__name__)

COMMANDS = ("cmd/#", "+/set")
INCOMING = 128
"""Messages that may wait to be read; what does not fit is refused together, by its number."""


class Inbox(asyncio.Queue[aiomqtt.Message]):
    """Messages that were not read yet. Where it is full `put_nowait` counts in `dropped` what it drops.

    Of a message that is too long to be read only so much is kept that it can be told.
    """

    def __init__(self, maxsize: int = INCOMING) -> None:
        super().__init__(maxsize)
        self.dropped = 0

    def put_nowait(self, message: aiomqtt.Message) -> None:
        if self.full():
            self.dropped += 1
            return
        message.payload = message.payload[: MAX_BYTES + 1]
        super().put_nowait(message)

    def take_dropped(self) -> int:
        """How many were dropped since this was last asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Listener:
    """Reads commands into `requests` and turns switches. The inbox outlives connections: what has come is
    answered. `off`: what is switched off."""

    def __init__(
        self,
        target: MqttTarget,
        requests: Requests,
        retained: Retained,
        worker: Worker,
        news: asyncio.Event,
    ) -> None:
        self.inbox = Inbox()
        self.off: set[Switch] = set()
        self._target = target
        self._requests = requests
        self._retained = retained
        self._worker = worker
        self._news = news
        self._said_denied = False
        self._switches: tuple[Switch, ...] = ()

    def offer(self, switches: tuple[Switch, ...]) -> None:
        """The switches there are, and their states for all to see."""
        self._switches = switches
        for switch in switches:
            self._retained.set(f"{switch}/state", plain("OFF" if switch in self.off else "ON"))

    async def subscribe(self, client: aiomqtt.Client) -> None:
        """Ask for commands; not for retained ones, which would be carried out again at each reconnect."""
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        topics = [self._target.camera_topic(name) for name in COMMANDS]
        if speaks_mqtt5(client):
            (code, _) = await client.subscribe([(topic, options) for topic in topics])
        else:
            (code, _) = await client.subscribe([(topic, 1) for topic in topics])
        if not isinstance(code, int) and code.is_failure and not self._said_denied:
            self._said_denied = True
            log.warning("the broker lets us take no commands", url=self._target.url, reason=str(code))

    async def listen(self, client: aiomqtt.Client, introduce: Callable[[], Awaitable[None]]) -> None:
        """Raises `aiomqtt.MqttError` once the connection is lost; meanwhile takes what comes.

        Another camera of the node may leave, or the broker find a connection of before dead, while we go on:
        then we say again that the node is online. What the broker kept of objects and zones that are no more
        is cleared.
        """
        topics = [self._target.availability_topic]
        topics += [self._target.camera_topic(f"{name}/+") for name in (OBJECTS, ZONES)]
        topics += [BIRTH_TOPIC] if self._target.discovery else []
        await client.subscribe([(topic, 1) for topic in topics])
        async for message in client.messages:
            match message.topic.value:
                case self._target.availability_topic:
                    if message.payload != b"online":
                        await say_available(client, self._target, "online")
                case topic if topic == BIRTH_TOPIC:
                    if message.payload == b"online" and not message.retain:
                        await introduce()
                case topic:
                    await self._read(topic.removeprefix(self._target.camera_topic("")), message)
            if dropped := self.inbox.take_dropped():
                self._requests.refuse_unread(dropped)
            self._news.set()

    async def _read(self, name: str, message: aiomqtt.Message) -> None:
        """One message; `name` is its topic under the camera's."""
        kind, _, rest = name.partition("/")
        if kind in (OBJECTS, ZONES):
            if message.retain and message.payload:
                self._retained.found(name)
        elif message.retain:
            return  # over MQTT 3.1.1, which cannot ask for the new ones alone
        elif rest == "set":
            self._turn(kind, message)
        else:
            request = await self._worker.run(read_request, rest, message.payload, self._requests.token())
            self._requests.put(_asker(rest, message), request)

    def _turn(self, name: str, message: aiomqtt.Message) -> None:
        """A switch, by ON or OFF; anything else is refused as a command is."""
        switch = next((one for one in self._switches if one == name), None)
        wanted = message.payload[:8].decode(errors="replace").upper()
        if switch is None:
            reason = unknown(cut(name), "switch", self._switches)
        elif wanted not in ("ON", "OFF"):
            reason = f"{switch}: {cut(wanted)!r} is neither ON nor OFF"
        else:
            (self.off.discard if wanted == "ON" else self.off.add)(switch)
            self._retained.set(f"{switch}/state", plain(wanted))
            log.info("switched", url=self._target.url, switch=switch, to=wanted)
            return
        self._requests.put(_asker(name, message), Request(None, refusal=reason))


def _asker(name: str, message: aiomqtt.Message) -> Asker:
    """Who is to be answered, where MQTT 5 can be answered to: not with wildcards."""
    respond_to = getattr(message.properties, "ResponseTopic", None)
    if respond_to is None or not publishable(respond_to):
        return Asker(name)
    return Asker(name, respond_to, getattr(message.properties, "CorrelationData", None))
