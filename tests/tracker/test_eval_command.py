"""`keepsight eval`: what it tells and writes, how it refuses, and what is left of an interrupted one."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import orjson
import pytest
from safetensors.torch import save_file

from keepsight.streams.types import Image
from keepsight.tracker.api import load
from keepsight.tracker.build import load_predictor
from keepsight.tracker.calibration import find_calibration
from keepsight.tracker.config import engine
from keepsight.tracker.evaluation.baselines import BASELINES
from keepsight.tracker.evaluation.propagator import FirstMasks, IndexMap, Propagator
from tests.tracker.command_line import Keepsight


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


def test_eval_without_a_word_says_what_is_missing(keepsight: Keepsight) -> None:
    done = keepsight("eval")
    assert done.code == 2
    assert "give a folder of labelled videos, or --identity" in done.err


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
