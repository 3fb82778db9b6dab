"""Which events go out again after a broker has put some off, and which do not."""

from __future__ import annotations

from keepsight.streams.sinks.outbox import Outbox
from keepsight.streams.sinks.sending import AT_ONCE, MOST_TRIES, PUT_OFF_SECONDS, Sending
from tests.logs import Log

from .results import result

UNSPECIFIED, QUOTA_EXCEEDED = 0x80, 0x97


class Broker:
    """Takes what is sent but the events numbered in `refused`, of which it says with which code. `now`: on
    the monotonic clock."""

    def __init__(self, outbox: Outbox) -> None:
        self.refused: dict[int, int] = {}
        self.sending = Sending(outbox, "mqtt://broker")
        self.now = 0.0

    def round(self) -> list[int]:
        """The numbers that are sent next, once their turn has come."""
        self.now = max(self.now, self.sending.due)
        events = {str(event.number): event for event in self.sending.next_events(self.now)}
        numbers = [event.number for event in events.values()]
        put_off = {str(number): self.refused[number] for number in numbers if number in self.refused}
        self.sending.settle(events, put_off, self.now)
        return numbers


def waiting(events: int) -> Outbox:
    outbox = Outbox(("n", "c", "r"))
    outbox.put(result(0, events=("update",) * events))
    return outbox


def test_events_that_were_taken_are_not_sent_again_behind_one_that_is_put_off() -> None:
    outbox = waiting(2 * AT_ONCE)
    broker = Broker(outbox)
    broker.refused = {0: QUOTA_EXCEEDED, 4: QUOTA_EXCEEDED}
    assert broker.round() == list(range(AT_ONCE))
    assert broker.sending.next_events(broker.now + PUT_OFF_SECONDS - 1) == []
    for _ in range(3 * MOST_TRIES):
        assert broker.round() == [0], "a quota is not about the event: it is tried for ever, alone"
    assert outbox.waiting == 2 * AT_ONCE
    broker.refused = {}
    assert broker.round() == [0]
    assert outbox.first == 4
    assert broker.round() == [4, *range(AT_ONCE, AT_ONCE + 4)]
    assert broker.round() == list(range(AT_ONCE + 4, 2 * AT_ONCE))
    assert outbox.waiting == 0


def test_an_event_that_is_refused_without_a_reason_is_left_out_in_the_end_and_that_is_said_once(
    log: Log,
) -> None:
    outbox = waiting(3)
    broker = Broker(outbox)
    broker.refused = dict.fromkeys(range(3), UNSPECIFIED)
    sent = broker.round()
    assert sent == [0, 1, 2]
    for number in range(3):
        while outbox.first == number:
            sent += broker.round()
    assert outbox.waiting == 0
    assert max(map(sent.count, range(3))) <= MOST_TRIES + 2
    assert log.warnings == ["an event that the broker does not take is left out"]


def test_an_event_that_was_dropped_while_it_was_put_off_holds_nobody_up() -> None:
    outbox = Outbox(("n", "c", "r"), capacity=2)
    outbox.put(result(0, events=("update",) * 2))
    broker = Broker(outbox)
    broker.refused = {0: UNSPECIFIED}
    assert broker.round() == [0, 1]
    outbox.put(result(1, events=("update",) * 2))
    assert broker.round() == [2]
    assert broker.round() == [3]
    assert outbox.waiting == 0
