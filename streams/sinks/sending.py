"""Which events are sent next over MQTT, by what the broker took and what it did not take for now."""

from __future__ import annotations

import math
from collections.abc import Mapping

import structlog

from .mqtt_connection import UNEXPLAINED
from .outbox import NumberedEvent, Outbox

log = structlog.get_logger(__name__)

PUT_OFF_SECONDS = 5.0
"""Until an event that the broker did not take for now is sent again."""
MOST_TRIES = 10
"""An event that the broker refused so often without a reason is left out: it may be about the event."""
AT_ONCE = 10
"""So many messages are on their way together; mosquitto takes up to 20."""


class Sending:
    """What the broker has taken is not sent again, whatever it says of the events before. After the first
    that it put off the oldest goes alone, until it is taken: what came later shall not overtake it any more.

    `due`: when the next may be sent, on the monotonic clock.
    """

    def __init__(self, outbox: Outbox, url: str) -> None:
        self.due = -math.inf
        self._outbox = outbox
        self._url = url
        self._taken: set[int] = set()
        self._stuck: NumberedEvent | None = None
        self._tries = 0
        self._said_left_out = False

    def next_events(self, now: float) -> list[NumberedEvent]:
        """The oldest events whose turn has come."""
        if now < self.due:
            return []
        oldest = self._outbox.next_events(1 if self._stuck else AT_ONCE)
        return [event for event in oldest if event.number not in self._taken]

    def settle(self, events: Mapping[str, NumberedEvent], put_off: Mapping[str, int], now: float) -> None:
        """`events`: those that were sent, by their payload; `put_off`: of which payload the broker said, with
        which reason code, that it does not take it for now."""
        self._taken |= {event.number for payload, event in events.items() if payload not in put_off}
        oldest = next((payload for payload in events if payload in put_off), None)
        if oldest is not None:
            self._put_off(events[oldest], put_off[oldest] in UNEXPLAINED, now)
        elif events:
            self._stuck = None
        for event in self._outbox.next_events(AT_ONCE):
            if event.number not in self._taken:
                break
            self._outbox.sent(event)
        self._taken = {number for number in self._taken if number >= self._outbox.first}

    def _put_off(self, event: NumberedEvent, unexplained: bool, now: float) -> None:
        self.due = now + PUT_OFF_SECONDS
        self._tries = (self._tries if event is self._stuck else 0) + unexplained
        self._stuck = event
        if self._tries < MOST_TRIES:
            return
        self._stuck = None
        self._taken.add(event.number)
        if not self._said_left_out:
            self._said_left_out = True
            name = event.message.event_id
            log.warning("an event that the broker does not take is left out", url=self._url, event_id=name)
