"""Results over MQTT 5: availability, status, events, frames and masks, through any outage of the broker."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..messages import (
    Availability,
    event_id,
    event_message,
    frames_message,
    masks_message,
    status_message,
)
from ..retry import Backoff
from ..threads import Worker
from ..types import Result, SourceStatus
from .mqtt_target import MqttTarget
from .outbox import Outbox, Pace, Tally

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.5
"""How long leaving waits for the broker to take what is left."""
GOODBYE_SECONDS = 0.4
"""And how much longer for it to take our goodbye."""
ANSWER_SECONDS = 5.0
"""A broker that has not answered for so long is taken for dead."""
KEEPALIVE_SECONDS = 15
STEADY_SECONDS = 10.0
"""A connection that held for so long was a good one: the next failure is waited for briefly again."""
EVENT_EXPIRY_SECONDS = 24 * 3600
"""How long a broker keeps an event for a subscriber that is away."""
MASKS_BYTES = 512 * 1024
"""A larger masks message is not sent, counted, and said once."""
_EVENTS_AT_A_TIME = 50
_INCOMING = 8


class MqttSink:
    """Publishes under `<prefix>/<node>/cam/<camera>/`, and the node's availability.

    `write` never waits: events queue up to a bound, in order, and are sent with QoS 1 (again after a lost
    connection, with the same id); of frames and masks only the newest is sent, with QoS 0. A broker that is
    away, refuses us or hangs is tried for ever with growing pauses, and said once an outage. Leaving sends
    what is left, for a bounded time.
    """

    def __init__(self, target: MqttTarget, *, backoff: Backoff | None = None) -> None:
        self._target = target
        self._backoff = backoff or Backoff(shortest=0.25)
        self._outbox = Outbox()
        self._pace = Pace(target.frames_per_second)
        self._tally = Tally()
        self._worker = Worker(f"mqtt masks {target.camera}")
        self._owner: asyncio.Task[None] | None = None
        self._tls: ssl.SSLContext | None = None
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._ending = ""
        self._away = False
        self._said_dropped = False
        self.oversized = 0

    @property
    def url(self) -> str:
        return self._target.url

    @property
    def undelivered(self) -> int:
        """Events that were dropped or are still waiting."""
        return self._outbox.dropped + self._outbox.waiting

    async def __aenter__(self) -> Self:
        if self._target.tls:
            self._tls = ssl.create_default_context()
        await self._worker.__aenter__()
        self._owner = asyncio.create_task(self._keep_connected(), name=f"mqtt {self.url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = _ending(error)
        self._closing.set()
        self._news.set()
        try:
            await self._finish()
        finally:
            await self._worker.__aexit__(None, None, None)
            if self.undelivered:
                log.warning("events were not delivered", url=self.url, events=self.undelivered)

    async def write(self, result: Result) -> None:
        """Never waits. Raises only what a fault of this sink's own raised before."""
        assert self._owner is not None
        if self._owner.done():
            self._owner.result()
        self._outbox.put(result)
        self._tally.count(result)
        if self._outbox.dropped and not self._said_dropped:
            self._said_dropped = True
            log.warning("the oldest events are being dropped: the broker takes none", url=self.url)
        self._news.set()

    def hear_of_source(self, status: SourceStatus) -> None:
        """What is said of the source is in the status, at once."""
        self._tally.hear(status, time.monotonic())
        self._news.set()

    async def _finish(self) -> None:
        """Waits for the owner to say goodbye, and stops it where that takes too long."""
        assert self._owner is not None
        try:
            for patience in (FLUSH_SECONDS + GOODBYE_SECONDS, 0.2, 0.2):
                await asyncio.wait({self._owner}, timeout=patience)
                if self._owner.done():
                    break
                self._owner.cancel()
        finally:
            self._owner.cancel()
        if self._owner.done() and not self._owner.cancelled():
            self._owner.result()

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            reason = await self._outcome_of_a_session()
            if reason is None or (self._closing.is_set() and not self._outbox.waiting):
                return
            if not self._away:
                log.warning("mqtt broker away, trying on", url=self.url, reason=reason)
            self._away = True
            if time.monotonic() - began > STEADY_SECONDS:
                failures = 0
            await self._pause(self._backoff.delay(failures, random.random()))
            failures += 1

    async def _pause(self, seconds: float) -> None:
        """Waits; less once the sink is being left."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return
        await asyncio.sleep(min(seconds, self._backoff.shortest))

    async def _outcome_of_a_session(self) -> str | None:
        """Connects and publishes until the sink is left (None) or the connection is lost (why)."""
        reason: str | None = None
        try:
            await self._session()
        except* (aiomqtt.MqttError, OSError) as group:
            reason = _first_reason(group)
        return reason

    async def _session(self) -> None:
        await self._knock()
        async with self._connected() as client, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(client))
            publishing = tasks.create_task(self._publish(client))
            await self._closing.wait()
            await asyncio.wait({publishing}, timeout=FLUSH_SECONDS)
            publishing.cancel()
            watching.cancel()
            await self._say_goodbye(client)

    async def _knock(self) -> None:
        """Finds out whether the broker's port answers, in a way that can be cancelled.

        aiomqtt connects in a thread that cannot, and that would hold up the end of the process.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(self._target.host, self._target.port)
        writer.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        target = self._target
        client = aiomqtt.Client(
            target.host,
            target.port,
            username=target.username,
            password=target.password,
            # One name for all connections of a run: a broker that still holds an old one then ends it, and
            # says `offline` for it, before it takes the new one and not long after.
            identifier=f"keepsight-{target.node}-{target.camera}-{target.run}",
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(target.availability_topic, "offline", qos=1, retain=True),
            timeout=ANSWER_SECONDS,
            keepalive=KEEPALIVE_SECONDS,
            tls_context=self._tls,
            max_queued_incoming_messages=_INCOMING,
        )
        async with client:
            await self._say_available(client, "online")
            log.info("mqtt broker connected", url=self.url)
            self._away = False
            yield client

    async def _watch(self, client: aiomqtt.Client) -> None:
        """Raises `aiomqtt.MqttError` once the connection is lost; meanwhile keeps the availability right.

        Another camera of the node may leave, or the broker find a connection of before dead, while we go on.
        """
        await client.subscribe(self._target.availability_topic, qos=1)
        async for message in client.messages:
            if message.payload != b"online":
                await self._say_available(client, "online")

    async def _publish(self, client: aiomqtt.Client) -> None:
        """Sends what there is as it comes; returns once the sink is being left and nothing waits."""
        await self._send_status(client)
        while True:
            self._news.clear()
            await self._send_events(client)
            await self._send_frames(client)
            if self._tally.is_due(time.monotonic()):
                await self._send_status(client)
            if self._outbox.waiting:
                continue
            if self._closing.is_set() and not self._outbox.has_result:
                return
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        """Until there is something to send: news, a frame whose turn has come, or the next status."""
        until = self._tally.next_due
        if self._outbox.has_result:
            until = min(until, self._pace.next_due)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send_events(self, client: aiomqtt.Client) -> None:
        """Sends the oldest events, not all of a long queue: the newest frame shall not wait for them."""
        target = self._target
        source = (target.node, target.camera, target.run)
        for _ in range(_EVENTS_AT_A_TIME):
            item = self._outbox.next_event()
            if item is None:
                return
            message = event_message(item.event, event_id(source, item.sequence), time.time())
            topic, payload = target.camera_topic("events"), message.model_dump_json()
            await client.publish(topic, payload, qos=1, properties=_expiry(EVENT_EXPIRY_SECONDS))
            self._outbox.sent(item)

    async def _send_frames(self, client: aiomqtt.Client) -> None:
        """Sends the newest result where its turn has come, or the last one of the run."""
        now = time.monotonic()
        if now < self._pace.next_due and not self._closing.is_set():
            return
        result = self._outbox.take_result()
        if result is None:
            return
        self._pace.spent(now)
        payload = frames_message(result, time.time()).model_dump_json()
        await client.publish(self._target.camera_topic("frames"), payload)
        if self._target.masks:
            await self._send_masks(client, result)

    async def _send_masks(self, client: aiomqtt.Client, result: Result) -> None:
        message = await self._worker.run(masks_message, result, time.time())
        payload = message.model_dump_json()
        if len(payload) <= MASKS_BYTES:
            await client.publish(self._target.camera_topic("masks"), payload)
            return
        self.oversized += 1
        if self.oversized == 1:
            log.warning(
                "masks message too large, not sent", url=self.url, bytes=len(payload), most=MASKS_BYTES
            )

    async def _send_status(self, client: aiomqtt.Client) -> None:
        message = status_message(self._tally.status(time.monotonic(), self._ending), time.time())
        topic = self._target.camera_topic("status")
        await client.publish(topic, message.model_dump_json(), qos=1, retain=True)

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        self._tally.stop()
        await self._send_status(client)
        await self._say_available(client, "stopped")

    async def _say_available(self, client: aiomqtt.Client, state: Availability) -> None:
        await client.publish(self._target.availability_topic, state, qos=1, retain=True)


def _expiry(seconds: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


def _ending(error: BaseException | None) -> str:
    """Why the run ended, in a word for the status."""
    match error:
        case None:
            return "finished"
        case asyncio.CancelledError() | KeyboardInterrupt() | GeneratorExit():
            return "interrupted"
        case _:
            return "failed"


def _first_reason(group: BaseExceptionGroup[BaseException]) -> str:
    """What went wrong first, in one line."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error) or type(error).__name__).splitlines()[0]
