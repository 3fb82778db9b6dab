"""What waits for the broker: bounded, in order, in its own time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepsight.streams.sinks.outbox import Outbox, Pace, Tally
from keepsight.streams.types import SourceStatus

from .results import result

SOURCE = ("n", "c", "r")


def test_an_outbox_that_is_full_drops_the_oldest_events_and_counts_them() -> None:
    outbox = Outbox(SOURCE, capacity=3)
    for index in range(5):
        outbox.put(result(index, events=("update",)))
    kept = []
    for item in outbox.next_events(9):
        kept.append((item.number, item.message.event_id, item.message.index))
        outbox.sent(item)
    assert kept == [(2, "n/c/r/2", 2), (3, "n/c/r/3", 3), (4, "n/c/r/4", 4)]
    assert outbox.dropped == 2


def test_an_event_that_is_dropped_on_its_way_does_not_take_the_next_one_with_it() -> None:
    outbox = Outbox(SOURCE, capacity=1)
    outbox.put(result(0, events=("new",)))
    (on_its_way,) = outbox.next_events(9)
    outbox.put(result(1, events=("end",)))
    outbox.sent(on_its_way)
    assert outbox.waiting == 1


def test_events_are_held_back_until_they_are_released() -> None:
    outbox = Outbox(SOURCE)
    outbox.released = 0
    outbox.put(result(0, events=("new", "update")))
    assert outbox.next_events(9) == []
    outbox.released = 1
    (first,) = outbox.next_events(9)
    outbox.sent(first)
    assert outbox.next_events(9) == []
    assert [item.number for item in outbox.since(0, 9)] == [1]


def test_events_of_an_earlier_run_come_first_and_keep_their_ids() -> None:
    earlier, outbox = Outbox(("n", "c", "before")), Outbox(SOURCE)
    earlier.put(result(8, events=("lost", "end")))
    outbox.put(result(0, events=("new",)))
    assert outbox.restore(earlier.since(1, 9)) == 2
    outbox.put(result(1, events=("end",)))
    waiting = [(item.number, item.message.event_id) for item in outbox.since(0, 9)]
    assert waiting == [(1, "n/c/before/1"), (2, "n/c/r/0"), (3, "n/c/r/1")]


def test_the_closing_of_a_run_brings_events_and_no_frame() -> None:
    outbox = Outbox(SOURCE)
    outbox.put(replace(result(5, events=("end",)), closing=True))
    assert [item.message.kind for item in outbox.since(0, 9)] == ["end"]
    assert not outbox.has_result


def test_an_outbox_keeps_the_newest_result() -> None:
    outbox = Outbox(SOURCE)
    outbox.put(result(0))
    outbox.put(result(1))
    taken = outbox.take_result()
    assert taken is not None
    assert taken.frame.index == 1
    assert outbox.take_result() is None


def test_a_status_counts_the_frames_that_were_told_and_those_that_were_dropped() -> None:
    tally = Tally()
    for index in (7, 8, 12):
        tally.count(result(index))
    tally.count(replace(result(12), closing=True))  # the last one again, with what the end adds to it
    status = tally.status(0.0, "")
    assert (status.state, status.frames, status.dropped, status.objects) == ("running", 3, 3, 2)


def test_a_status_tells_the_rate_in_beside_the_rate_out() -> None:
    tally = Tally()
    for index in range(0, 50, 5):  # every fifth of 25 frames a second becomes a result
        tally.count(result(index))
    assert tally.status(2.0, "").source_frames_per_second == pytest.approx(25)
    assert tally.status(2.5, "").source_frames_per_second == pytest.approx(25), "whoever asks how often"
    tally.count(result(1000, time=40.0))  # the camera was switched off meanwhile
    assert tally.status(40.0, "").source_frames_per_second == pytest.approx(25)
    assert tally.status(200.0, "").source_frames_per_second == 0


def test_no_frames_come_from_a_source_that_is_late_or_away() -> None:
    tally = Tally()
    for index in range(50):
        tally.count(result(index))
    for state, rate in (("online", 25), ("stalled", 0), ("offline", 0), ("online", 25)):
        tally.hear(SourceStatus(state, "", 0), 2.0)
        assert tally.status(2.0, "").source_frames_per_second == pytest.approx(rate)
        assert tally.source_rate(2.0) == pytest.approx(rate)


def test_a_camera_that_is_switched_off_is_paused_until_it_is_on_again_or_stopped() -> None:
    tally = Tally()
    tally.count(result(0))
    tally.status(0.0, "")
    tally.pause(True)
    assert tally.is_due(0.0)
    assert tally.status(0.0, "").state == "paused"
    tally.pause(True)
    assert not tally.is_due(0.0)
    tally.pause(False)
    assert tally.status(0.0, "").state == "running"
    tally.pause(True)
    tally.stop()
    assert tally.status(0.0, "finished").state == "stopped"


def test_a_status_says_at_once_how_the_source_is_doing_and_what_it_did_in_the_last_hour() -> None:
    tally = Tally()
    assert tally.status(0.0, "").source is None
    tally.hear(SourceStatus("offline", "Connection refused", 0), 1.0)
    assert tally.is_due(1.0)
    told = tally.status(1.0, "")
    assert (told.state, told.source, told.reason) == ("waiting", "offline", "Connection refused")
    for second, status in {
        2.0: SourceStatus("online", "", 0),
        3.0: SourceStatus("stalled", "no frame for 2 s", 0),
        4.0: SourceStatus("offline", "the stream ended", 0),
        5.0: SourceStatus("online", "", 1),
    }.items():
        tally.hear(status, second)
    told = tally.status(5.0, "")
    assert (told.source, told.reason, told.reconnects, told.stalls) == ("online", "", 1, 1)
    an_hour_on = tally.status(3604.0, "finished")
    assert (an_hour_on.reason, an_hour_on.reconnects, an_hour_on.stalls) == ("finished", 1, 0)


def test_frames_keep_their_pace_on_average() -> None:
    pace, sent = Pace(4.0), []
    for tick in range(100):
        now = 1000 + tick * 0.04
        if now >= pace.next_due:
            pace.spent(now)
            sent.append(now)
    assert len(sent) == 16
    assert Pace(None).next_due == 0
