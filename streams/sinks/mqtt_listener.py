"""What comes in over a sink's MQTT connection: commands, and what others say of our node."""

from __future__ import annotations

import asyncio

import aiomqtt
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..control import MAX_BYTES, read_request
from ..threads import Worker
from .mqtt_publisher import say_available
from .mqtt_target import MqttTarget, publishable
from .requests import Asker, Requests

log = structlog.get_logger(__name__)

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
    """Reads commands into `requests`. The inbox outlives connections: what has come is answered."""

    def __init__(self, target: MqttTarget, requests: Requests, worker: Worker, news: asyncio.Event) -> None:
        self.inbox = Inbox()
        self._target = target
        self._requests = requests
        self._worker = worker
        self._news = news
        self._said_denied = False

    async def subscribe(self, client: aiomqtt.Client) -> None:
        """Ask for commands; not for retained ones, which would be carried out again at each reconnect."""
        topic = self._target.camera_topic("cmd/#")
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        (code,) = await client.subscribe(topic, options=options)
        if not isinstance(code, int) and code.is_failure and not self._said_denied:
            self._said_denied = True
            log.warning("the broker lets us take no commands", url=self._target.url, reason=str(code))

    async def listen(self, client: aiomqtt.Client) -> None:
        """Raises `aiomqtt.MqttError` once the connection is lost; meanwhile takes what comes.

        Another camera of the node may leave, or the broker find a connection of before dead, while we go on:
        then we say again that the node is online.
        """
        await client.subscribe(self._target.availability_topic, qos=1)
        async for message in client.messages:
            if message.topic.value == self._target.availability_topic:
                if message.payload != b"online":
                    await say_available(client, self._target, "online")
            else:
                await self._read(message)
            if dropped := self.inbox.take_dropped():
                self._requests.refuse_unread(dropped)
            self._news.set()

    async def _read(self, message: aiomqtt.Message) -> None:
        name = message.topic.value.removeprefix(self._target.camera_topic("cmd")).removeprefix("/")
        request = await self._worker.run(read_request, name, message.payload, self._requests.token())
        self._requests.put(_asker(name, message), request)


def _asker(name: str, message: aiomqtt.Message) -> Asker:
    """Who is to be answered, where MQTT 5 can be answered to: not with wildcards."""
    respond_to = getattr(message.properties, "ResponseTopic", None)
    if respond_to is None or not publishable(respond_to):
        return Asker(name)
    return Asker(name, respond_to, getattr(message.properties, "CorrelationData", None))
