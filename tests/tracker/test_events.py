"""The life of an object, frame by frame, against the table of events.py."""

from dataclasses import replace

import numpy as np
import pytest

from keepsight.streams.types import Box, Event, Frame
from keepsight.tracker.events import Observation, advance, finish
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import TrackRecord, initial

HERE: Box = (0.4, 0.4, 0.6, 0.6)
IMAGE = np.zeros((2, 2, 3), np.uint8)
SETTINGS = TrackerSettings(confirm_frames=2, occlude_frames=3, recover_frames=2, lost_after=1.0)


def at(index: int, time: float | None = None) -> Frame:
    """A frame of a stream with 10 frames/s."""
    moment = index / 10 if time is None else time
    return Frame(IMAGE, index, 0, moment, 1000 + moment, "file", moment)


def live(
    sight: str, settings: TrackerSettings = SETTINGS, box: Box = HERE
) -> tuple[TrackRecord | None, list[Event]]:
    """A life of one letter a frame: `o` visible, `.` hidden, `!` visible and shown by a user."""
    record: TrackRecord | None = TrackRecord(object_id=5, label="van", seen=0.0)
    events: list[Event] = []
    for index, letter in enumerate(sight):
        assert record is not None
        seen = Observation(None, 0.0) if letter == "." else Observation(box, 0.9, shown=letter == "!")
        record, news = advance(record, seen, at(index), settings)
        events.extend(news)
    return record, events


def told(sight: str, settings: TrackerSettings = SETTINGS) -> list[tuple[str, int]]:
    """The events of a life as (kind, frame)."""
    return [(event.kind, event.frame[1]) for event in live(sight, settings)[1]]


def test_an_object_is_new_when_it_has_been_seen_often_enough_in_a_row():
    assert told("!") == []
    assert told("!.o.o") == []
    assert told("!o") == [("new", 1)]
    assert told("!ooooo") == [("new", 1)]


def test_a_flicker_changes_nothing():
    assert told("!oo.o..oo.o") == [("new", 1)]
    assert told("!oo...o..o.") == [("new", 1), ("occluded", 5)]


def test_an_object_hidden_long_enough_is_occluded_and_recovers():
    assert told("!oo...oo") == [("new", 1), ("occluded", 5), ("recovered", 7)]


def test_a_user_who_shows_a_hidden_object_recovers_it_at_once():
    record, events = live("!oo...!")
    assert [event.kind for event in events] == ["new", "occluded", "recovered"]
    assert events[-1].reason == "shown by a user"
    assert record is not None
    assert record.state == "tracked"


def test_an_occluded_object_is_lost_after_a_time_and_may_still_recover():
    assert told("!o" + "." * 12 + "oo") == [("new", 1), ("occluded", 4), ("lost", 12), ("recovered", 15)]


def test_flickers_while_occluded_do_not_put_off_the_loss():
    assert told("!o" + "...." + "o..o..o....") == [("new", 1), ("occluded", 4), ("lost", 13)]


def test_an_object_that_was_never_confirmed_is_lost_too_and_comes_back_as_new():
    assert told("!" + "." * 11 + "oo") == [("lost", 11), ("new", 13)]


def test_a_lost_object_stays_for_ever_unless_a_limit_is_set():
    assert told("!o" + "." * 200)[-1] == ("lost", 12)
    assert told("!o" + "." * 16, replace(SETTINGS, forget_lost_after=0.5))[-1] == ("end", 17)


def test_the_record_is_none_after_the_end():
    record, events = live("!o" + "." * 16, replace(SETTINGS, forget_lost_after=0.5))
    assert record is None
    assert (events[-1].state, events[-1].previous) == ("lost", "lost")


def test_events_say_what_was_before_and_why():
    _, events = live("!o" + "." * 12 + "oo", box=(0.0, 0.4, 0.2, 0.6))
    assert [(event.previous, event.state, event.reason) for event in events] == [
        ("tentative", "tracked", "visible in 2 frames in a row"),
        ("tracked", "occluded", "hidden for 3 frames in a row, last seen at the left of the frame"),
        ("occluded", "lost", "not seen for 1.1 s, last seen at the left of the frame"),
        ("lost", "tracked", "visible again after 1.4 s"),
    ]


def test_events_carry_the_frame_and_the_last_known_place():
    _, events = live("!o...")
    assert events[1] == Event(
        kind="occluded",
        object_id=5,
        label="van",
        frame=(0, 4),
        time=0.4,
        captured=1000.4,
        clock="file",
        confidence=0.0,
        box=HERE,
        state="occluded",
        previous="tracked",
        reason="hidden for 3 frames in a row",
    )


def test_a_time_that_jumps_back_starts_the_wait_again_instead_of_stopping_it():
    record = TrackRecord(object_id=1, label="", seen=3600.0, state="occluded", confirmed=True)
    kinds = []
    for index in range(15):
        after, events = advance(record, Observation(None, 0.0), at(index), SETTINGS)
        assert after is not None
        record, kinds = after, kinds + [(event.kind, index) for event in events]
    assert kinds == [("lost", 11)]


def test_the_end_of_the_stream_ends_every_object_in_the_order_of_ids():
    records = tuple(TrackRecord(object_id=number, label="", seen=0.0, state="tracked") for number in (3, 1))
    state = replace(initial(3), slots=(*records, None))
    ends = [
        (event.kind, event.object_id, event.previous, event.reason, event.frame)
        for event in finish(state, at(9))
    ]
    reason = "the stream ended"
    assert ends == [("end", 1, "tracked", reason, (0, 9)), ("end", 3, "tracked", reason, (0, 9))]


@pytest.mark.parametrize(
    "wrong",
    [
        {"confirm_frames": 0},
        {"occlude_frames": 0},
        {"write_iou": 1.5},
        {"visible_presence": 1.0},
        {"lost_after": -1.0},
        {"forget_lost_after": -1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        TrackerSettings(**wrong)
