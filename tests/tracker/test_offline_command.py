"""`keepsight run --offline`: a recording as a whole, from prompts on any frame to its files."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.tracker.command_line import Keepsight, Said, frames_of, lines

SCENE = "test://?frames=12&size=160x120"
SHOWN = {"frame": 8, "command": "prompt", "object_id": 1, "label": "dot", "box": [0.2, 0.2, 0.7, 0.8]}
CORRECTED = {"frame": 3, "command": "correct", "object_id": 1, "points": [[0.4, 0.5]], "labels": [1]}


@pytest.fixture
def offline(keepsight: Keepsight, tmp_path: Path) -> Keepsight:
    """`offline([commands], …)` runs the test model over the scene with a prompt log."""

    def run(log: list[dict[str, object]], *more: object) -> Said:
        (tmp_path / "log.jsonl").write_bytes(b"\n".join(map(orjson.dumps, log)))
        return keepsight("run", SCENE, "--model", "test", "--offline", "--prompts", "log.jsonl", *more)

    return run


def ids(path: Path) -> list[list[int]]:
    return [[track["object_id"] for track in line["tracks"]] for line in lines(path)]  # type: ignore[attr-defined]


def test_an_object_shown_late_and_corrected_early_is_in_every_frame_of_every_output(
    offline: Keepsight, tmp_path: Path
) -> None:
    done = offline([SHOWN, CORRECTED], "-o", "r.jsonl", "-o", "masks:m", "-o", "o.mp4")
    assert (done.code, done.err) == (0, "")
    assert "main: 12 frames; " in done.out
    assert ids(tmp_path / "r.jsonl") == [[1]] * 12
    assert len(list((tmp_path / "m").glob("*.png"))) == 12
    assert frames_of(tmp_path / "o.mp4") == 12


def test_the_order_of_the_log_does_not_matter(offline: Keepsight, tmp_path: Path) -> None:
    assert offline([SHOWN, CORRECTED], "-o", "a.jsonl").code == 0
    assert offline([CORRECTED, SHOWN], "-o", "b.jsonl").code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_correction_changes_what_was_before_it(offline: Keepsight, tmp_path: Path) -> None:
    for name, log in (("a.jsonl", [SHOWN]), ("b.jsonl", [SHOWN, CORRECTED])):
        assert offline(log, "-o", name).code == 0
    first, corrected = (lines(tmp_path / name)[0]["tracks"] for name in ("a.jsonl", "b.jsonl"))
    assert first != corrected


def test_a_forgotten_object_is_left_out_from_that_frame_on(offline: Keepsight, tmp_path: Path) -> None:
    other = {**SHOWN, "object_id": 2, "frame": 0}
    log = [
        SHOWN,
        other,
        {"frame": 10, "command": "forget", "object_id": 1},
        {"frame": 11, "command": "reset"},
    ]
    assert offline(log, "-o", "r.jsonl").code == 0
    assert ids(tmp_path / "r.jsonl") == [[1, 2]] * 10 + [[2], []]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([CORRECTED], "prompt for frame 3: there is no object 1 to correct"),
        ([{**SHOWN, "frame": 12}], "prompt for frame 12: there is no frame 12: the recording has 12"),
        (
            [SHOWN, {"frame": 5, "command": "forget", "object_id": 1}],
            "prompt for frame 8: object 1 is forgotten on frame 5: give it another id",
        ),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_said_in_one_line(
    offline: Keepsight, log: list[dict[str, object]], said: str
) -> None:
    done = offline(log, "-o", "r.jsonl")
    assert done.code == 2
    assert done.complaint == said


def test_what_is_not_a_recording_and_outputs_that_are_no_files_are_refused(
    offline: Keepsight, keepsight: Keepsight, tmp_path: Path
) -> None:
    done = offline([SHOWN], "-o", "mqtt://host/prefix")
    assert done.code == 2
    assert done.complaint == "--offline: writes files when all is tracked; mqtt://host/prefix is for a stream"
    box = ("--model", "test", "--prompt", "box=0.2,0.2,0.7,0.8", "-o", "r.jsonl", "--offline")
    assert "is live; only a recording" in keepsight("run", "rtsp://host/main", *box).complaint
    assert keepsight("run", *box).complaint == "nothing to run: give a SOURCE"
    (tmp_path / "x.yaml").touch()
    assert "--config stands alone" in keepsight("run", "--config", "x.yaml", "--offline").complaint
