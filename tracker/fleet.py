"""Streams side by side with one model, while it may be changed which they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from keepsight.streams.base import Page, SinkError, SourceError

from . import config
from .deployment import STAGGER_SECONDS, introduce, prepare_stream, refuse_shared_outputs
from .pipeline import Report, Session, Stream, run
from .rules import NO_RULES
from .summary import Meter
from .validation import ConfigError

if TYPE_CHECKING:
    from keepsight.streams.web.camera import Camera
    from keepsight.streams.web.deployer import Deployer
    from keepsight.streams.web.server import WebServer
    from keepsight.streams.web.target import WebTarget

log = structlog.get_logger(__name__)

Start = Callable[[Stream, int], Awaitable[Session]]
"""Makes the session of a stream, with room for so many objects."""
Servers = dict["WebTarget", "WebServer"]

SHOWN_SECONDS = 5.0
"""How long a change waits until pages show what it begins."""


class Observer(Protocol):
    """Is told of each result, and of streams that are there no more."""

    def observe(self, stream: Stream, meter: Meter) -> None: ...

    def leave(self, stream: Stream) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """By name, which streams a change concerns. `watched`: only what they are watched for is new; `failed`:
    lines about those that were to begin and could not after all."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = {
            "added": self.added,
            "removed": self.removed,
            "begun again": self.changed,
            "other rules for": self.watched,
        }
        said = [f"{word} {', '.join(names)}" for word, names in words.items() if names]
        return "; ".join((*said, *self.failed))

    def without(self, failed: dict[str, str]) -> Change:
        """The change when these streams, by name with the reason, could not begin."""
        return replace(
            self,
            added=tuple(name for name in self.added if name not in failed),
            changed=tuple(name for name in self.changed if name not in failed),
            failed=tuple(f"{name} does not run: {reason}" for name, reason in failed.items()),
        )


@dataclass(frozen=True, slots=True)
class _Running:
    config: config.Stream
    stream: Stream
    stop: asyncio.Event
    task: asyncio.Task[Report]


def difference(old: dict[str, config.Stream], new: dict[str, config.Stream]) -> Change:
    """What has to happen to the streams in `old` so that they are those in `new`."""
    both = [name for name in new if name in old and new[name] != old[name]]
    watched = [name for name in both if _but_for_rules(new[name]) == _but_for_rules(old[name])]
    return Change(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in both if name not in watched),
        watched=tuple(watched),
    )


def _but_for_rules(stream: config.Stream) -> config.Stream:
    return stream.model_copy(update={"rules": NO_RULES})


@dataclass(slots=True)
class Fleet:
    """Runs streams in `tasks`. `deployment` is what runs; `servers` are the pages its cameras are on,
    where `deployer` changes it.

    `apply` makes it another deployment: streams that are the same go on, and those of which only the rules
    differ keep their tracks.
    """

    deployment: config.Deployment
    servers: Servers
    start: Start
    observer: Observer
    tasks: asyncio.TaskGroup
    deployer: Deployer | None = None
    _running: dict[str, _Running] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changing: set[asyncio.Task[Change]] = field(default_factory=set)
    _over: bool = False

    def begin(self, streams: Iterable[Stream]) -> None:
        """Start streams of the deployment."""
        for stream in streams:
            self._begin(stream, self.deployment.streams[stream.name])
        self._arrange()

    @property
    def streams(self) -> dict[str, Stream]:
        """By name, those that run, or ended by themselves."""
        return {name: one.stream for name, one in self._running.items()}

    async def until_over(self, stop: asyncio.Event) -> list[Report]:
        """How the present streams ended: all by themselves, or because `stop` was set."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set() and (working := self._working()):
                await asyncio.wait({stopping, *working}, return_when=asyncio.FIRST_COMPLETED)
            self._over = True
            while working := self._working():
                for one in self._running.values():
                    one.stop.set()
                await asyncio.wait(working)
        finally:
            stopping.cancel()
        return [one.task.result() for one in self._running.values()]

    def check(self, new: config.Deployment) -> Iterable[WebTarget]:
        """The pages that what it begins would be on. Raises ConfigError, SourceError or SinkError where it
        could not be applied."""
        for key in config.Engine.model_fields:
            if getattr(new, key) != getattr(self.deployment, key):
                raise ConfigError(
                    f"{key}: all streams share the model as it was loaded: start again for that"
                )
        change = difference({name: one.config for name, one in self._running.items()}, new.streams)
        refuse_shared_outputs(new)
        begun = {name: new.streams[name] for name in (*change.added, *change.changed)}
        wanted: Servers = {}
        for name, stream in begun.items():
            prepare_stream(name, stream, wanted)
        return wanted

    async def apply(self, new: config.Deployment) -> Change:
        """Run these streams from now on. Raises as `check`, and then nothing has changed. What cannot begin
        although it was checked is told by the change. Who waits for it may be cancelled: what was begun is
        finished."""
        changing = asyncio.create_task(self._apply(new), name="change the streams")
        self._changing.add(changing)
        changing.add_done_callback(self._changing.discard)
        return await asyncio.shield(changing)

    async def _apply(self, new: config.Deployment) -> Change:
        async with self._turn, AsyncExitStack() as held:
            if self._over:
                raise ConfigError("the run is ending")
            wanted = self.check(new)
            for target, server in self.servers.items():
                if target in wanted and server.is_open:  # or it would be closed until it shows the next one
                    await held.enter_async_context(server)
            change = difference({name: one.config for name, one in self._running.items()}, new.streams)
            begun = (*change.changed, *change.added)
            old = self._on_pages(change.changed)
            await self._end((*change.removed, *change.changed))
            _take_off(self._on_pages(change.removed))
            self.deployment = new
            try:
                failed = self._begin_new(begun)
            finally:
                self._watch(change.watched)
                self._arrange()
                await self._shown(begun)
                _take_off(old)
            return change.without(failed)

    async def _end(self, names: Sequence[str]) -> None:
        """Streams that are there no more, or are begun again."""
        for name in names:
            self._running[name].stop.set()
        if names:
            await asyncio.wait({self._running[name].task for name in names})
        for name in names:
            self.observer.leave(self._running.pop(name).stream)

    def _on_pages(self, names: Iterable[str]) -> list[tuple[WebServer, Camera]]:
        """The cameras of streams, where they are shown."""
        servers = self.servers.values()
        return [(one, one.cameras[name]) for one in servers for name in names if name in one.cameras]

    async def _shown(self, names: Iterable[str]) -> None:
        """Once pages show these streams, or they have ended, or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_SECONDS):
                for one in [self._running[name] for name in names if name in self._running]:
                    for page in (sink for sink in one.stream.sinks if isinstance(sink, Page)):
                        await _first_of(one.task, page.shown())

    def _begin_new(self, names: Iterable[str]) -> dict[str, str]:
        """By name, why streams cannot begin after all; the others do."""
        failed = {}
        for number, name in enumerate(names):
            try:
                settings = self.deployment.streams[name]
                stream = prepare_stream(name, settings, self.servers, number * STAGGER_SECONDS)
                self._begin(stream, settings)
                self._running[name].task.add_done_callback(_say_faults)
            except (ConfigError, SourceError, SinkError) as error:
                failed[name] = str(error)
        return failed

    def _begin(self, stream: Stream, settings: config.Stream) -> None:
        stop = asyncio.Event()
        start = partial(self.start, stream, settings.max_objects)
        task = self.tasks.create_task(run(stream, start, stop, self.observer.observe), name=stream.name)
        self._running[stream.name] = _Running(settings, stream, stop, task)

    def _watch(self, names: Iterable[str]) -> None:
        """Put in other rules."""
        for name in names:
            settings, running = self.deployment.streams[name], self._running[name]
            running.stream.rulebook.rules = settings.rules
            self._running[name] = _Running(settings, running.stream, running.stop, running.task)

    def _arrange(self) -> None:
        """Streams, and cameras on pages, in the deployment's order."""
        order = [name for name in self.deployment.streams if name in self._running]
        self._running = {name: self._running[name] for name in order}
        introduce(self.streams.values(), self.deployment)
        for server in self.servers.values():
            server.deployer = self.deployer
            server.arrange(self.deployment.streams)

    def _working(self) -> set[asyncio.Task[Report] | asyncio.Task[Change]]:
        """What has not ended; changes are part of it, since they may begin streams."""
        return {*(one.task for one in self._running.values() if not one.task.done()), *self._changing}


def _take_off(shown: Iterable[tuple[WebServer, Camera]]) -> None:
    """Off their pages; where another is shown in its place, that stays."""
    for server, camera in shown:
        server.remove(camera)


async def _first_of(task: asyncio.Task[Report], coming: Coroutine[Any, Any, None]) -> None:
    other = asyncio.create_task(coming)
    try:
        await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        other.cancel()


def _say_faults(ended: asyncio.Task[Report]) -> None:
    """Of streams that were there at the begin, the end of the run tells."""
    if not ended.cancelled() and ended.exception() is None:
        for fault in ended.result().faults:
            log.warning("stream ended", stream=ended.result().stream, reason=fault)
