"""What to track, as users write it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from keepsight.streams import rle
from keepsight.streams.sinks.masks import MasksWriter
from keepsight.streams.types import Correct, Forget, Prompt, Reset
from keepsight.tracker.config import Stream
from keepsight.tracker.deployment import read_cues
from keepsight.tracker.prompts import (
    Cue,
    check_masks,
    due,
    first_free_id,
    parse_prompt,
    read_prompt_log,
    read_prompt_mask,
)
from keepsight.tracker.validation import ConfigError
from tests.streams.results import result


def test_a_box_names_object_label_and_frame() -> None:
    cue = parse_prompt("box=0.1,0.2,0.3,0.4 id=7 label='red dog' frame=12")
    assert cue == Cue(12, Prompt(object_id=7, label="red dog", box=(0.1, 0.2, 0.3, 0.4)))


def test_points_may_be_on_the_object_or_not() -> None:
    prompt = parse_prompt("point=0.5,0.6 point=0.1,0.1,-").command
    assert isinstance(prompt, Prompt)
    assert prompt.points == ((0.5, 0.6), (0.1, 0.1))
    assert prompt.labels == (True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("box=120,80,300,400", "are fractions of the frame from 0 to 1, not pixels: divide x by the width"),
        ("point=320,200", "not pixels"),
        ("box=0.1,0.2,0.3", "has 3 numbers instead of 4"),
        ("box=a,b,c,d", "must be 4 numbers between commas"),
        ("box=0.5,0.5,0.2,0.2", "is empty or turned round"),
        ("box=0.5,0.5,1.2,0.9", "is not inside the frame"),
        ("point=-0.1,0.5", "is outside the frame: coordinates go from 0 to 1"),
        ("boxx=0,0,1,1", "unknown key 'boxx', did you mean 'box'? Known: box, frame, id, label, point"),
        ("box=0,0,1,1 id=0", "id=0 must be a whole number of at least 1"),
        ("box=0,0,1,1 frame=-1", "frame=-1 must be a whole number of at least 0"),
        ("box=0,0,1,1 box=0,0,1,1", "only point may be given more than once"),
        ("box", "box has no value"),
        ("id=3", "give a box=x0,y0,x1,y1 or a point=x,y"),
        ("", "give a box"),
        ("label='dog", "No closing quotation"),
        ("box=0,0,1,1 label=\udcff", "is not UTF-8"),
    ],
)
def test_a_wrong_prompt_is_answered_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_prompt(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--prompt {text!r}: ")


def test_each_value_of_an_indexed_png_is_an_object(tmp_path: Path) -> None:
    writer = MasksWriter(tmp_path)
    writer.open()
    shown = result(0)
    writer.write(shown)
    writer.close()
    cues = read_prompt_mask(f"{tmp_path / '00000.png'}@30")
    assert [(cue.frame, cue.command.object_id) for cue in cues] == [(30, 1), (30, 2)]  # type: ignore[union-attr]
    for cue, track in zip(cues, shown.tracks, strict=True):
        assert cue.mask is not None
        assert (cue.mask == track.mask).mean() > 0.95


def test_a_mask_in_black_and_white_is_object_1(tmp_path: Path) -> None:
    values = np.zeros((20, 30), np.uint8)
    values[5:9] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), values)
    (cue,) = read_prompt_mask(str(tmp_path / "mask.png"))
    assert isinstance(cue.command, Prompt)
    assert cue.command.object_id == 1
    assert cue.mask is not None
    assert np.array_equal(cue.mask, values == 255)


def test_255_beside_other_ids_is_no_object(tmp_path: Path) -> None:
    """The void of DAVIS and PASCAL VOC: around outlines, and where annotators could not say."""
    values = np.zeros((20, 30), np.uint8)
    values[5:9], values[9:11], values[15:] = 3, 255, 7
    cv2.imwrite(str(tmp_path / "mask.png"), values)
    cues = read_prompt_mask(str(tmp_path / "mask.png"))
    assert [cue.command.object_id for cue in cues] == [3, 7]  # type: ignore[union-attr]
    for cue, value in zip(cues, (3, 7), strict=True):
        assert cue.mask is not None
        assert np.array_equal(cue.mask, values == value)


def test_a_picture_that_is_no_mask_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((9, 9, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((9, 9), np.uint8))
    (tmp_path / "text.png").write_text("hello")
    for name, said in {
        "photo.png": "must be an indexed or 8-bit grey PNG",
        "empty.png": "it shows no object",
        "text.png": "not a mask that can be read",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(ConfigError, match=said):
            read_prompt_mask(str(tmp_path / name))


def test_a_prompt_log_says_everything_a_user_can(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[1:3, 2:5] = True
    coded = rle.encode(mask)
    lines = [
        {"command": "prompt", "frame": 0, "object_id": 1, "label": "dog", "box": [0.1, 0.2, 0.4, 0.8]},
        {"command": "prompt", "object_id": 2, "mask": coded},
        {"command": "correct", "frame": 40, "object_id": 1, "points": [[0.2, 0.3]], "labels": [0]},
        {"command": "forget", "frame": 90, "object_id": 1},
        {"command": "reset", "frame": 95},
    ]
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n\n".join(orjson.dumps(line) for line in lines))
    cues = read_prompt_log(log)
    assert cues[0] == Cue(0, Prompt(object_id=1, label="dog", box=(0.1, 0.2, 0.4, 0.8)))
    assert np.array_equal(cues[1].mask, mask)  # type: ignore[arg-type]
    assert cues[2] == Cue(40, Correct(object_id=1, points=((0.2, 0.3),), labels=(False,)))
    assert cues[3:] == [Cue(90, Forget(1)), Cue(95, Reset())]


def test_a_label_may_hold_what_ends_lines_elsewhere(tmp_path: Path) -> None:
    label, log = "red\u2028dog\u0085\u2029", tmp_path / "log.jsonl"
    line = {"command": "prompt", "label": label, "box": [0, 0, 1, 1]}
    log.write_bytes(orjson.dumps(line) + b"\r\n" + orjson.dumps(line))
    assert [cue.command.label for cue in read_prompt_log(log)] == [label, label]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"command": "promt"}', "command 'promt' is not one of 'prompt', 'correct', 'forget', 'reset'"),
        ('{"frame": 1}', "command is required"),
        ("box=0,0,1,1", "is not JSON"),
        ('{"command": "prompt", "boxes": 3}', "boxes: unknown key 'boxes', did you mean 'box'? Known: "),
        ('{"command": "prompt"}', "give points, a box or a mask"),
        ('{"command": "prompt", "box": [10, 20, 300, 400]}', "not pixels"),
        ('{"command": "prompt", "points": [[0.5, 0.5]], "labels": [1, 0]}', "1 points but 2 labels"),
        ('{"command": "forget"}', "object_id: is required"),
        ('{"command": "correct", "box": [0, 0, 1, 1]}', "object_id: is required"),
        ('{"command": "prompt", "mask": {"size": [2, 2], "counts": "?"}}', "RLE"),
    ],
)
def test_a_wrong_line_of_a_prompt_log_is_named(tmp_path: Path, line: str, said: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"command": "reset"}\n' + line)
    with pytest.raises(ConfigError) as caught:
        read_prompt_log(log)
    assert str(caught.value).startswith(f"--prompts {log}, line 2: ")
    assert said in str(caught.value)


def test_a_prompt_without_an_id_gets_one_that_no_other_prompt_has() -> None:
    cues = read_cues(Stream(source="", prompt=("box=0,0,1,1", "box=0,0,.5,.5 id=1", "point=.5,.5")))
    assert [cue.command.object_id for cue in cues] == [2, 1, 3]  # type: ignore[union-attr]


def test_ids_that_are_asked_for_begin_above_those_that_are_named() -> None:
    cues = [Cue(9, Prompt(object_id=4)), Cue(3, Forget(7)), Cue(2, Prompt()), Cue(1, Reset())]
    assert first_free_id(cues) == 8
    assert first_free_id([]) == 1


def test_cues_are_due_at_their_frame_or_as_soon_after_it_as_can_be() -> None:
    cues = Cue(0, Reset()), Cue(4, Forget(1)), Cue(5, Forget(2)), Cue(9, Forget(3))
    assert due(cues, 5) == ((Reset(), Forget(1), Forget(2)), (cues[3],))


def test_masks_have_to_have_the_frames_size() -> None:
    cue = Cue(3, Prompt(object_id=1, mask=np.ones((10, 20), np.bool_)))
    check_masks([cue, Cue(0, Reset())], (10, 20))
    with pytest.raises(ConfigError, match="for frame 3 is 20×10 but the frames are 40×30"):
        check_masks([cue], (30, 40))
