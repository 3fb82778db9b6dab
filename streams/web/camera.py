"""One camera as the page knows it: its newest picture, what happened, and what is asked of it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..base import Recordings
from ..control import read_request
from ..messages import (
    AckMessage,
    EventMessage,
    FramesMessage,
    StatusMessage,
    ack_message,
    frames_message,
    status_message,
)
from ..sinks.outbox import Outbox, Tally
from ..sinks.requests import Asker, Requests
from ..threads import Worker
from ..types import Command, Result, SourceStatus
from .clips import ClipFinder
from .pictures import Pictures
from .snapshots import Snapshots
from .source_log import SourceLog

EVENTS = 200
"""Events that are kept for the page, and changes of the source: the newest."""
ANSWER_SECONDS = 20.0
"""How long an asker waits for the answer."""
MOST_ANSWERS = 64
RATE_SECONDS = 3.0
"""Over how long frames a second are counted."""


class Camera:
    """All that the page is told of one camera. Lives on the event loop; `write` and `hear` never wait.

    `changed` is called whenever the status or the objects change, or something happened. Bounded: one frame,
    `EVENTS` events and changes of the source, one small picture for each event and for each track. `run` is
    this one's alone: frames are counted from its begin.
    """

    def __init__(self, name: str, worker: Worker, changed: Callable[[], None]) -> None:
        self.run = run = secrets.token_hex(6)
        self.name = name
        self.recordings: Recordings | None = None
        self.pictures = Pictures(worker)
        self.snapshots = Snapshots(worker, EVENTS)
        self.source_log = SourceLog(EVENTS)
        self._worker = worker
        self._clips = ClipFinder()
        self._changed = changed
        self._log = Outbox(("page", name, run), EVENTS)
        self._tally = Tally()
        self._ending = ""
        self._arrivals: deque[float] = deque(maxlen=256)
        self._requests = Requests(run)
        self._answers: dict[bytes, asyncio.Future[AckMessage]] = {}
        self._numbers = itertools.count()
        self._objects: frozenset[int] = frozenset()

    def write(self, result: Result) -> None:
        """Take in what the fold says of one more frame."""
        before = self.next_event
        self._log.put(result)
        self._requests.settle(result)
        self._answer()
        self._tally.count(result)
        if not result.closing:
            self._arrivals.append(time.monotonic())
            self.pictures.offer(result)
        self.snapshots.look_at(result, self.events(before))
        objects = frozenset(track.object_id for track in result.tracks)
        if self.next_event != before or objects != self._objects:
            self._objects = objects
            self._changed()

    def hear(self, status: SourceStatus) -> None:
        """How the source is doing from now on."""
        self._tally.hear(status, time.monotonic())
        self.source_log.hear(status, time.time())
        self._changed()

    def pause(self, paused: bool) -> None:
        """Whether the camera is switched off."""
        self._tally.pause(paused)
        self._changed()

    def take_commands(self) -> tuple[Command, ...]:
        return self._requests.take()

    def end(self, reason: str) -> None:
        """No more results come: whoever waits is told, and the camera stays on the page as stopped."""
        self._ending = reason
        self._tally.stop()
        self._requests.refuse_open("the run ended before it was carried out")
        self._answer()
        self._changed()

    @property
    def has_ended(self) -> bool:
        return self._ending != ""

    def close(self) -> None:
        """Nothing more is drawn."""
        self.pictures.close()
        self.snapshots.close()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the newest frame."""
        newest = self.pictures.newest
        return None if newest is None else newest.frame.size

    def status(self) -> StatusMessage:
        """How the run is doing."""
        now = time.monotonic()
        recent = sum(now - arrival < RATE_SECONDS for arrival in self._arrivals) / RATE_SECONDS
        message = status_message(self._tally.status(now, self._ending), time.time())
        return message.model_copy(update={"frames_per_second": round(recent, 1)})

    def frames(self) -> FramesMessage | None:
        """What is tracked; None before the first frame."""
        newest = self.pictures.newest
        return None if newest is None else frames_message(newest, time.time())

    @property
    def next_event(self) -> int:
        """The number of the event that comes next."""
        return self._log.after

    async def clip(self, event_id: str) -> Path | None:
        """The clip that an event is in; None where there is none, or no more. Raises TimeoutError where the
        folder does not answer."""
        event = next((one for one in self.events(0) if one.event_id == event_id), None)
        if event is None or self.recordings is None:
            return None
        return await self._clips.find(event, self.recordings.folder)

    def events(self, since: int, limit: int = EVENTS) -> list[EventMessage]:
        """The events from number `since` on, oldest first; of more than `limit` the newest."""
        since = max(since, self._log.after - limit)
        return [event.message for event in self._log.since(since, limit)]

    async def ask(self, command: str, payload: bytes) -> AckMessage:
        """What becomes of a command, as read by `control.read_request`. Raises TimeoutError where no frame
        came to carry it out on: it goes on waiting for one."""
        if self._ending:
            return ack_message(command, None, "the run has ended", time.time())
        if len(self._answers) >= MOST_ANSWERS:
            return ack_message(command, None, f"{MOST_ANSWERS} requests are not answered yet", time.time())
        name = str(next(self._numbers)).encode()
        answer: asyncio.Future[AckMessage] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                request = await self._worker.run(read_request, command, payload, self._requests.token())
                self._requests.put(Asker(command, correlation=name), request)
                self._answer()
                return await answer
        finally:
            del self._answers[name]

    def _answer(self) -> None:
        """Tell each asker that still waits what became of its request."""
        while answers := self._requests.next_answers(1):
            (answer,) = answers
            self._requests.told(answer)
            waiting = self._answers.get(answer.asker.correlation or b"")
            if waiting is not None and not waiting.done():
                waiting.set_result(
                    ack_message(answer.asker.command, answer.request_id, answer.outcome, time.time())
                )
