"""What may be asked in messages, and that everything else is refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keepsight.streams import control, rle
from keepsight.streams.control import MAX_BYTES, Request, read_request
from keepsight.streams.types import Correct, Forget, Prompt, Reset

BOX = [0.1, 0.2, 0.3, 0.4]


def asked(name: str, said: object) -> Request:
    return read_request(name, orjson.dumps(said), "t")


def test_every_command_can_be_said() -> None:
    assert asked("prompt", {"request_id": "a", "box": BOX}) == Request(
        "a", Prompt(box=(0.1, 0.2, 0.3, 0.4), request="t")
    )
    clicks = {"object_id": 3, "label": "cup", "points": [[0.5, 0.5], [0, 1]], "labels": [1, False]}
    assert asked("prompt", clicks).command == Prompt(
        object_id=3, label="cup", points=((0.5, 0.5), (0, 1)), labels=(True, False), request="t"
    )
    there = {"object_id": 3, "points": [[0.5, 0.5]], "frame_ref": {"epoch": 1, "index": 20}}
    assert asked("correct", there).command == Correct(
        object_id=3, points=((0.5, 0.5),), labels=(True,), frame_ref=(1, 20), request="t"
    )
    assert asked("forget", {"object_id": 3, "request_id": "b"}) == Request("b", Forget(3, "t"))
    assert asked("reset", {}) == Request(None, Reset("t"))


@pytest.mark.parametrize("name", ["prompt", "correct", "forget"])
def test_an_object_can_be_named_however_many_came_before_it(name: str) -> None:
    shown = {} if name == "forget" else {"box": BOX}
    for object_id in (2**15 + 1, 2**16, 2**53 - 1):
        command = asked(name, {"object_id": object_id, **shown}).command
        assert isinstance(command, Prompt | Correct | Forget)
        assert command.object_id == object_id


def test_a_mask_is_said_as_in_masks_messages() -> None:
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 3:5] = True
    command = asked("prompt", {"mask": rle.encode(mask)}).command
    assert isinstance(command, Prompt)
    assert command.mask is not None
    assert np.array_equal(command.mask, mask)


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("promt", "{}", "unknown command 'promt', did you mean 'prompt'? Known: correct, forget,"),
        ("prompt/now", "{}", "unknown command 'prompt/now'"),
        ("", "{}", "unknown command ''"),
        ("prompt", "", "the message is not JSON: "),
        ("prompt", "box=0,0,1,1", "the message is not JSON: "),
        ("prompt", "[" * 10_000, "the message is not JSON: recursion limit"),
        ("prompt", '{"box": [NaN, 0, 1, 1]}', "box.0: must be a finite number"),
        ("prompt", "null", "the message must be an object, not None"),
        ("prompt", '{"request_id": "a"}', "give points, a box or a mask"),
        ("prompt", '{"boxes": 1}', "boxes: unknown key 'boxes', did you mean 'box'?"),
        ("prompt", '{"box": [0.1, 0.2, 0.3]}', "box.3: is required"),
        ("prompt", '{"box": [0.1, 0.2, 0.3, "4"]}', "box.3: must be a valid number, not '4'"),
        ("prompt", '{"box": [10, 20, 300, 400]}', "box: coordinates are fractions of the frame"),
        ("prompt", '{"box": [0.5, 0.5, 0.2, 0.2]}', "box 0.5,0.5,0.2,0.2 is empty or turned round"),
        ("prompt", '{"points": [[0.5, true]]}', "points.0.1: must be a valid number"),
        ("prompt", '{"points": [[0.5, -0.5]]}', "point (0.5, -0.5) is outside the frame"),
        ("prompt", '{"points": [[0.5, 0.5]], "labels": [1, 0]}', "1 points but 2 labels"),
        ("prompt", '{"points": [[0.5, 0.5]], "labels": [2]}', "labels.0: must be a valid boolean, not 2"),
        ("prompt", '{"points": [%s[0,0]]}' % ("[0,0]," * 100), "points: must have at most 100 items"),
        ("prompt", '{"mask": {"size": [2, 2], "counts": "?"}}', "mask: RLE counts"),
        ("prompt", '{"mask": {"size": [9999, 9999], "counts": "0"}}', "mask: 9999x9999 is more than"),
        ("prompt", '{"mask": {"sizes": [2, 2]}}', "mask.sizes: unknown key 'sizes', did you mean 'size'?"),
        ("prompt", '{"box": [0, 0, 1, 1], "label": 7}', "label: must be a valid string, not 7"),
        ("prompt", '{"box": [0, 0, 1, 1], "label": "%s"}' % ("x" * 101), "label: must have at most 100"),
        ("prompt", '{"box": [0, 0, 1, 1], "object_id": 0}', "object_id: must be greater than or equal to 1"),
        ("prompt", '{"box": [0, 0, 1, 1], "frame_ref": 7}', "frame_ref: must be an object, not 7"),
        ("prompt", '{"box": [0, 0, 1, 1], "frame_ref": {"index": 7}}', "frame_ref.epoch: is required"),
        ("correct", '{"box": [0, 0, 1, 1]}', "object_id: is required"),
        ("forget", "{}", "object_id: is required"),
        ("forget", '{"object_id": 1.5}', "object_id: must be a valid integer"),
        ("forget", '{"object_id": 9007199254740993}', "object_id: must be less than or equal to 90071992"),
        ("reset", '{"request_id": 5}', "request_id: must be a valid string, not 5"),
        ("reset", '{"request_id": ""}', "request_id: must have at least 1 character"),
        ("reset", '{"everything": true}', "everything: unknown key 'everything'"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_a_reason_that_names_the_field(name: str, payload: str, reason: str) -> None:
    refused = read_request(name, payload.encode(), "t")
    assert refused.command is None
    assert refused.refusal.startswith(reason)
    assert "\n" not in refused.refusal
    assert len(refused.refusal) < 300


def test_a_refusal_tells_the_id_where_there_is_one() -> None:
    assert asked("prompt", {"request_id": "a", "boxes": 1}).request_id == "a"
    assert asked("prompt", {"request_id": "x" * 129, "box": BOX}).request_id is None
    assert asked("prompt", {"request_id": ["a"], "box": BOX}).request_id is None


def test_a_long_message_is_not_read() -> None:
    for payload in (b" " * (MAX_BYTES + 1), orjson.dumps({f"key {number}": 1 for number in range(9999)})):
        assert read_request("prompt", payload, "t").refusal.startswith("the message is too long")
    mask = {"size": [2, 2], "counts": "0" * 100_000}
    assert asked("prompt", {"mask": mask}).refusal.startswith("mask: RLE counts")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=8,
)
FIELDS = ("v", "request_id", "object_id", "label", "points", "labels", "box", "mask", "frame_ref")
MISTAKES = ("", "0.5", -1, 1e9, 0.5, True, [], [[]], {}, {"size": [2, 2]}, [0.1], [[0.1]], [0, 0, 0, 0])
SAID = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(MISTAKES))


def shown(said: dict[str, Any]) -> bool:
    return any(said.get(name) for name in ("points", "box", "mask"))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine drawing JSON is
@example(name="prompt", payload='{"request_id": "", "object_id": "", "mask": {"\\u0085": null}}')
@given(name=st.sampled_from(control.COMMANDS), payload=st.binary(max_size=200) | SAID.map(json.dumps))
def test_whatever_is_sent_becomes_a_command_or_a_refusal_in_one_line(name: str, payload: bytes | str) -> None:
    sent = payload if isinstance(payload, bytes) else payload.encode()
    request = read_request(name, sent, "t")
    assert (request.command is None) == bool(request.refusal)
    assert len(request.refusal.splitlines()) <= 1
    assert len(request.refusal) < 400


@settings(max_examples=300)
@given(payload=st.binary(max_size=200), name=st.sampled_from(("prompt", "correct", "forget")))
def test_bytes_that_say_nothing_are_refused(name: str, payload: bytes) -> None:
    assert read_request(name, payload, "t").refusal


@settings(max_examples=300)
@given(said=SAID.filter(lambda said: not shown(said)), name=st.sampled_from(("prompt", "correct")))
def test_who_shows_nothing_is_refused(name: str, said: dict[str, Any]) -> None:
    assert read_request(name, json.dumps(said).encode(), "t").refusal


@settings(max_examples=300)
@given(key=st.text(min_size=1), value=JSON, name=st.sampled_from(control.COMMANDS))
def test_a_key_that_is_not_known_is_refused(key: str, value: object, name: str) -> None:
    sound = {"prompt": {"box": BOX}, "correct": {"box": BOX, "object_id": 1}, "forget": {"object_id": 1}}
    if key in FIELDS:
        return
    assert read_request(name, json.dumps({**sound.get(name, {}), key: value}).encode(), "t").refusal


def test_a_command_may_say_the_version_of_its_format() -> None:
    assert read_request("reset", b'{"v": 1}', "t").command == Reset("t")
    for other in ("2", '"1"', "null", "true", "1.5"):
        assert read_request("reset", f'{{"v": {other}}}'.encode(), "t").refusal.startswith("v: ")


def test_counts_whose_sum_overflows_are_no_mask() -> None:
    runs = np.array([2**58] * 64 + [4])
    with pytest.raises(ValueError, match="do not fill"):
        rle.decode({"size": [2, 2], "counts": rle._to_string(runs)})
