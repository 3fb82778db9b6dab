"""What waits to be sent over MQTT, and when its turn comes."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..messages import EventMessage, RunState, Status, event_id, event_message
from ..types import Result, SourceStatus
from .minute import SourceRate

EVENT_CAPACITY = 10_000
"""Events that may wait for the broker; past it the oldest are dropped and counted."""
STATUS_SECONDS = 10.0


class NumberedEvent(NamedTuple):
    """An event to be sent, and its place among all that wait, those of earlier runs included."""

    number: int
    message: EventMessage


class Outbox:
    """Events in order, at most `capacity`, and of results the newest. `dropped` counts events given up.

    `source` (node, camera, run) begins the events' ids. Events from number `released` on are not sent yet.
    `changed` is set whenever an event comes or goes.
    """

    def __init__(self, source: Sequence[str], capacity: int = EVENT_CAPACITY) -> None:
        self.dropped = 0
        self.released: float = math.inf
        self.changed = asyncio.Event()
        self.after = 0
        """The number of the event that comes next."""
        self._source = tuple(source)
        self._events: deque[NumberedEvent] = deque(maxlen=capacity)
        self._newest: Result | None = None
        self._sequence = 0

    def restore(self, events: Iterable[NumberedEvent]) -> int:
        """Put in, before all others, what an earlier run did not get rid of; the number after that.

        Only while nothing is released: events that came meanwhile get new numbers.
        """
        mine = [event.message for event in self._events]
        self._events.clear()
        self.after = 0
        for event in events:
            self._append(event)
        after = self.after
        for message in mine:
            self._append(NumberedEvent(self.after, message))
        return after

    def put(self, result: Result) -> None:
        """Take a result's events, and the result, unless it was told before."""
        for event in result.events:
            name = event_id(self._source, self._sequence)
            self._append(NumberedEvent(self.after, event_message(event, name, published=time.time())))
            self._sequence += 1
        if not result.closing:
            self._newest = result

    @property
    def waiting(self) -> int:
        """Events not yet sent."""
        return len(self._events)

    @property
    def first(self) -> int:
        """The number of the oldest event that waits, or else of the next to come."""
        return self._events[0].number if self._events else self.after

    @property
    def has_result(self) -> bool:
        return self._newest is not None

    def next_events(self, limit: int) -> list[NumberedEvent]:
        """The oldest events that are released, at most so many; each stays until it is `sent`."""
        oldest = itertools.islice(self._events, limit)
        return [event for event in oldest if event.number < self.released]

    def since(self, number: int, limit: int) -> list[NumberedEvent]:
        """The events from `number` on, oldest first, at most so many."""
        newest = itertools.takewhile(lambda event: event.number >= number, reversed(self._events))
        return list(newest)[::-1][:limit]

    def sent(self, event: NumberedEvent) -> None:
        """Remove an event, unless it was dropped while it was on its way."""
        if self._events and self._events[0] is event:
            self._events.popleft()
            self.changed.set()

    def take_result(self) -> Result | None:
        """The newest result not yet taken."""
        result, self._newest = self._newest, None
        return result

    def _append(self, event: NumberedEvent) -> None:
        self.dropped += len(self._events) == self._events.maxlen
        self._events.append(event)
        self.after = event.number + 1
        self.changed.set()


class Pace:
    """When the next frame may be sent, on the monotonic clock: `rate` frames a second, None for no limit."""

    def __init__(self, rate: float | None) -> None:
        self._interval = 0.0 if rate is None else 1 / rate
        self.next_due = 0.0

    def spent(self, now: float) -> None:
        """A frame was sent. A turn taken a little late does not delay those after it."""
        late = now - self.next_due
        self.next_due = (self.next_due if late < self._interval else now) + self._interval


class LastHour:
    """How many times something happened in the last hour; of more than `capacity` the newest are counted."""

    def __init__(self, capacity: int = 1000) -> None:
        self._times: deque[float] = deque(maxlen=capacity)

    def note(self, now: float) -> None:
        self._times.append(now)

    def count(self, now: float) -> int:
        return sum(now - time < 3600 for time in self._times)


class Tally:
    """Counts results and knows when a status is due: at a change of state, else every STATUS_SECONDS."""

    def __init__(self) -> None:
        self.next_due = 0.0
        self._state: RunState = "waiting"
        self._paused = False
        self._frames = 0
        self._first_place = 0
        self._last_place = 0
        self._objects = 0
        self._told_frames = 0
        self._told_at: float | None = None
        self._source: SourceStatus | None = None
        self._source_rate = SourceRate()
        self._reconnects = LastHour()
        self._stalls = LastHour()

    def count(self, result: Result) -> None:
        """A `closing` frame was counted before."""
        self._objects = len(result.tracks)
        if result.closing:
            return
        if not self._frames:
            self._first_place = result.frame.place
            self._state = "running"
            self.next_due = 0.0
        self._last_place = result.frame.place
        self._frames += 1
        self._source_rate.count(result.frame)

    def hear(self, source: SourceStatus, now: float) -> None:
        """How the source is doing from now on."""
        before = self._source
        if source.state == "stalled" and (before is None or before.state != "stalled"):
            self._stalls.note(now)
        if source.reconnects > (before.reconnects if before else 0):
            self._reconnects.note(now)
        self._source = source
        self.next_due = 0.0

    @property
    def dropped(self) -> int:
        """Frames that were decoded and not let go by, but whose result did not come here."""
        return self._last_place - self._first_place + 1 - self._frames if self._frames else 0

    def source_rate(self, now: float) -> float:
        """Frames a second that come from the source; none do from a live one that is late or away."""
        online = self._source is None or self._source.state == "online"
        return self._source_rate.rate(now) if online else 0.0

    def pause(self, paused: bool) -> None:
        """Whether the camera is switched off."""
        if paused != self._paused:
            self._paused = paused
            self.next_due = 0.0

    def stop(self) -> None:
        self._state = "stopped"

    def is_due(self, now: float) -> bool:
        return now >= self.next_due

    def status(self, now: float, ending: str) -> Status:
        """The status to be told now; `ending`: how the run ended, where it has."""
        elapsed = now - self._told_at if self._told_at is not None else 0.0
        rate = (self._frames - self._told_frames) / elapsed if elapsed > 0 else 0.0
        self._told_frames, self._told_at, self.next_due = self._frames, now, now + STATUS_SECONDS
        return Status(
            state="paused" if self._paused and self._state != "stopped" else self._state,
            reason=ending or (self._source.reason if self._source else ""),
            frames=self._frames,
            dropped=self.dropped,
            frames_per_second=rate,
            objects=self._objects,
            source=self._source.state if self._source else None,
            reconnects=self._reconnects.count(now),
            stalls=self._stalls.count(now),
            source_frames_per_second=self.source_rate(now),
        )
