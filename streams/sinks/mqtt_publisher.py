"""What goes out over a sink's MQTT connection: answers, events, frames, masks and the status."""

from __future__ import annotations

import asyncio
import time

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..messages import (
    SCHEMAS,
    Availability,
    ack_message,
    frames_message,
    masks_message,
    stamped,
    status_message,
)
from ..node_messages import NodeInfo, info_message, stats_message
from ..threads import Worker
from ..types import Result
from .home_assistant import discovery, discovery_topic
from .minute import Minute
from .mqtt_connection import packet_bytes
from .mqtt_target import MqttTarget
from .outbox import Outbox, Pace, Tally
from .requests import Answer, Requests
from .retained import MOST_STRAYS, Retained
from .sending import AT_ONCE, Sending

log = structlog.get_logger(__name__)

EVENT_EXPIRY_SECONDS = 24 * 3600
"""How long a broker keeps an event for a subscriber that is away."""
ANSWER_EXPIRY_SECONDS = 60
MASKS_BYTES = 512 * 1024
"""A larger masks message is not sent, as none is that is larger than what the broker takes."""
_MOST_SAID = 100
"""Topics of which it is said that a message was too large for them."""


class Publisher:
    """Sends what there is to say over the connection there is, until it is told to end.

    `news` is set where there may be something new to say; `ending`: why the run ended, once it has; `info`:
    what the node is; `said_stopped`: whether the broker has heard that we have stopped; `most_packet_bytes`:
    what the broker takes, None where it did not say. A message that is larger is left out, and that is said
    once a topic: the broker would hang up on us at each try. `put_off` fills with the events that it did not
    take for now, and why: they are sent again after a while.
    """

    def __init__(
        self,
        target: MqttTarget,
        outbox: Outbox,
        requests: Requests,
        retained: Retained,
        worker: Worker,
        news: asyncio.Event,
    ) -> None:
        self.tally = Tally()
        self.minute = Minute(target.camera)
        self.info = self._introduced = NodeInfo()
        self.ending = ""
        self.said_stopped = False
        self.most_packet_bytes: int | None = None
        self.put_off: dict[str, int] = {}
        self._target = target
        self._outbox = outbox
        self._requests = requests
        self._retained = retained
        self._worker = worker
        self._news = news
        self._pace = Pace(target.frames_per_second)
        self._sending = Sending(outbox, target.url)
        self._said_large: set[str] = set()

    async def publish(self, client: aiomqtt.Client) -> None:
        """Sends what there is as it comes; returns once `ending` is set and nothing waits."""
        self._sending.due = 0.0
        await self.introduce(client)
        await self._send_status(client)
        while True:
            self._news.clear()
            if self.info is not self._introduced:
                await self.introduce(client)
            await self._send_answers(client)
            await self._send_events(client)
            await self._send_retained(client)
            await self._send_frames(client)
            await self._send_stats(client)
            if self.tally.is_due(time.monotonic()):
                await self._send_status(client)
            if (
                self._sending.next_events(time.monotonic())
                or self._requests.unanswered
                or self._retained.waiting
            ):
                continue
            if self.ending and not self._outbox.has_result and not self._outbox.waiting:
                return
            await self._wait_for_news()

    async def introduce(self, client: aiomqtt.Client) -> None:
        """Who we are, for those who look for nodes; at each connect, and when Home Assistant has started."""
        self._introduced = self.info
        message = info_message(self.info, SCHEMAS, self._target.process, time.time())
        await self._publish(client, self._target.info_topic, message.model_dump_json(), qos=1, retain=True)
        if self._target.discovery:
            found = discovery(self._target, self.info)
            await self._publish(client, discovery_topic(self._target), found, qos=1, retain=True)

    async def say_goodbye(self, client: aiomqtt.Client) -> None:
        """All of it together, what matters most first: a far broker takes it in the time of one answer."""
        self._retained.end()
        self.tally.stop()
        async with asyncio.TaskGroup() as saying:
            saying.create_task(self._send_status(client))
            saying.create_task(self._say_stopped(client))
            saying.create_task(self._send_retained(client, MOST_STRAYS))

    async def _say_stopped(self, client: aiomqtt.Client) -> None:
        await say_available(client, self._target, "stopped")
        self.said_stopped = True

    async def _wait_for_news(self) -> None:
        """Until there is something to send: news, a frame whose turn has come, or the next status."""
        until = min(self.tally.next_due, self.minute.next_due(time.monotonic()))
        if self._outbox.waiting and self._sending.due > time.monotonic():
            until = min(until, self._sending.due)
        if self._outbox.has_result:
            until = min(until, self._pace.next_due)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send_answers(self, client: aiomqtt.Client) -> None:
        for answer in self._requests.next_answers(AT_ONCE):
            await self._send_answer(client, answer)

    async def _send_answer(self, client: aiomqtt.Client, answer: Answer) -> None:
        """To the topic of answers, and where the asker named a topic of its own, to that as well: once, since
        a broker may hang up at each try."""
        asker = answer.asker
        message = ack_message(asker.command, answer.request_id, answer.outcome, time.time())
        payload, properties = message.model_dump_json(), _expiry(ANSWER_EXPIRY_SECONDS)
        await self._publish(client, self._target.camera_topic("ack"), payload, qos=1, properties=properties)
        self._requests.told(answer)
        if asker.respond_to is None:
            return
        if asker.correlation is not None:
            properties.CorrelationData = asker.correlation
        await self._publish(client, asker.respond_to, payload, qos=1, properties=properties)

    async def _send_events(self, client: aiomqtt.Client) -> None:
        """Sends the oldest events, not all of a long queue: the newest frame shall not wait for them.

        They are on their way together, in order, so that a far broker takes them as fast as a near one.
        """
        events = {
            stamped(event.message, time.time()).model_dump_json(): event
            for event in self._sending.next_events(time.monotonic())
        }
        async with asyncio.TaskGroup() as sending:
            for payload in events:
                sending.create_task(self._send_event(client, payload))
        self._sending.settle(events, self.put_off, time.monotonic())
        self.put_off.clear()

    async def _send_event(self, client: aiomqtt.Client, payload: str) -> None:
        topic, properties = self._target.camera_topic("events"), _expiry(EVENT_EXPIRY_SECONDS)
        await self._publish(client, topic, payload, qos=1, properties=properties)

    async def _send_retained(self, client: aiomqtt.Client, limit: int = AT_ONCE) -> None:
        """As with events not all of them at once."""
        async with asyncio.TaskGroup() as sending:
            for _ in range(limit):
                if self._retained.waiting:
                    name, payload = self._retained.take(time.time())
                    sending.create_task(self._send_kept(client, name, payload))

    async def _send_kept(self, client: aiomqtt.Client, name: str, payload: str) -> None:
        await self._publish(client, self._target.camera_topic(name), payload, qos=1, retain=True)

    async def _send_stats(self, client: aiomqtt.Client) -> None:
        now = time.monotonic()
        if now < self.minute.next_due(now):
            return
        tally, outbox = self.tally, self._outbox
        stats = self.minute.stats(now, tally.dropped, outbox.waiting, outbox.dropped, tally.source_rate(now))
        payload = stats_message(stats, time.time()).model_dump_json()
        await self._publish(client, self._target.stats_topic, payload)

    async def _send_frames(self, client: aiomqtt.Client) -> None:
        """Sends the newest result where its turn has come, or the last one of the run."""
        now = time.monotonic()
        if now < self._pace.next_due and not self.ending:
            return
        result = self._outbox.take_result()
        if result is None:
            return
        self._pace.spent(now)
        payload = frames_message(result, time.time()).model_dump_json()
        await self._publish(client, self._target.camera_topic("frames"), payload)
        self.minute.publish(result, time.time())
        if self._target.masks:
            await self._send_masks(client, result)

    async def _send_masks(self, client: aiomqtt.Client, result: Result) -> None:
        message = await self._worker.run(masks_message, result, time.time())
        topic, payload = self._target.camera_topic("masks"), message.model_dump_json()
        if len(payload) > MASKS_BYTES:
            self._say_large(topic, len(payload), MASKS_BYTES)
        else:
            await self._publish(client, topic, payload)

    async def _send_status(self, client: aiomqtt.Client) -> None:
        message = status_message(self.tally.status(time.monotonic(), self.ending), time.time())
        topic = self._target.camera_topic("status")
        await self._publish(client, topic, message.model_dump_json(), qos=1, retain=True)

    async def _publish(
        self,
        client: aiomqtt.Client,
        topic: str,
        payload: str,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        size, most = packet_bytes(topic, payload, properties), self.most_packet_bytes
        if most is not None and size > most:
            self._say_large(topic, size, most)
        else:
            await client.publish(topic, payload, qos=qos, retain=retain, properties=properties)

    def _say_large(self, topic: str, size: int, most: int) -> None:
        if topic not in self._said_large and len(self._said_large) < _MOST_SAID:
            self._said_large.add(topic)
            url = self._target.url
            log.warning("message too large, not sent", url=url, topic=topic, bytes=size, most=most)


async def say_available(client: aiomqtt.Client, target: MqttTarget, state: Availability) -> None:
    await client.publish(target.availability_topic, state, qos=1, retain=True)


def _expiry(seconds: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties
