"""What comes in over a sink's MQTT connection: commands, and what others say of our node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiomqtt
import structlog
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..control import MAX_BYTES, Request, read_request
from ..node_messages import process_of
from ..threads import Worker
from ..types import Switch
from ..wording import cut, unknown
from .home_assistant import BIRTH_TOPIC
from .mqtt_connection import speaks_mqtt5
from .mqtt_publisher import say_available
from .mqtt_target import MqttTarget, publishable
from .requests import Asker, Requests
from .retained import MOST_STRAYS, OBJECTS, ZONES, Retained, plain

log = structlog.get_logger(__name__)

COMMANDS = ("cmd/#", "+/set")
INCOMING = 128
"""Commands that may wait to be read; what does not fit is refused together, by its number."""
OTHERS = 2 * MOST_STRAYS
"""And messages of other kinds, which are read at once; past it they are dropped."""
_LEAST_FAILURE = 0x80
INFOS = 32
"""Descriptions of our node that may wait to be read."""
_INFO_BYTES = 2**20
"""What is kept of each of these: one of thousands of cameras is shorter."""
_OTHER_BYTES = 64
"""What is kept of each other message: of none more is read."""


@dataclass(slots=True)
class Room:
    """For so many messages more, of each of which so many bytes are kept."""

    free: int
    kept_bytes: int


class Inbox(asyncio.Queue[aiomqtt.Message]):
    """Messages that were not read yet. Commands that do not fit are counted in `dropped`, and what comes
    beside them has its own room: what is said of our node is heard in a flood of commands, too.

    Of a message that is too long to be read only so much is kept that it can be told. `camera`: what the
    topics of the camera begin with; `info`: the topic that our node is described in.
    """

    def __init__(self, camera: str, info: str, commands: int = INCOMING, others: int = OTHERS) -> None:
        super().__init__()
        self.dropped = 0
        self._camera = camera
        self._info = info
        self._commands = Room(commands, MAX_BYTES + 1)
        self._infos = Room(INFOS, _INFO_BYTES)
        self._others = Room(others, _OTHER_BYTES)

    def put_nowait(self, message: aiomqtt.Message) -> None:
        room = self._room_for(message)
        if room.free:
            room.free -= 1
            message.payload = message.payload[: room.kept_bytes]
            super().put_nowait(message)
        elif room is self._commands:
            self.dropped += 1

    def get_nowait(self) -> aiomqtt.Message:
        message = super().get_nowait()
        self._room_for(message).free += 1
        return message

    def _room_for(self, message: aiomqtt.Message) -> Room:
        if self._is_command(message):
            return self._commands
        return self._infos if message.topic.value == self._info else self._others

    def _is_command(self, message: aiomqtt.Message) -> bool:
        """Whether somebody asks for something; what is retained asks for nothing."""
        topic = message.topic.value
        name = topic.removeprefix(self._camera)
        return not message.retain and name != topic and (name.startswith("cmd/") or name.endswith("/set"))

    def take_dropped(self) -> int:
        """How many were dropped since this was last asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped


class Listener:
    """Reads commands into `requests` and turns switches. The inbox outlives connections: what has come is
    answered. `off`: what is switched off; `turned` is called after each change of it."""

    def __init__(
        self,
        target: MqttTarget,
        requests: Requests,
        retained: Retained,
        worker: Worker,
        news: asyncio.Event,
    ) -> None:
        self.inbox = Inbox(target.camera_topic(""), target.info_topic)
        self.off: set[Switch] = set()
        self.turned: Callable[[], None] = lambda: None
        self._target = target
        self._requests = requests
        self._retained = retained
        self._worker = worker
        self._news = news
        self._denied: dict[str, str] = {}
        self._said_namesake = False
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
            codes = await client.subscribe([(topic, options) for topic in topics])
        else:
            codes = await client.subscribe([(topic, 1) for topic in topics])
        self._note_denied(topics, codes)

    def _note_denied(self, topics: Sequence[str], codes: Sequence[int | ReasonCode]) -> None:
        """Warn, once a topic, of what the broker does not let us hear (MQTT 5.0, section 3.9.3)."""
        denied = {topic: str(code) for topic, code in zip(topics, codes, strict=False) if _is_failure(code)}
        if denied.keys() - self._denied.keys():
            told, reasons = ", ".join(denied), ", ".join(sorted(set(denied.values())))
            log.warning("the broker does not let us hear", url=self._target.url, topics=told, reason=reasons)
        self._denied |= denied

    async def listen(self, client: aiomqtt.Client, introduce: Callable[[], Awaitable[None]]) -> None:
        """Raises `aiomqtt.MqttError` once the connection is lost; meanwhile takes what comes.

        Another camera of the node may leave, or the broker find a connection of before dead, while we go on:
        then we say again that the node is online. What the broker kept of objects and zones that are no more
        is cleared. Another process that is called as we are is warned of.
        """
        topics = [self._target.availability_topic, self._target.info_topic]
        topics += [self._target.camera_topic(f"{name}/+") for name in (OBJECTS, ZONES)]
        topics += [BIRTH_TOPIC] if self._target.discovery else []
        self._note_denied(topics, await client.subscribe([(topic, 1) for topic in topics]))
        async for message in client.messages:
            match message.topic.value:
                case self._target.availability_topic:
                    if message.payload != b"online":
                        await say_available(client, self._target, "online")
                case self._target.info_topic:
                    self._hear_info(message)
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
        if kind in (OBJECTS, ZONES) and (rest != "set" or message.retain or self._is_ours(name, message)):
            if message.retain and message.payload:
                self._retained.found(name)
        elif message.retain:
            return  # over MQTT 3.1.1, which cannot ask for the new ones alone
        elif rest == "set":
            self._turn(kind, message)
        else:
            request = await self._worker.run(read_request, rest, message.payload, self._requests.token())
            self._requests.put(_asker(rest, message), request)

    def _is_ours(self, name: str, message: aiomqtt.Message) -> bool:
        """Whether we said it ourselves: a zone may be called `set`."""
        return not message.payload or self._retained.holds(name)

    def _hear_info(self, message: aiomqtt.Message) -> None:
        """Info that comes while we are online, and is not ours, is from a process that is online as well."""
        process = process_of(message.payload)
        if message.retain or process in (None, self._target.process) or self._said_namesake:
            return
        self._said_namesake = True
        log.warning(
            "another process has the node's name and overwrites what is said of it: "
            "give each a name of its own with ?node=NAME in its URL",
            url=self._target.url,
            node=self._target.node,
        )

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
            self.turned()
            return
        self._requests.put(_asker(name, message), Request(None, refusal=reason))


def _is_failure(code: int | ReasonCode) -> bool:
    return (code if isinstance(code, int) else code.value) >= _LEAST_FAILURE


def _asker(name: str, message: aiomqtt.Message) -> Asker:
    """Who is to be answered, where MQTT 5 can be answered to: not with wildcards."""
    respond_to = getattr(message.properties, "ResponseTopic", None)
    if respond_to is None or not publishable(respond_to):
        return Asker(name)
    return Asker(name, respond_to, getattr(message.properties, "CorrelationData", None))
