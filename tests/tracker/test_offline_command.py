"""`keepsight run --offline`: a recording as a whole, from prompts on any frame to its files."""

from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest
from rich.progress import Progress

from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import open_source
from keepsight.streams.threads import run_loop
from keepsight.streams.types import Result
from keepsight.tracker.cli.offline import _run
from keepsight.tracker.config import run_config
from keepsight.tracker.pipeline import Stream
from keepsight.tracker.prompts import parse_prompt
from tests.fakes import CollectingSink
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


@pytest.mark.parametrize("output", ["r.jsonl", "o.mp4", "coco:c.json", "mot:m.txt"])
def test_a_full_disk_is_a_run_that_failed(offline: Keepsight, tmp_path: Path, output: str) -> None:
    """The last two are written when all is known."""
    file = output.partition(":")[2] or output
    (tmp_path / (f".{file}.part" if output.startswith("coco:") else file)).symlink_to("/dev/full")
    done = offline([SHOWN], "-o", "whole.jsonl", "-o", output)
    assert (done.code, done.out) == (1, "")
    assert done.complaint == f"{output}: cannot be written: No space left on device"
    assert all(line["tracks"] for line in lines(tmp_path / "whole.jsonl"))


def test_more_objects_than_there_may_be_are_refused(offline: Keepsight, tmp_path: Path) -> None:
    log = [SHOWN, {**SHOWN, "object_id": 2}, {**SHOWN, "object_id": 2, "frame": 3}]
    done = offline(log, "-o", "r.jsonl", "--max-objects", 1)
    assert done.code == 2
    assert done.complaint == "--offline: 2 objects are shown; --max-objects is 1"
    assert not (tmp_path / "r.jsonl").exists()
    assert offline(log, "-o", "r.jsonl", "--max-objects", 2).code == 0


def test_weights_that_are_nowhere_are_said_before_anything_is_opened(
    keepsight: Keepsight, tmp_path: Path
) -> None:
    box = ("--prompt", "box=0.2,0.2,0.7,0.8", "-o", "r.jsonl", "--offline", "--weights", "nowhere.pt")
    done = keepsight("run", SCENE, "--model", "test", *box)
    assert (done.code, done.complaint) == (2, "--weights nowhere.pt: no such file")
    assert not (tmp_path / "r.jsonl").exists()


class Impatient(CollectingSink):
    """Sends the signal of Ctrl-C when it has so many results, 0 as soon as it is opened."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    async def __aenter__(self) -> Impatient:
        if self.after == 0:
            signal.raise_signal(signal.SIGINT)
        return self

    async def write(self, result: Result) -> None:
        await super().write(result)
        if len(self.results) == self.after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("after", [0, 3])
def test_ctrl_c_ends_it_while_frames_are_read_and_while_they_are_written(tmp_path: Path, after: int) -> None:
    """The handler runs soon after the signal came: a frame or two later."""
    scene = "test://?frames=40&size=160x120"
    config = run_config({"source": scene, "model": "test"})
    impatient, video = Impatient(after), tmp_path / "o.mp4"
    stream = Stream(
        "main", open_source(scene), (open_sink(str(video)), impatient), (parse_prompt("box=.2,.2,.7,.8"),)
    )
    with Progress(disable=True) as bar:
        done, stopped_by = run_loop(_run(stream, config, bar))
    assert (done, stopped_by) == (None, signal.SIGINT)
    assert impatient.finished
    assert after <= len(impatient.results) < after + 5
    assert video.exists() == bool(after)
    if after:
        assert frames_of(video) == len(impatient.results)
