"""`keepsight run`: what it writes and sums up, what it refuses, and the exit code it ends with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import save_file

from keepsight.model.models import MODELS, build
from keepsight.tracker.cli.running import tell
from keepsight.tracker.pipeline import Report
from keepsight.tracker.summary import Meter
from tests.tracker.command_line import BOX, SCENE, Keepsight, frames_of, lines


def test_a_run_writes_overlay_masks_and_results_and_sums_up(track: Keepsight, tmp_path: Path) -> None:
    said = track(SCENE, "-o", "x.mp4", "-o", "y.mkv", "-o", "masks:m", "-o", "r.jsonl")
    assert (said.code, said.err) == (0, "")
    assert "main: 6 frames" in said.out
    assert "0 dropped" in said.out
    assert {"decode", "encode", "attention", "masks", "sinks", "median", "p95"} <= set(said.out.split())
    assert frames_of(tmp_path / "x.mp4") == frames_of(tmp_path / "y.mkv") == 6
    assert len(list((tmp_path / "m").glob("*.png"))) == 6
    results = lines(tmp_path / "r.jsonl")
    assert [line["index"] for line in results] == list(range(6))
    assert [event["kind"] for event in results[-1]["events"]] == ["end"]  # type: ignore[attr-defined]


def test_the_same_input_gives_the_same_bytes(track: Keepsight, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        assert track(SCENE, "-o", name).code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_file_that_could_not_take_all_frames_of_a_camera_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    meter = Meter(frames=250)
    tell([Report("door", replace(meter.summary(), left_out=(("overlay.mp4", 3),)))])
    assert capsys.readouterr().out.splitlines()[-1] == "overlay.mp4: 3 of 250 frames left out"


def test_noise_is_heeded_in_stability_and_in_nothing_that_is_tracked(
    keepsight: Keepsight, tmp_path: Path
) -> None:
    noise, scene = ("--noise", "0.2"), ("run", SCENE, *BOX, "--device", "cpu")
    runs = {"a": (), "b": noise, "c": ("--offline",), "d": ("--offline", *noise)}
    for name, more in runs.items():
        assert keepsight(*scene, "-o", f"{name}.jsonl", *more).code == 0
    for plain, noisy in (("a.jsonl", "b.jsonl"), ("c.jsonl", "d.jsonl")):
        quiet, loud = (told(tmp_path / name) for name in (plain, noisy))
        assert [one["mask"] for one in quiet] == [one["mask"] for one in loud]
        assert all(one["stability"] >= other["stability"] for one, other in zip(quiet, loud, strict=True))
        assert quiet != loud
    done = keepsight(*scene, "-o", "x.jsonl", "--noise", "2")
    assert (done.code, done.complaint) == (2, "--noise: must be less than or equal to 1, not 2.0")


def told(path: Path) -> list[Any]:
    """Every track of every frame."""
    written: list[Any] = lines(path)
    return [track for line in written for track in line["tracks"]]


def test_the_memorys_policy_is_chosen_by_an_option_or_a_stream(keepsight: Keepsight, tmp_path: Path) -> None:
    scene = "test://?frames=30&size=160x120"
    stream = {"source": scene, "prompt": "box=0.2,0.2,0.7,0.8"}
    streams = {
        name: {**stream, "memory": name, "output": f"{name}.jsonl"} for name in ("recent", "selective")
    }
    (tmp_path / "two.yaml").write_bytes(orjson.dumps({"model": "test", "streams": streams}))
    assert keepsight("run", "--config", "two.yaml").code == 0
    typed = ("run", scene, "--model", "test", *BOX, "--memory", "selective", "-o", "typed.jsonl")
    assert keepsight(*typed).code == 0
    recent, selective, asked = (told(tmp_path / f"{name}.jsonl") for name in ("recent", "selective", "typed"))
    assert selective == asked
    assert selective != recent
    done = keepsight("run", scene, "--model", "test", *BOX, "--memory", "all", "-o", "x.jsonl")
    assert (done.code, done.complaint) == (2, "--memory: 'all' is not one of 'recent' or 'selective'")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"output": "sound.wav"}, "two.yaml: yard: sound.wav: no such output; there are FILE.mp4"),
        ({"source": "gopher://host/x"}, "two.yaml: yard: gopher://host/x: unknown scheme gopher"),
        ({"prompt": "circle=1"}, "two.yaml: yard: "),
        ({"output": []}, "two.yaml: yard: no output: say where"),
        ({"output": "door.jsonl"}, "two.yaml: yard: output door.jsonl is a source or another output"),
    ],
)
def test_what_a_file_says_wrong_is_told_with_the_file_and_the_stream(
    keepsight: Keepsight, tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    stream = {"source": SCENE, "prompt": "box=0.2,0.2,0.7,0.8"}
    streams = {"door": {**stream, "output": "door.jsonl"}, "yard": {**stream, "output": "y.jsonl", **wrong}}
    (tmp_path / "two.yaml").write_bytes(orjson.dumps({"model": "test", "streams": streams}))
    for command in (("check", "two.yaml"), ("run", "--config", "two.yaml")):
        done = keepsight(*command)
        assert done.code == 2
        assert done.complaint.startswith(said)


def test_tables_of_two_kinds_are_written_by_one_run(track: Keepsight, tmp_path: Path) -> None:
    assert track(SCENE, "-o", "coco:a.json", "-o", "mot:a.txt").code == 0
    coco = orjson.loads((tmp_path / "a.json").read_bytes())
    rows = [line.split(",") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert [image["id"] for image in coco["images"]] == [1, 2, 3, 4, 5, 6]
    assert [one["image_id"] for one in coco["annotations"]] == [int(row[0]) for row in rows]
    for one, row in zip(coco["annotations"], rows, strict=True):
        x, y, width, height = map(float, row[2:6])  # which count pixels from 1
        assert [x - 1, y - 1, width, height] == pytest.approx(one["bbox"], abs=0.01)


def test_a_deployment_file_runs_several_streams_with_one_model(keepsight: Keepsight, tmp_path: Path) -> None:
    stream = {"source": SCENE, "prompt": "box=0.2,0.2,0.7,0.8"}
    deployment = {
        "model": "test",
        "streams": {name: {**stream, "output": f"{name}.jsonl"} for name in ("door", "yard")},
    }
    (tmp_path / "two.yaml").write_bytes(orjson.dumps(deployment))
    said = keepsight("run", "--config", "two.yaml")
    assert (said.code, said.err) == (0, "")
    assert "door: 6 frames" in said.out
    assert "yard: 6 frames" in said.out
    assert (tmp_path / "door.jsonl").read_bytes() == (tmp_path / "yard.jsonl").read_bytes()


def test_one_bad_stream_does_not_stop_the_others(keepsight: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    both = {
        name: {"source": source, "prompt": "box=0.2,0.2,0.7,0.8", "output": f"{name}.jsonl"}
        for name, source in (("bad", "text.mp4"), ("good", SCENE))
    }
    (tmp_path / "two.yaml").write_bytes(orjson.dumps({"model": "test", "streams": both}))
    said = keepsight("run", "--config", "two.yaml")
    assert said.code == 2
    assert said.complaint.startswith("text.mp4: ")
    assert len(lines(tmp_path / "good.jsonl")) == 6


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("missing.mp4", "missing.mp4: no such file"),
        ("gopher://host/x", "unknown scheme gopher; known: rtsp://"),
        ("test://?colour=red", "unknown parameter colour; known: objects"),
        ("text.mp4", "text.mp4: "),
        ("empty.mp4", "empty.mp4: "),
        ("folder", "folder"),
    ],
)
def test_a_source_that_cannot_be_is_said_in_one_line(
    track: Keepsight, tmp_path: Path, source: str, said: str
) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    done = track(source, "-o", "x.mp4")
    assert done.code == 2
    assert said in done.complaint
    assert not (tmp_path / "x.mp4").exists()


def test_an_output_that_cannot_be_written_is_said_before_anything_is_tracked(
    track: Keepsight, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for output in ("file/x.mp4", "masks:file/m", "file/x.jsonl"):
        done = track(SCENE, "-o", output)
        assert done.code == 2
        assert (
            "cannot be written: Not a directory" in done.complaint
            or "is a file, not a folder" in done.complaint
        )
    done = track(SCENE, "-o", "sound.wav")
    assert done.code == 2
    assert "no such output; there are FILE.mp4" in done.complaint


def test_what_cannot_be_meant_costs_no_earlier_result(track: Keepsight, tmp_path: Path) -> None:
    outputs = ("-o", "x.mp4", "-o", "x.jsonl", "-o", "masks:m")
    assert track(SCENE, *outputs).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 8
    assert track(SCENE, *outputs, "--device", "cuda:99").code == 2
    assert track(f"{SCENE}&live=1", *outputs, "--device", "cuda:99").code == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_mask_of_another_size_than_the_frames_is_refused(keepsight: Keepsight, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.eye(50, dtype=np.uint8))
    done = keepsight("run", SCENE, "--model", "test", "--prompt-mask", "mask.png", "-o", "x.jsonl")
    assert done.code == 2
    assert done.complaint.endswith("is 50×50 but the frames are 160×120: give a mask of the frames' size")


def test_an_object_without_a_free_slot_is_refused_and_the_others_are_tracked(
    keepsight: Keepsight, tmp_path: Path
) -> None:
    more = ("--prompt", "box=0.1,0.1,0.3,0.3", "--prompt", "box=0.6,0.6,0.9,0.9")
    done = keepsight("run", SCENE, "--model", "test", *more, "--max-objects", "1", "-o", "x.jsonl")
    assert done.code == 1
    assert "prompt of object 2 was refused: all 1 object slots are in use" in done.complaint
    assert all(len(line["tracks"]) == 1 for line in lines(tmp_path / "x.jsonl"))  # type: ignore[arg-type]


def test_a_prompt_for_a_frame_after_the_end_is_said(track: Keepsight) -> None:
    done = track(SCENE, "-o", "x.jsonl", "--prompt", "point=.5,.5 frame=99")
    assert done.code == 1
    assert "the stream ended before frame 99" in done.complaint


def test_what_is_readable_of_a_truncated_video_is_written(
    track: Keepsight, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    whole = make_clip("whole.mkv", frames=60, size=(120, 160))
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    done = track("cut.mkv", "-o", "x.mp4", "-o", "x.jsonl")
    assert done.code in (0, 1)
    written = len(lines(tmp_path / "x.jsonl"))
    assert 5 < written < 60
    assert frames_of(tmp_path / "x.mp4") == written


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 47), (600, 8000), (2, 400)], ids=str)
def test_pictures_of_any_size_are_tracked(track: Keepsight, tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"pictures/{index}.png"), np.full((*size, 3), 90, np.uint8))
    done = track("pictures", "-o", "x.mp4", "-o", "masks:m", "-o", "x.jsonl")
    assert (done.code, done.err) == (0, "")
    mask = cv2.imread(str(tmp_path / "m/00001.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape[:2] == size
    assert frames_of(tmp_path / "x.mp4") == 2


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_are_tracked(track: Keepsight, tmp_path: Path, channels: int) -> None:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures/0.png"), np.full((40, 60, channels), 90, np.uint8))
    assert track("pictures", "-o", "x.jsonl").code == 0


def test_weights_that_are_given_are_used_or_refused(track: Keepsight, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = {name: value.contiguous() for name, value in build(MODELS["test"]).state_dict().items()}
    save_file(state, tmp_path / "mine.safetensors")
    torch.save({"model": state}, tmp_path / "mine.pt")
    for name in ("mine.safetensors", "mine.pt"):
        assert track(SCENE, "-o", f"{name}.jsonl", "--weights", name).code == 0
    assert (tmp_path / "mine.pt.jsonl").read_bytes() == (tmp_path / "mine.safetensors.jsonl").read_bytes()
    state.pop(next(iter(state)))
    save_file(state, tmp_path / "part.safetensors")
    done = track(SCENE, "-o", "x.jsonl", "--weights", "part.safetensors")
    assert done.code == 2
    assert "not the weights of test: 1 tensors are missing" in done.complaint


def test_a_file_of_weights_cannot_run_code(track: Keepsight, tmp_path: Path) -> None:
    torch.save({"model": subprocess.run}, tmp_path / "hostile.pt")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("hostile.pt", "text.safetensors"):
        done = track(SCENE, "-o", "x.jsonl", "--weights", name)
        assert done.code == 2
        assert done.complaint.startswith(f"{name}: cannot be read as weights: ")


def test_int8_weights_track(track: Keepsight, tmp_path: Path) -> None:
    assert track(SCENE, "-o", "x.jsonl", "--dtype", "int8", "--device", "cpu").code == 0
    assert all(line["tracks"] for line in lines(tmp_path / "x.jsonl"))
