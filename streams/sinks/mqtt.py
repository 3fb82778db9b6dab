"""Results over MQTT, and commands: events, frames, masks and answers, through any outage of the broker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

import aiomqtt
import structlog

from ..base import Ending, ending_with
from ..node_messages import CameraInfo, NodeInfo
from ..retry import OUTPUTS, Backoff
from ..threads import Worker
from ..types import Command, Result, SourceStatus, Switch
from .home_assistant import switches_of
from .mqtt_connection import ANSWER_SECONDS, Connector, hang_up, tls_context
from .mqtt_listener import Listener
from .mqtt_publisher import Publisher, say_available
from .mqtt_target import MqttTarget
from .outbox import EVENT_CAPACITY, Outbox
from .requests import Requests
from .retained import Retained
from .spool import Spool, Spooler

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.5
"""How long leaving waits for the broker to take what is left."""
GOODBYE_SECONDS = 0.4
"""And how much longer for it to take our goodbye."""
STEADY_SECONDS = 10.0
"""A connection that held for so long was a good one: the next failure is waited for briefly again."""


class MqttSink:
    """Publishes under `<prefix>/<node>/cam/<camera>/`, and the node's availability; takes commands there.

    `write` never waits: events queue up to a bound, in order and on disk, and are sent with QoS 1 (again
    after a lost connection or a crash, with the same id); of frames and masks only the newest is sent, with
    QoS 0. A broker that is away, refuses us or hangs is tried for ever with growing pauses, and said once an
    outage. Leaving sends what is left, for a bounded time, and leaves the rest to the next run. Commands that
    come to `cmd/` are given to the next step and answered when a result tells what became of them.
    """

    def __init__(
        self, target: MqttTarget, *, backoff: Backoff | None = None, capacity: int = EVENT_CAPACITY
    ) -> None:
        self._target = target
        self._backoff = backoff or OUTPUTS
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker = Worker(f"mqtt {target.camera}")
        self._outbox = Outbox((target.node, target.camera, target.run), capacity)
        self._spooler = (
            Spooler(Spool(target.spool), self._outbox, self._news, target.url) if target.spool else None
        )
        self._requests = Requests(target.run)
        self._retained = Retained()
        self._publisher = Publisher(
            target, self._outbox, self._requests, self._retained, self._worker, self._news
        )
        self._listener = Listener(target, self._requests, self._retained, self._worker, self._news)
        self._listener.turned = lambda: self.hear_of_pause(not self.is_on("enabled"))
        self._connector = Connector(target, self._listener.inbox)
        self.introduce(NodeInfo(cameras=(CameraInfo(target.camera),)))
        self._exits = AsyncExitStack()
        self._owner: asyncio.Task[None] | None = None
        self._away = False
        self._said_dropped = 0
        self._ending: Ending | None = None

    @property
    def url(self) -> str:
        return self._target.url

    @property
    def target(self) -> MqttTarget:
        return self._target

    def introduce(self, info: NodeInfo) -> None:
        """What the node is from now on, this camera included."""
        self._publisher.info = info
        self._news.set()
        mine = next(camera for camera in info.cameras if camera.name == self._target.camera)
        self._listener.offer(switches_of(mine))

    @property
    def dropped(self) -> int:
        """Events that were given up because too many waited."""
        return self._outbox.dropped

    @property
    def undelivered(self) -> int:
        """Events that are still waiting."""
        return self._outbox.waiting

    @property
    def kept(self) -> int:
        """Events that wait on disk, for the broker or the next run."""
        return self._spooler.kept if self._spooler else 0

    async def __aenter__(self) -> Self:
        if self._target.tls:
            self._connector.tls = tls_context(self._target)
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._worker)
            if self._spooler is not None:
                await exits.enter_async_context(self._spooler)
            self._exits = exits.pop_all()
        self._owner = asyncio.create_task(self._keep_connected(), name=f"mqtt {self.url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.refuse_open("the run ended before it was carried out")
        self._publisher.ending = self._ending or ending_with(error)
        self._closing.set()
        self._news.set()
        try:
            async with self._exits:
                await self._finish()
        finally:
            self._say_undelivered()

    async def write(self, result: Result) -> None:
        """Never waits. Raises only what a fault of this sink's own raised before."""
        assert self._owner is not None
        if self._owner.done():
            self._owner.result()
        if self._spooler is not None:
            self._spooler.check()
        self._outbox.put(result)
        self._requests.settle(result)
        self._retained.note(result)
        self._publisher.tally.count(result)
        self._publisher.minute.count(result)
        if self.dropped >= max(1, 10 * self._said_dropped):
            self._say_dropped()
        self._news.set()

    def hear_of_end(self, ending: Ending) -> None:
        self._ending = ending

    def hear_of_source(self, status: SourceStatus) -> None:
        """What is said of the source is in the status, at once."""
        self._publisher.tally.hear(status, time.monotonic())
        self._news.set()

    def hear_of_pause(self, paused: bool) -> None:
        self._publisher.tally.pause(paused)
        self._news.set()

    def when_turned(self, tell: Callable[[], None]) -> None:
        """`tell` is called after a switch was turned here, and says whether the camera is paused now; without
        it this sink takes itself for the only one that switches."""
        self._listener.turned = tell

    def take_commands(self) -> tuple[Command, ...]:
        return self._requests.take()

    def is_on(self, switch: Switch) -> bool:
        return switch not in self._listener.off

    def _say_dropped(self) -> None:
        """Warn of what was dropped since this was last said: at the first, at ten times as many as were said,
        when the broker is there again, and at the end."""
        if self.dropped > self._said_dropped:
            self._said_dropped = self.dropped
            log.warning("too many events wait, the oldest were dropped", url=self.url, events=self.dropped)

    def _say_undelivered(self) -> None:
        self._say_dropped()
        if self.kept:
            log.warning("events wait on disk for the next run", url=self.url, events=self.kept)
        if lost := self.undelivered - self.kept:
            log.warning("events were not delivered", url=self.url, events=lost)

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
            introduce = partial(self._publisher.introduce, client)
            listening = tasks.create_task(self._listener.listen(client, introduce))
            publishing = tasks.create_task(self._publisher.publish(client))
            await self._closing.wait()
            await asyncio.wait({publishing}, timeout=FLUSH_SECONDS)
            publishing.cancel()
            listening.cancel()
            await self._publisher.say_goodbye(client)

    async def _knock(self) -> None:
        """Finds out whether the broker's port answers, in a way that can be cancelled.

        aiomqtt connects in a thread that cannot: of those there would be more and more.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(self._target.host, self._target.port)
        writer.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        """Unless the broker has heard that we have stopped, it says `offline` for us afterwards."""
        async with self._connector.connected() as client:
            self._publisher.most_packet_bytes = self._connector.most_packet_bytes
            self._publisher.put_off = self._connector.put_off
            try:
                await self._listener.subscribe(client)  # before we are online: who hears that may command
                self._publisher.said_stopped = False
                await say_available(client, self._target, "online")
                log.info("mqtt broker connected", url=self.url)
                self._away = False
                self._say_dropped()
                self._retained.connected()
                yield client
            finally:
                self._retained.disconnected()
                if not self._publisher.said_stopped:
                    hang_up(client)


def _first_reason(group: BaseExceptionGroup[BaseException]) -> str:
    """What went wrong first, in one line."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error) or type(error).__name__).splitlines()[0]
