"""What messages say, and that their schemas agree with them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import ValidationError
from pydantic import BaseModel

from keepsight.streams import control, messages, rle
from keepsight.streams.control import read_request
from keepsight.streams.messages import (
    Status,
    ack_message,
    clip_message,
    event_id,
    event_message,
    frames_message,
    masks_message,
    result_line,
    schema,
    status_message,
)
from keepsight.streams.node_messages import (
    CameraInfo,
    NodeInfo,
    Stats,
    info_message,
    object_message,
    stats_message,
    zone_message,
)
from keepsight.streams.types import Applied, Forget, Watched
from tests.peers.schemas import validator

from .results import event, frame, result

WATCHED = (
    Watched("zone", "yard", ((0, 0), (1, 0), (1, 1)), (("cup", 2),)),
    Watched("line", "gate", ((0, 0), (1, 1)), (("left", 0), ("right", 7))),
)
MADE: dict[str, BaseModel] = {
    "status": status_message(Status("running", "", 7, 1, 24.987, 2, "stalled", 3, 4), published=5.0),
    "frames": frames_message(replace(result(3), watched=WATCHED), published=5.0),
    "masks": masks_message(result(3), published=5.0),
    "events": event_message(event(frame(3)), "n/c/r/0", published=5.0),
    "ack": ack_message("forget", "a", Applied(Forget(1), (0, 3), 1), published=5.0),
    "clip": clip_message(event(frame(3)), "door", "a.mp4", 5.0, "a.1.jpg"),
    "result": result_line(result(3, events=("new",))),
    "info": info_message(NodeInfo("nano", (CameraInfo("door", ("yard",)),)), ("info",), "p", published=5.0),
    "stats": stats_message(Stats("door", 60.0, 600, 3, {"step": (0.1, 0.2)}, 1, 0, 9), published=5.0),
    "object": object_message(result(3).tracks[0], result(3), published=5.0),
    "zone": zone_message(WATCHED[0], published=5.0),
}


@pytest.mark.parametrize("name", messages.SAID)
def test_a_message_has_the_fields_of_its_schema_and_says_its_version(name: str) -> None:
    said = json.loads(MADE[name].model_dump_json())
    described = schema(name)
    assert said["v"] == 1
    assert set(said) == set(described["properties"]) == set(described["required"])


@pytest.mark.parametrize("name", control.COMMANDS)
def test_the_schema_of_a_command_has_every_key_that_is_taken_and_no_other(name: str) -> None:
    described = schema(name)
    assert described["additionalProperties"] is False
    keys = read_request(name, b'{"?": 1}', "").refusal.partition("Known: ")[2].split(", ")
    assert set(keys) == set(described["properties"])
    assert all(
        "description" in described["properties"][key] for key in ("request_id", "frame_ref") if key in keys
    )
    needed = {"correct": ["object_id"], "forget": ["object_id"]}
    assert described.get("required", []) == needed.get(name, [])


def test_an_answer_names_the_frame_or_the_reason() -> None:
    done = MADE["ack"].model_dump()
    assert (done["ok"], done["object_id"], done["applied"]) == (True, 1, {"epoch": 0, "index": 3})
    refused = ack_message("forget", None, "there is no object 1: none is tracked", published=5.0)
    assert (refused.ok, refused.applied, refused.object_id) == (False, None, None)
    assert refused.error == "there is no object 1: none is tracked"


def test_an_unknown_schema_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="frames"):
        schema("frame")


@pytest.mark.parametrize("name", messages.SAID)
def test_a_reader_ignores_fields_it_does_not_know(name: str) -> None:
    said = json.loads(MADE[name].model_dump_json()) | {"added_later": 1}
    assert type(MADE[name]).model_validate(said) == MADE[name]


def test_masks_read_back_as_they_were() -> None:
    made = result(3)
    said = json.loads(masks_message(made, published=0.0).model_dump_json())
    for track, mask in zip(made.tracks, said["masks"], strict=True):
        assert mask["object_id"] == track.object_id
        assert np.array_equal(rle.decode(mask["mask"]), track.mask)


def test_a_frames_message_names_its_frame_and_its_tracks() -> None:
    said = json.loads(frames_message(result(3), published=5.0).model_dump_json())
    assert (said["epoch"], said["index"], said["time"], said["size"]) == (0, 3, 0.12, [48, 64])
    assert [track["object_id"] for track in said["tracks"]] == [1, 2]
    assert said["tracks"][0]["label"] == "cup"


def test_the_same_result_is_always_the_same_line() -> None:
    assert result_line(result(3, events=("new",))) == result_line(result(3, events=("new",)))
    assert "published" not in result_line(result(3)).model_dump()


def test_event_ids_tell_events_of_all_runs_apart_and_never_change() -> None:
    assert event_id(("node", "door", "run7"), 12) == "node/door/run7/12"


def test_frames_messages_count_what_is_in_zones_and_crossed_lines() -> None:
    assert json.loads(MADE["frames"].model_dump_json())["watched"] == [
        {"kind": "zone", "name": "yard", "counts": {"cup": 2}},
        {"kind": "line", "name": "gate", "counts": {"left": 0, "right": 7}},
    ]


@pytest.mark.parametrize("name", messages.SAID)
def test_a_validator_of_others_takes_what_is_said_and_nothing_else(name: str) -> None:
    said = json.loads(MADE[name].model_dump_json())
    validator(name).validate(said)
    for key in said:
        with pytest.raises(ValidationError):
            validator(name).validate({**said, key: {"not": ["this"]}})
