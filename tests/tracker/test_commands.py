"""What users ask of the fold: prompts, corrections, forgetting, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from keepsight.model.memory import EMPTY
from keepsight.streams.types import Applied, Correct, Forget, Frame, Prompt, Refusal, Reset
from keepsight.tracker.commands import MOST_CHOSEN
from keepsight.tracker.state import initial
from keepsight.tracker.step import step

from .fakes import (
    GREEN,
    ON_RED,
    RED,
    ColourPredictor,
    a_frame,
    area,
    follow,
    ids,
    reasons,
    red_and_green,
)


def test_ids_count_from_one_and_are_not_used_twice():
    commands = {0: [ON_RED, ON_RED], 1: [Forget(1), ON_RED], 2: [Reset(), ON_RED]}
    _, results = follow(ColourPredictor(), [red_and_green(index) for index in range(3)], commands)
    assert [ids(result) for result in results] == [[1, 2], [2, 3], [4]]


def test_a_user_may_choose_the_id_and_the_next_ones_go_on_from_it():
    chosen = Prompt(box=(0, 0, 0.1, 0.1), object_id=7, label="van")
    _, (result,) = follow(ColourPredictor(), [red_and_green(0)], {0: [chosen, ON_RED]})
    assert [(track.object_id, track.label) for track in result.tracks] == [(7, "van"), (8, "")]


def test_who_asks_for_an_id_gets_none_that_is_meant_for_later():
    _, result = step(ColourPredictor(), initial(2, first_id=5), red_and_green(0), [ON_RED])
    assert ids(result) == [5]


def test_who_commands_over_a_network_chooses_no_id_beyond_what_masks_can_hold():
    far = replace(ON_RED, object_id=MOST_CHOSEN + 1)
    _, result = step(ColourPredictor(), initial(2), red_and_green(0), [replace(far, request="r")])
    assert [refusal.reason for refusal in result.refusals] == [
        "object id 32769: choose one of at most 32768, or none"
    ]
    _, result = step(ColourPredictor(), initial(2), red_and_green(0), [far])
    assert ids(result) == [MOST_CHOSEN + 1], "a file of masks may name it"


def test_no_free_slot_is_a_refusal_and_the_others_are_tracked_on():
    _, results = follow(
        ColourPredictor(), [red_and_green(0), red_and_green(1)], {0: [ON_RED], 1: [ON_RED, ON_RED]}, room=2
    )
    assert reasons(results[1]) == ["all 2 object slots are in use: forget an object or raise --max-objects"]
    assert ids(results[1]) == [1, 2]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Prompt(mask=np.ones((8, 8), bool)), "the mask is 8x8 but the frame is 96x64"),
        (Prompt(mask=np.zeros((64, 96), bool)), "the mask is empty"),
        (
            Prompt(points=((0.5, 0.5),), labels=(False,)),
            "a new object needs a box, a mask or a point that is on it",
        ),
        (Prompt(), "a new object needs"),
        (Prompt(box=(0, 0, 1, 1), object_id=0), "object id 0: ids count from 1"),
        (Prompt(object_id=1), "a prompt needs points, a box or a mask"),
        (Correct(object_id=1), "a prompt needs points, a box or a mask"),
        (Correct(object_id=5, box=(0, 0, 1, 1)), "there is no object 5: known ids are 1"),
        (Forget(5), "there is no object 5: known ids are 1"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_its_reason(command, reason):
    _, results = follow(ColourPredictor(), [red_and_green(0), red_and_green(1)], {0: [ON_RED], 1: [command]})
    (refusal,) = results[1].refusals
    assert refusal.command is command
    assert refusal.reason.startswith(reason)
    assert ids(results[1]) == [1]


def test_forgetting_when_nothing_is_tracked_says_so():
    _, (result,) = follow(ColourPredictor(), [red_and_green(0)], {0: [Forget(3)]})
    assert reasons(result) == ["there is no object 3: none is tracked"]


def test_a_prompt_for_a_past_frame_applies_to_the_present_one():
    late = Prompt(points=((0.05, 0.1),), labels=(True,), frame_ref=(0, 2))
    state, result = step(ColourPredictor(), initial(1), red_and_green(0), [late])
    assert ids(result) == []
    _, result = step(ColourPredictor(), initial(1), a_frame(5, (RED, 0, 0, 16)), [late])
    assert ids(result) == [1]
    assert state.pending == (late,)


def test_a_prompt_for_a_future_frame_waits_for_it_or_the_first_one_after_it():
    early = Prompt(points=((0.3, 0.1),), labels=(True,), frame_ref=(0, 5))
    frames = [red_and_green(index) for index in (0, 4, 6, 7)]
    _, results = follow(ColourPredictor(), frames, {0: [early]})
    assert [ids(result) for result in results] == [[], [], [1], [1]]


def test_a_prompt_for_a_frame_of_a_broken_connection_waits_no_longer():
    early = Prompt(box=(0, 0, 0.1, 0.1), frame_ref=(0, 500))
    state, _ = step(ColourPredictor(), initial(1), red_and_green(0), [early])
    image = red_and_green(0).image
    _, result = step(ColourPredictor(), state, Frame(image, 3, 1, 0.3, 0.3, "arrival", 0.3))
    assert ids(result) == [1]


def test_a_frame_of_another_run_is_not_waited_for():
    """A client that outlives a restart names frames that come in hours, or never."""
    far, later = (Prompt(box=(0, 0, 0.1, 0.1), frame_ref=ref) for ref in ((0, 100_000), (1, 3)))
    state, result = step(ColourPredictor(), initial(1), red_and_green(0), [far, later])
    assert state.pending == ()
    assert reasons(result) == [
        f"frame {name} is not near the present one, 0/0: name one that was seen, or is at most 600 ahead"
        for name in ("0/100000", "1/3")
    ]


def test_waiting_commands_are_bounded():
    early = Prompt(box=(0, 0, 0.1, 0.1), frame_ref=(0, 5))
    state, result = step(ColourPredictor(), initial(1), red_and_green(0), [early] * 1025)
    assert len(state.pending) == 1024
    assert reasons(result) == ["1024 commands are already waiting for frames that have not come"]


def test_forget_and_reset_also_drop_what_waits():
    early = Prompt(box=(0, 0, 0.1, 0.1), object_id=3, frame_ref=(0, 5))
    other = Prompt(box=(0, 0, 0.1, 0.1), object_id=4, frame_ref=(0, 5))
    state, result = step(ColourPredictor(), initial(1), red_and_green(0), [early, other, Forget(3)])
    assert state.pending == (other,)
    assert result.refusals == (Refusal(early, "object 3 was forgotten before the frame came"),)
    state, result = step(ColourPredictor(), state, red_and_green(1), [Reset()])
    assert state.pending == ()
    assert result.refusals == (Refusal(other, "everything was reset before the frame came"),)


def test_a_command_that_is_carried_out_is_told_with_its_frame_and_its_object():
    chosen = Prompt(box=(0, 0, 0.1, 0.1), object_id=7, request="a")
    mended = Correct(object_id=1, points=((0.05, 0.1),), labels=(True,), request="b")
    commands = {
        0: [ON_RED, chosen],
        1: [mended, Correct(object_id=9, box=(0, 0, 1, 1))],
        2: [Forget(7), Reset()],
    }
    _, results = follow(ColourPredictor(), [red_and_green(index) for index in range(3)], commands)
    told = [[(one.command, one.frame, one.object_id) for one in result.applied] for result in results]
    assert told == [
        [(ON_RED, (0, 0), 1), (chosen, (0, 0), 7)],
        [(mended, (0, 1), 1)],
        [(Forget(7), (0, 2), 7), (Reset(), (0, 2), None)],
    ]


def test_a_command_that_waits_is_told_when_its_frame_has_come():
    early = Prompt(points=((0.3, 0.1),), labels=(True,), frame_ref=(0, 2), request="a")
    _, results = follow(ColourPredictor(), [red_and_green(index) for index in (0, 1, 4)], {0: [early]})
    assert [result.applied for result in results] == [(), (), (Applied(early, (0, 4), 1),)]


def test_a_correction_moves_the_object_and_keeps_its_id():
    model = ColourPredictor()
    correction = Correct(object_id=1, points=((0.9, 0.3),), labels=(True,))
    frames = [red_and_green(index) for index in range(4)]
    _, results = follow(model, frames, {0: [ON_RED], 2: [correction]})
    assert [ids(result) for result in results] == [[1]] * 4
    for frame, result, colour in zip(frames, results, (RED, RED, GREEN, GREEN), strict=True):
        assert np.array_equal(result.tracks[0].mask, area(frame.image, colour))


def test_a_prompt_for_a_known_id_is_a_correction_and_may_name_it():
    again = Prompt(object_id=1, points=((0.9, 0.3),), labels=(True,), label="cup")
    state, results = follow(
        ColourPredictor(), [red_and_green(0), red_and_green(1)], {0: [ON_RED], 1: [again]}
    )
    (track,) = results[1].tracks
    assert (track.object_id, track.label) == (1, "cup")
    assert np.array_equal(track.mask, area(red_and_green(1).image, GREEN))
    assert state.memory is not None
    assert state.memory.written[0].tolist() == [0, 1, EMPTY, EMPTY, EMPTY]


def test_commands_for_one_object_in_one_frame_add_up():
    model = ColourPredictor()
    commands = {0: [ON_RED, Correct(object_id=1, points=((0.5, 0.9),), labels=(False,))]}
    _, (result,) = follow(model, [red_and_green(0)], commands)
    assert result.refusals == ()
    assert model.calls[1] == ("condition", 1)
    assert np.array_equal(result.tracks[0].mask, area(red_and_green(0).image, RED))


def test_who_points_at_an_object_is_believed_that_it_is_there():
    _, (result,) = follow(ColourPredictor(doubts=True), [red_and_green(0)], {0: [ON_RED]})
    assert result.tracks[0].presence == 0.5
    assert result.tracks[0].box is not None


def test_who_says_only_where_an_object_is_not_leaves_the_rest_to_the_model():
    gone = Correct(object_id=1, points=((0.05, 0.1),), labels=(False,))
    _, results = follow(ColourPredictor(), [red_and_green(0), red_and_green(1)], {0: [ON_RED], 1: [gone]})
    assert results[1].tracks[0].box is None


def test_an_object_forgotten_in_the_frame_it_came_never_was():
    _, (result,) = follow(ColourPredictor(), [red_and_green(0)], {0: [ON_RED, Forget(1)]})
    assert (result.tracks, result.events, result.refusals) == ((), (), ())


def test_forget_and_reset_end_objects_with_the_reason():
    commands = {0: [ON_RED, ON_RED, ON_RED], 1: [Forget(2)], 2: [Reset()]}
    _, results = follow(ColourPredictor(), [red_and_green(index) for index in range(3)], commands)
    ends = [
        (event.object_id, event.reason)
        for result in results
        for event in result.events
        if event.kind == "end"
    ]
    assert ends == [(2, "forgotten on request"), (1, "everything was reset"), (3, "everything was reset")]
