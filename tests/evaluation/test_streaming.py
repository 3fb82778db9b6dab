"""Playing a file at its rate, with a clock that the test sets."""

from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from keepsight.streams.types import Frame, Image, Prompt, Result
from keepsight.tracker.evaluation.labelled import Pictures
from keepsight.tracker.evaluation.streaming import Playback, Step, Streaming, as_json, play, stated_rate

IMAGES = [np.zeros((4, 6, 3), np.uint8)] * 10
FIRST = Prompt(object_id=1, box=(0, 0, 1, 1), frame_ref=(0, 0))


def step(frame: Frame, prompts: Sequence[Prompt]) -> Result:
    return Result(frame)


def lasting(*seconds: float) -> Callable[[Result], float]:
    """A clock: how long each step takes, the last for all that follow."""
    left = list(seconds)
    return lambda result: left.pop(0) if len(left) > 1 else left[0]


def shown(seconds: Callable[[Result], float], prompts: Sequence[Prompt] = (FIRST,)) -> list[int | None]:
    """The frame whose result is shown at each of ten frames, one a second."""
    moments = play(step, IMAGES, prompts, 1.0, seconds)
    return [None if one.result is None else one.result.frame.index for one in moments]


def test_who_is_fast_enough_sees_every_frame() -> None:
    assert shown(lasting(0.99)) == list(range(10))


def test_who_needs_a_frame_and_a_half_misses_every_third() -> None:
    """Frame 0 is done at 1.5; then 1 is the newest, done at 3.0, when 3 comes; 2 passes while 1 is worked on,
    and what there is by then is 0."""
    assert shown(lasting(1.5)) == [0, 1, 0, 3, 4, 3, 6, 7, 6, 9]


def test_a_missed_frame_gets_the_last_mask_that_was_ready_by_then_not_the_one_in_work() -> None:
    """Frame 0 takes 2.5 s: 1 passes while there is nothing. Then 2 is the newest, done at 5: 3, 4 get 0."""
    assert shown(lasting(2.5)) == [0, None, 2, 0, 0, 5, 2, 7, 5, 9]


def test_a_slow_step_costs_what_passes_meanwhile_and_no_more() -> None:
    assert shown(lasting(0.5, 3.2, 0.5)) == [0, 1, 0, 0, 4, 5, 6, 7, 8, 9]


def test_a_frame_on_which_an_object_is_shown_waits_for_the_tracker() -> None:
    late = Prompt(object_id=2, box=(0, 0, 1, 1), frame_ref=(0, 2))
    got: list[tuple[int, list[int | None]]] = []

    def noting(frame: Frame, prompts: Sequence[Prompt]) -> Result:
        got.append((frame.index, [one.object_id for one in prompts]))
        return Result(frame)

    list(play(noting, IMAGES, (FIRST, late), 1.0, lasting(3.5)))
    assert got[:3] == [(0, [1]), (2, [2]), (7, [])]


def test_the_time_between_frames_follows_from_the_rate() -> None:
    moments = list(play(step, IMAGES, (FIRST,), 10.0, lasting(0.15)))
    assert [one.seen for one in moments[:6]] == [True, True, False, True, True, False]
    assert moments[1].latency == pytest.approx(0.2)
    assert isnan(moments[2].latency)


def streaming(rate: float | None, seconds: float) -> Streaming[int, str]:
    def start(objects: int) -> Step:
        assert objects == 1
        return step

    return Streaming(
        start,
        lambda images, first: (FIRST,),
        (lambda result: str(result.frame.index), lambda image: "nothing"),
        rate,
        lasting(seconds),
    )


def test_a_method_gives_something_for_every_frame_and_counts_what_it_missed() -> None:
    """Frames 0, 2, 5, 7 and 9 are seen, with results after 2.5, 3, 2.5, 3 and 3.5 s."""
    method = streaming(1.0, 2.5)
    assert list(method(IMAGES, 0)) == ["0", "nothing", "2", "0", "0", "5", "2", "7", "5", "9"]
    list(method(IMAGES, 0))
    assert (method.playback.seen, method.playback.missed) == (10, 10)
    assert as_json(method.playback) == {"seen": 10, "missed": 10, "latency": pytest.approx(3.0)}


def test_a_sequence_that_was_not_finished_is_not_counted() -> None:
    method = streaming(1.0, 0.5)
    coming = method(IMAGES, 0)
    next(coming)
    coming.close()
    assert method.playback == Playback()
    assert as_json(method.playback)["latency"] is None


def test_without_a_rate_the_dataset_states_it_or_it_is_30() -> None:
    assert stated_rate(Pictures([Path("a.jpg")], 14.0)) == 14
    assert stated_rate(IMAGES) is None
    method = streaming(None, 1 / 30 * 1.5)
    assert list(method(IMAGES, 0))[:4] == ["0", "1", "0", "3"]
    assert method.playback.latency < 0.1


def test_pictures_are_read_when_asked_for() -> None:
    pictures: Sequence[Image] = Pictures([Path("nowhere.jpg")] * 3)
    assert len(pictures[1:]) == 2
    with pytest.raises(ValueError, match=r"nowhere\.jpg"):
        pictures[0]
