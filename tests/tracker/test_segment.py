"""`keepsight segment`: what it writes and says, what it refuses, and the exit code it ends with."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from rich.console import Console

import keepsight.tracker as ks
from keepsight.streams import rle
from keepsight.streams.segments import Segmented
from keepsight.streams.types import Prompt
from keepsight.tracker.cli import console
from keepsight.tracker.cli.interrupts import Interrupts
from keepsight.tracker.cli.main import execute
from keepsight.tracker.evaluation.labelled import read_index_map
from keepsight.tracker.prompts import parse_prompt
from keepsight.tracker.segment import as_shown, opened, output_names, segment_pictures, shown, writers_for
from keepsight.tracker.validation import ConfigError
from tests.tracker.command_line import Said

SIZE = (60, 90)
BOX = ("--prompt", "box=0.2,0.2,0.7,0.8 label=thing")
CLICK = ("--prompt", "point=0.4,0.6")


Segment = Callable[..., Said]


@pytest.fixture
def segment(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    """`segment("a.jpg", …)` as it would be typed in an empty folder, with the test model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = execute(["segment", *(str(argument) for argument in arguments), "--model", "test"])
        return Said(code, *capsys.readouterr())

    return run


def paint(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(blocks, size[::-1]))
    return path


def coco(path: Path) -> dict[str, list[dict]]:  # type: ignore[type-arg]
    found: dict[str, list[dict]] = orjson.loads(path.read_bytes())  # type: ignore[type-arg]
    return found


def test_a_picture_becomes_an_overlay_masks_and_coco(segment: Segment, tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    said = segment("a.png", *BOX, *CLICK, "-o", "over.jpg", "-o", "masks:m", "-o", "all.json")
    assert (said.code, said.err) == (0, "")
    assert "1 thing" in said.out
    assert cv2.imread(str(tmp_path / "over.jpg")).shape == (*SIZE, 3)
    annotations = coco(tmp_path / "all.json")["annotations"]
    assert sorted(one["object_id"] for one in annotations) == [1, 2]
    assert all(0 <= one["confidence"] < 1 for one in annotations)
    ids = read_index_map(tmp_path / "m" / "a.png")
    for one in annotations:
        mask = rle.decode(one["segmentation"])
        assert mask.shape == SIZE
        assert not (ids[~mask] == one["object_id"]).any()


def test_labels_and_names_are_shown_as_they_are(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(console, "err", terminal)
    paint(tmp_path / "[b].png")
    said = segment("[b].png", "--prompt", "point=0.4,0.6 label=[/x]", "-o", "masks:m")
    assert (said.code, said.err) == (0, "")
    assert "1 [/x]" in said.out
    assert "[b].png" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_every_candidate_of_a_click_is_written_where_asked_for(segment: Segment, tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    assert segment("a.png", *CLICK, "--multimask", "-o", "masks:m", "-o", "all.json").code == 0
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["a.2.png", "a.3.png", "a.png"]
    annotations = coco(tmp_path / "all.json")["annotations"]
    assert [one["candidate"] for one in annotations] == [1, 2, 3]
    scores = [one["score"] for one in annotations]
    assert scores == sorted(scores, reverse=True)


def test_a_rough_mask_is_refined_with_clicks_on_the_same_object(segment: Segment, tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    rough = np.zeros(SIZE, np.uint8)
    rough[10:30, 20:60] = 1
    cv2.imwrite(str(tmp_path / "rough.png"), rough)
    click = ("--prompt", "point=0.4,0.4 id=1")
    counts = []
    for asked in (("--prompt-mask", "rough.png", *click), click, ("--prompt-mask", "rough.png")):
        assert segment("a.png", *asked, "-o", "all.json").code == 0
        (one,) = coco(tmp_path / "all.json")["annotations"]
        counts.append(one["segmentation"]["counts"])
    assert len(set(counts)) == 3


def test_a_folder_is_segmented_and_a_bad_picture_named(segment: Segment, tmp_path: Path) -> None:
    for number, size in enumerate([(60, 90), (90, 60), (60, 60)]):
        paint(tmp_path / "photos" / f"{number}.png", size, seed=number)
    (tmp_path / "photos" / "1b.jpg").write_text("not a picture")
    said = segment("photos", *BOX, "-o", "overlay:o", "-o", "all.json")
    assert said.code == 1
    assert said.err.startswith("keepsight: photos/1b.jpg: cannot be read as a picture")
    assert len(said.err.splitlines()) == 1
    assert "3 pictures, 3 objects, 1 failed" in said.out
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    images = coco(tmp_path / "all.json")["images"]
    assert [(image["file_name"], image["height"]) for image in images] == [
        ("0.png", 60),
        ("1.png", 90),
        ("2.png", 60),
    ]


def test_of_a_damaged_picture_one_line_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenCV would say more, below Python's streams."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    assert execute(["segment", "half.jpg", *BOX, "--model", "test"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("keepsight: half.jpg: cannot be read as a picture")


def test_a_mask_of_another_size_is_named_with_its_picture_and_the_others_go_on(
    segment: Segment, tmp_path: Path
) -> None:
    paint(tmp_path / "photos" / "a.png", (40, 40))
    paint(tmp_path / "photos" / "b.png")
    cv2.imwrite(str(tmp_path / "mask.png"), np.full(SIZE, 255, np.uint8))
    said = segment("photos", "--prompt-mask", "mask.png", "-o", "masks:m")
    assert said.code == 1
    assert said.err.startswith("keepsight: photos/a.png: the mask is 90×60 but the picture is 40×40: give a")
    assert (tmp_path / "m" / "b.png").exists()


def test_everything_needs_no_prompt(segment: Segment, tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    said = segment("a.png", "--auto", "--grid", "2", "--crops", "1", "-o", "all.json", "-o", "masks:m")
    assert (said.code, said.out, said.err) == (0, "nothing was found\n", ""), (
        "random weights are sure of nothing"
    )
    assert coco(tmp_path / "all.json")["images"][0]["file_name"] == "a.png"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.jpg", *BOX], "nowhere.jpg: no such file or folder"),
        (["text.jpg", *BOX], "text.jpg: cannot be read as a picture"),
        (["a.png"], 'nothing to segment: give --prompt "point=x,y", --prompt-mask FILE.png, or --auto'),
        (["a.png", *BOX, "--auto"], "--auto finds everything without prompts"),
        (["a.png", *BOX, "--grid", "4"], "--grid and --crops are for --auto"),
        (["a.png", "--auto", "--multimask"], "--multimask is for prompts"),
        (["a.png", "--prompt", "point=0.5,1.2"], "point (0.5, 1.2) is outside the frame"),
        (["a.png", "--prompt", "point=300,200"], "are fractions of the frame from 0 to 1, not pixels"),
        (["a.png", "--prompt", "point=0.5,0.5 frame=3"], "a still picture has no frames"),
        (["a.png", *BOX, "-o", "a.png"], "that is what is read: name another place"),
        (["a.png", *BOX, "-o", "x.json", "-o", "x.json"], "is given twice"),
        (["a.png", *BOX, "-o", "x.mp4"], "x.mp4: is no output: give FILE.jpg, overlay:DIR"),
        (["a.png", *BOX, "-o", "masks:text.jpg"], "--output text.jpg: file exists"),
        (["a.png", *BOX, "--prompt-mask", "small.png", "--prompt", "point=.5,.5 id=1"], "the mask is 4×4"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    segment: Segment, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    cv2.imwrite(str(tmp_path / "small.png"), np.full((4, 4), 255, np.uint8))
    said = segment(*arguments)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert reason in said.err


def test_prompts_of_one_id_are_one_object_and_others_get_ids_of_their_own() -> None:
    texts = ["box=0,0,0.5,0.5", "point=0.1,0.1 id=1 label=cup", "point=0.2,0.2,- id=1", "box=0,0,1,1"]
    prompts = shown([parse_prompt(text) for text in texts])
    assert [(prompt.object_id, prompt.label) for prompt in prompts] == [(2, ""), (1, "cup"), (3, "")]
    assert prompts[1].labels == (True, False)
    assert all(type(prompt) is Prompt for prompt in prompts)
    with pytest.raises(ConfigError, match="frame 4"):
        shown([parse_prompt("point=0,0 frame=4")])


def test_outputs_of_pictures_that_differ_in_their_ending_only_do_not_meet() -> None:
    paths = [Path("p/a.jpg"), Path("p/a.png"), Path("p/b.jpg")]
    assert list(output_names(paths).values()) == ["a.jpg", "a.png", "b"]


@contextmanager
def interrupted(interrupts: Interrupts) -> Iterator[None]:
    with interrupts.heard(), pytest.raises(KeyboardInterrupt):
        yield


def test_ctrl_c_waits_while_a_file_is_being_written() -> None:
    interrupts, done = Interrupts(), []
    with interrupted(interrupts):
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")
        done.append("went on")
    assert done == ["written"]
    assert interrupts.signal == signal.SIGINT


def test_ctrl_c_is_heard_at_once_between_files_and_the_last_file_is_finished() -> None:
    interrupts, done = Interrupts(), []
    with interrupted(interrupts):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("went on")
        finally:
            with interrupts.held():
                done.append("closed")
    assert done == ["closed"]
    assert interrupts.signal == signal.SIGTERM


def test_a_second_ctrl_c_does_not_wait() -> None:
    interrupts, done = Interrupts(), []
    with interrupted(interrupts), interrupts.held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("written")
    assert done == []


class Interrupting:
    """A writer during whose second picture the user presses Ctrl-C."""

    def __init__(self) -> None:
        self.pictures = 0

    def open(self) -> None: ...

    def write(self, found: Segmented) -> None:
        self.pictures += 1
        if self.pictures == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None: ...


def test_the_picture_that_is_being_written_is_finished_in_every_output(tmp_path: Path) -> None:
    paths = [paint(tmp_path / f"{number}.png", seed=number) for number in range(4)]
    task = as_shown(shown([parse_prompt("box=0.2,0.2,0.7,0.8")]), multimask=False)
    writers = [
        Interrupting(),
        *writers_for([f"masks:{tmp_path / 'm'}", str(tmp_path / "all.json")], tmp_path),
    ]
    interrupts = Interrupts()
    with interrupted(interrupts), opened(writers, interrupts.held) as write:
        for _ in segment_pictures(ks.load("test"), paths, task, write):
            pass
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["0.png", "1.png"]
    assert [image["file_name"] for image in coco(tmp_path / "all.json")["images"]] == ["0.png", "1.png"]


def test_an_interrupted_run_says_how_far_it_came_and_ends_with_130(tmp_path: Path) -> None:
    for number in range(200):
        paint(tmp_path / "photos" / f"{number:03}.png")
    (tmp_path / "photos" / "000.jpg").write_text("not a picture")
    code = "from keepsight.tracker.cli import main; main()"
    options = ["--auto", "--grid", "12", "--model", "test", "-o", "all.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "segment", "photos", *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "000.jpg: cannot be read" in process.stderr.readline(), "said when the run is under way"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "keepsight: interrupted after" in err
    assert len(coco(tmp_path / "all.json")["images"]) < 200
