"""The command line: what it prints, what it writes, and the exit code it ends with."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import save_file

from keepsight.model.models import MODELS, build
from keepsight.streams.types import Image
from keepsight.tracker.api import load
from keepsight.tracker.build import load_predictor
from keepsight.tracker.calibration import find_calibration
from keepsight.tracker.cli.main import execute
from keepsight.tracker.config import engine
from keepsight.tracker.evaluation.baselines import BASELINES
from keepsight.tracker.evaluation.propagator import FirstMasks, IndexMap, Propagator

BOX = ("--prompt", "box=0.2,0.2,0.7,0.8")
SCENE = "test://?frames=6&size=160x120"
KNOWN = (
    "edgetam, nano, sam2-base-plus, sam2-large, sam2-small, sam2-tiny, "
    "sam2.1-base-plus, sam2.1-large, sam2.1-small, sam2.1-tiny, test"
)
"""Every model there is."""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr, without the program's name."""
        (line,) = self.err.splitlines()
        assert line.startswith("keepsight: ")
        return line.removeprefix("keepsight: ")


Keepsight = Callable[..., Said]


@pytest.fixture
def keepsight(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Keepsight:
    """`keepsight("run", …)` as it would be typed, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def track(keepsight: Keepsight) -> Keepsight:
    """`track(source, …)` runs the test model with a box prompt."""
    return lambda source, *more: keepsight("run", source, "--model", "test", *BOX, *more)


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_help_is_quick_because_it_does_not_import_torch() -> None:
    code = (
        "import sys; from keepsight.tracker.cli.main import execute; execute(['run', '--help']); "
        "assert not {'torch', 'av', 'cv2', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--prompt-mask" in done.stdout
    assert "keepsight run street.mp4" in done.stdout


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
        assert "cannot be written: Not a directory" in done.complaint or "File exists" in done.complaint
    done = track(SCENE, "-o", "sound.wav")
    assert done.code == 2
    assert "no such sink; there are FILE.mp4" in done.complaint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "nothing to run: give a SOURCE, or --config FILE.yaml"),
        (["run", SCENE, "-o", "x.jsonl"], "nothing to track"),
        (["run", SCENE, *BOX], "no output"),
        (["run", SCENE, "-o", "x.jsonl", "--prompt", "box=10,20,300,400"], "not pixels"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "huge"], f"unknown model 'huge'. Known: {KNOWN}"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "sam2.1-tiny"], "no weights: save https://"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--weights", "w.safetensors"], "no such file"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--backend", "compile"], "not part of this release"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--max-objects", "0"], "--max-objects: must be greater"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "test", "--device", "cuda:7"], "--device cuda:7"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "test", "--size", "100"], "multiple of 32"),
        (["run", SCENE, "--config", "x.yaml"], "--config stands alone"),
        (["run", "--modle", "nano"], "No such option"),
        (["rum"], "No such command"),
        (["check", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["eval", "nowhere", "--model", "test"], "nowhere"),
        (["schema", "event"], "unknown schema 'event', did you mean 'events'?"),
        (["bench", "--video", "big", "--model", "test"], "must be WIDTHxHEIGHT"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--dtype", "int4"], "--dtype: 'int4' is not one of auto,"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_in_one_line(keepsight: Keepsight, arguments: list[str], said: str) -> None:
    if "cuda:7" in arguments and torch.cuda.device_count() > 7:
        pytest.skip("this machine has that GPU")
    done = keepsight(*arguments)
    assert done.code == 2
    assert said in done.complaint


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


def test_check_shows_what_would_run_and_hides_secrets(keepsight: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "door.yaml").write_text(
        "source: rtsp://me:hush@camera.local/main\nmodel: test\nprompt: box=0,0,.5,.5\n"
        "output: [mqtt://me:hush@broker/keepsight, out.mp4]\n"
    )
    done = keepsight("check", "door.yaml")
    assert (done.code, done.err) == (0, "")
    assert "rtsp://me:***@camera.local/main (live)" in done.out
    assert "out.mp4" in done.out
    assert "hush" not in done.out


def test_models_lists_every_model(keepsight: Keepsight) -> None:
    done = keepsight("models")
    assert done.code == 0
    assert all(name in done.out for name in MODELS)
    assert all(said in done.out for said in ("224.4 M", "13.9 M", "Apache-2.0", "hf:facebook/EdgeTAM"))


def test_schema_prints_json_schemas(keepsight: Keepsight) -> None:
    for name in keepsight("schema").out.split():
        assert orjson.loads(keepsight("schema", name).out)


def test_the_demo_writes_its_files_and_compares_with_the_truth(keepsight: Keepsight, tmp_path: Path) -> None:
    done = keepsight("demo", "--out", "shown", "--model", "test", "--frames", "10")
    assert (done.code, done.err) == (0, "")
    assert "Against the scene's truth" in done.out
    assert frames_of(tmp_path / "shown/overlay.mp4") == 10
    assert len(list((tmp_path / "shown/masks").iterdir())) == 10
    assert len(lines(tmp_path / "shown/events.jsonl")) == 10


def test_bench_tells_the_speed_of_each_way(keepsight: Keepsight) -> None:
    done = keepsight("bench", "--model", "test", "--objects", "1", "--video", "64x64", "--frames", "10")
    assert done.code == 0
    assert "model only" in done.out
    assert "1: with overlay" in done.out


def test_bench_compares_dtypes(keepsight: Keepsight) -> None:
    asked = ("--model", "test", "--video", "64x64", "--frames", "10", "--device", "cpu")
    done = keepsight("bench", "--dtypes", *asked)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["float32", "bfloat16", "int8"]
    assert rows[0][3:] == ["1.00", "1.0000", "0", "0"]


def test_int8_weights_track(track: Keepsight, tmp_path: Path) -> None:
    assert track(SCENE, "-o", "x.jsonl", "--dtype", "int8", "--device", "cpu").code == 0
    assert all(line["tracks"] for line in lines(tmp_path / "x.jsonl"))


def write_labelled(sequence: Path, side: int = 20) -> None:
    """Six frames of a square that moves, and its masks."""
    for folder in ("images", "masks"):
        (sequence / folder).mkdir(parents=True)
    for index in range(6):
        mask = np.zeros((48, 64), np.uint8)
        mask[10 : 10 + side, 10 + 3 * index : 10 + 3 * index + side] = 1
        cv2.imwrite(str(sequence / f"images/{index}.jpg"), np.stack([mask * 200] * 3, axis=-1))
        cv2.imwrite(str(sequence / f"masks/{index}.png"), mask)


def test_eval_scores_the_model_beside_the_baselines(keepsight: Keepsight, tmp_path: Path) -> None:
    write_labelled(tmp_path / "set/square")
    done = keepsight("eval", "set", "--model", "test", "--csv", "scores.csv", "--json", "scores.json")
    assert (done.code, done.err) == (0, "")
    for method in ("test", "first mask kept", "optical flow", "nearest neighbours"):
        assert method in done.out
    assert "square" in (tmp_path / "scores.csv").read_text()
    assert orjson.loads((tmp_path / "scores.json").read_bytes())["methods"]


def test_eval_calibrates_the_confidence_of_a_file_of_weights(keepsight: Keepsight, tmp_path: Path) -> None:
    """With random weights no mask is right but by chance: one object fills the frame, so that some are."""
    for name, side in (("small", 20), ("large", 46)):
        write_labelled(tmp_path / "set" / name, side)
    weights = tmp_path / "test.safetensors"
    save_file(load_predictor(engine({"model": "test"})).state_dict(), weights)
    asked = ("eval", "set", "--model", "test", "--weights", weights, "--calibrate")
    done = keepsight(*asked, "test.calibration.json")
    assert (done.code, done.err) == (0, "")
    assert "all judged" in done.out
    assert cv2.imread(str(tmp_path / "test.calibration.png")) is not None
    assert find_calibration(weights) == load("test", weights=weights).settings.calibration is not None
    again = keepsight(*asked, "again.json")  # a calibration that is there is not calibrated once more
    assert again.code == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "test.calibration.json").read_bytes()


def test_eval_says_what_calibration_needs(keepsight: Keepsight, tmp_path: Path) -> None:
    write_labelled(tmp_path / "set/square")
    said = keepsight("eval", "set", "--model", "test", "--calibrate", "x.json")
    assert (said.code, said.complaint) == (
        2,
        "--calibrate: a calibration belongs to a file of weights: give --weights FILE",
    )
    said = keepsight("eval", "set", "--model", "test", "--memory", "elephant")
    assert (said.code, said.complaint) == (2, "--memory is 'elephant': it is one of recent, selective")


def write_boxes(folder: Path) -> None:
    """The square of `write_labelled` as boxes, in MOT form."""
    write_labelled(folder)
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    (folder / "masks").rmdir()
    lines = (f"{index + 1},1,{11 + 3 * index},11,20,20,1,1,1" for index in range(6))
    (folder / "gt.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("prompt", ["box", "click", "clicks"])
def test_eval_shows_objects_as_it_is_told(keepsight: Keepsight, tmp_path: Path, prompt: str) -> None:
    write_labelled(tmp_path / "set/square")
    done = keepsight(
        "eval", "set", "--model", "test", "--prompt", prompt, "--no-baselines", "--json", "x.json"
    )
    assert (done.code, done.err) == (0, "")
    assert {"box": "a box", "click": "one click", "clicks": "three clicks"}[prompt] in done.out
    assert orjson.loads((tmp_path / "x.json").read_bytes())["prompt"] == prompt


def test_eval_plays_the_file_too_and_tells_both_scores(keepsight: Keepsight, tmp_path: Path) -> None:
    write_labelled(tmp_path / "set/square")
    asked = ("eval", "--model", "test", "--no-baselines", "--json", "x.json", "--streaming")
    for rate, arguments in ((None, (*asked, "set")), (0.01, (*asked, "0.01", "set"))):
        done = keepsight(*arguments)
        assert (done.code, done.err) == (0, "")
        assert "J&F offline" in done.out
        told = orjson.loads((tmp_path / "x.json").read_bytes())
        assert [method["name"] for method in told["methods"]] == ["test", "test streaming"]
        assert told["streaming"]["rate"] == rate
        assert told["streaming"]["seen"] + told["streaming"]["missed"] == 6
    assert told["streaming"]["missed"] == 0
    scores = [method["scores"][0]["J"] for method in told["methods"]]
    assert scores[0] == pytest.approx(scores[1])


def test_eval_scores_boxes_and_draws_the_worst(keepsight: Keepsight, tmp_path: Path) -> None:
    pytest.importorskip("trackeval", reason="installed by make dev")
    write_boxes(tmp_path / "set/square")
    files = ("--csv", "x.csv", "--json", "x.json", "--worst", "x.jpg", "--worst-count", "2")
    done = keepsight("eval", "set", "--model", "test", "--opencv", "--streaming", "5", *files)
    assert (done.code, done.err) == (0, "")
    for word in ("HOTA", "IDF1", "MOTA", "success", "precision", "OpenCV MIL", "HOTA offline"):
        assert word in done.out
    assert (tmp_path / "x.csv").read_text().splitlines()[1].startswith("test,all,5,")
    assert orjson.loads((tmp_path / "x.json").read_bytes())["layout"] == "mot"
    assert cv2.imread(str(tmp_path / "x.jpg")) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bare"], "bare: found no labelled videos; looked in it and one folder deeper for JPEGImages with"),
        (
            ["masks", "--layout", "coco"],
            "layout 'coco' is not known; there are youtube-vos, davis, mots, mot",
        ),
        (["masks", "--layout", "mot"], "masks: found no boxes: looked for img1 or images with gt/gt.txt"),
        (
            ["masks", "--prompt", "scribble"],
            "--prompt scribble: with the layout davis it is mask, box, click",
        ),
        (["boxes", "--prompt", "click"], "--prompt click: with the layout mot it is box"),
        (["masks", "--csv", "no/x.csv"], "--csv no/x.csv: there is no folder no"),
        (["masks", "--worst", "x.gif"], "--worst x.gif: must end in .jpg, .jpeg, .png"),
        (["masks", "--sequence", "dog"], "no sequence dog; there are square"),
        (["odd"], "odd/square/masks/3.png: the mask is 5x4, its picture 64x48"),
        (["boxes", "--streaming", "-3"], "Invalid value for '--streaming'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_eval_answers_a_mistake_in_one_line(
    keepsight: Keepsight, tmp_path: Path, arguments: list[str], said: str
) -> None:
    pytest.importorskip("trackeval", reason="installed by make dev")
    write_labelled(tmp_path / "masks/square")
    write_boxes(tmp_path / "boxes/square")
    write_labelled(tmp_path / "odd/square")
    cv2.imwrite(str(tmp_path / "odd/square/masks/3.png"), np.ones((4, 5), np.uint8))
    (tmp_path / "bare/images").mkdir(parents=True)
    done = keepsight("eval", *arguments, "--model", "test", "--no-baselines")
    assert done.code == 2
    assert said in done.complaint


def test_eval_tells_what_is_finished_before_a_sequence_that_cannot_be_scored(
    keepsight: Keepsight, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_labelled(tmp_path / "set" / name)
    cv2.imwrite(str(tmp_path / "set/b/masks/3.png"), np.ones((4, 5), np.uint8))
    done = keepsight("eval", "set", "--model", "test", "--no-baselines", "--csv", "x.csv")
    assert done.code == 2
    assert "the mask is 5x4, its picture 64x48; 1 of 2 runs" in done.complaint
    assert "test,a,all,4" in (tmp_path / "x.csv").read_text()


def test_eval_tells_what_is_finished_when_it_is_interrupted(
    keepsight: Keepsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_labelled(tmp_path / "set" / name)
    keep = BASELINES["first mask kept"]

    def interrupted(images: Sequence[Image], first_masks: FirstMasks) -> Iterator[IndexMap]:
        if interruptions.pop(0):
            signal.raise_signal(signal.SIGINT)
        return keep(images, first_masks)

    interruptions = [False, True]
    monkeypatch.setitem(cast(dict[str, Propagator], BASELINES), "first mask kept", interrupted)
    done = keepsight("eval", "set", "--model", "test", "--csv", "x.csv")
    assert done.code == 130
    assert done.complaint == "interrupted: 5 of 8 runs (a method on a sequence) are finished"
    assert "first mask kept" in done.out
    rows = [line.split(",")[:4] for line in (tmp_path / "x.csv").read_text().splitlines()]
    assert ["test", "b", "all", "4"] in rows
    assert ["first mask kept", "a", "all", "4"] in rows
    assert ["first mask kept", "b", "all", "0"] in rows


def test_a_mistake_of_ours_is_told_in_one_line_and_traced_when_debugging(
    keepsight: Keepsight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepsight.tracker.config.read_deployment", lambda path: path / 0)
    done = keepsight("run", "--config", "x.yaml")
    assert done.code == 1
    assert done.complaint.startswith("TypeError: ")
    monkeypatch.setenv("KEEPSIGHT_DEBUG", "1")
    assert "Traceback" in keepsight("run", "--config", "x.yaml").err
