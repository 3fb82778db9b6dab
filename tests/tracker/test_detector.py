"""Detectors in ONNX files: small ones made here, of each style, that always say the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from keepsight.tracker.auto import Auto
from keepsight.tracker.detections import grids, yolox
from keepsight.tracker.detector import open_detector
from keepsight.tracker.engine import model_threads
from keepsight.tracker.finding import FindingSession, finding
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.validation import ConfigError
from tests.tracker.command_line import Keepsight, lines
from tests.tracker.fakes import ColourPredictor

PICTURE = np.zeros((120, 160, 3), np.uint8)
BOX = (0.25, 0.5, 0.5, 0.75)
"""Where all of them see something, in parts of the picture."""
FLOATS, BYTES = (TensorProto.FLOAT, (1, 3, 64, 64)), (TensorProto.UINT8, (1, 64, 64, 3))
TWO = {"images": FLOATS, "sizes": (TensorProto.INT64, (1, 2))}
Inputs = Mapping[str, tuple[int, tuple[int, ...]]]


def f32(*values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def saved(path: Path, outputs: Mapping[str, NDArray[Any]], inputs: Inputs) -> Path:
    """A model that gives these outputs whatever it is shown."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in outputs.items()
    ]
    given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    said = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in outputs.items()
    ]
    graph = helper.make_graph(nodes, "constant", given, said)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def raw_yolox() -> NDArray[np.float32]:
    """What its authors' export gives: the box in cells of its grid, and as logarithms. The picture of 160x120
    is shown as 64x48 in the input of 64x64."""
    x0, y0, x1, y1 = (value * side for value, side in zip(BOX, (64, 48, 64, 48), strict=True))
    cells, strides = grids((64, 64))
    rows = np.zeros((len(cells), 7), np.float32)
    at, stride = 70, strides[70, 0]  # on the second grid
    centre = (x0 + x1) / 2, (y0 + y1) / 2
    rows[at, :2] = np.array(centre) / stride - cells[at]
    rows[at, 2:4] = np.log(np.array((x1 - x0, y1 - y0)) / stride)
    rows[at, 4:] = 0.9, 0.2, 0.8
    return rows


YOLOX = {"output": raw_yolox()[None]}
RTDETR = {
    "logits": f32([[-5, -5], [-3, 2]]),
    "pred_boxes": f32([(0.1, 0.1, 0.1, 0.1), (0.375, 0.625, 0.25, 0.25)]),
}
RTDETR_IN_PIXELS = {
    "labels": np.array([[1, 0]]),
    "boxes": f32([(16, 32, 32, 48), (0, 0, 9, 9)]),
    "scores": f32([0.9, 0.1]),
}
SSD = {"bboxes": f32([BOX]), "labels": np.array([[1]]), "scores": f32([0.9])}
TENSORFLOW = {
    "detection_boxes": f32([(0.5, 0.25, 0.75, 0.5), (0, 0, 1, 1)]),
    "detection_classes": f32([2, 1]),
    "detection_scores": f32([0.9, 0.2]),
    "num_detections": f32(2),
}
TORCHVISION = {"boxes": f32((16, 32, 32, 48)), "scores": f32(0.9), "labels": np.array([1])}


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [
        pytest.param(YOLOX, {"images": FLOATS}, id="YOLOX"),
        pytest.param(RTDETR, {"pixel_values": FLOATS}, id="RT-DETR"),
        pytest.param(RTDETR_IN_PIXELS, TWO, id="RT-DETR in pixels"),
        pytest.param(SSD, {"image": FLOATS}, id="SSD"),
        pytest.param(TENSORFLOW, {"input_tensor": BYTES}, id="SSD of TensorFlow"),
        pytest.param(TORCHVISION, {"image": FLOATS}, id="SSD of torchvision"),
    ],
)
def test_a_detector_of_each_style_sees_the_same(
    tmp_path: Path, outputs: Mapping[str, NDArray[Any]], inputs: Inputs
) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    file = saved(tmp_path / "model.onnx", outputs, inputs)
    seen = open_detector(file, tmp_path / "names.txt", 0.5).detect(PICTURE)
    assert [name for _, name in seen] == ["dog"]
    assert seen[0][0].box == pytest.approx(BOX, abs=1e-5)
    assert seen[0][0].score > 0.7
    assert [name for _, name in open_detector(file, None, 0.5).detect(PICTURE)] == ["1"]
    assert open_detector(file, None, 0.99).detect(PICTURE) == []


def test_a_detector_of_one_class_may_give_its_labels_as_floats(tmp_path: Path) -> None:
    outputs = {"bboxes": f32([BOX]), "labels": f32([0.0]), "scores": f32([0.9])}
    file = saved(tmp_path / "model.onnx", outputs, {"image": FLOATS})
    (found, name), *others = open_detector(file, None, 0.5).detect(PICTURE)
    assert (name, others) == ("0", [])
    assert found.score == pytest.approx(0.9)


def test_a_yolox_that_gives_pixels_is_read_as_such() -> None:
    rows = np.zeros((84, 6), np.float32)
    rows[3] = 24, 30, 16, 12, 0.9, 1.0
    found = yolox(rows, (64, 64))
    assert found.boxes[3] == pytest.approx((16 / 64, 24 / 64, 32 / 64, 36 / 64))


def test_of_two_boxes_of_one_thing_the_surer_stays(tmp_path: Path) -> None:
    near = (0.26, 0.5, 0.5, 0.76)
    two = {"bboxes": f32([near, BOX]), "labels": np.array([[0, 1]]), "scores": f32([0.6, 0.9])}
    seen = open_detector(saved(tmp_path / "m.onnx", two, {"image": FLOATS}), None, 0.5).detect(PICTURE)
    assert [one.label for one, _ in seen] == [1]


def test_what_is_no_detector_is_refused_with_its_shapes(tmp_path: Path) -> None:
    file = saved(tmp_path / "net.onnx", {"logits": f32([0] * 10)}, {"image": FLOATS})
    with pytest.raises(ConfigError, match=r"outputs of \[\[1, 10\]\] are not those of YOLOX, RT-DETR or SSD"):
        open_detector(file, None, 0.5)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ConfigError, match="is no ONNX model"):
        open_detector(tmp_path / "text.onnx", None, 0.5)


async def test_other_cameras_go_on_while_a_detector_is_opened(tmp_path: Path) -> None:
    labels = tmp_path / "names.txt"
    os.mkfifo(labels)  # who opens it to read waits for what is written below
    file = saved(tmp_path / "m.onnx", YOLOX, {"images": FLOATS})
    auto = Auto("detector", 1.0, file, labels)
    async with asyncio.timeout(30), model_threads() as threads:
        inner = TrackerSession(threads, ColourPredictor(), 4, TrackerSettings(), rewinds=True)
        opening = asyncio.create_task(finding(inner, auto, threads, None, lambda: True, 4))
        while (reader := reading(labels)) is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        os.write(reader, b"cup\n")
        os.close(reader)
        assert isinstance(await opening, FindingSession)


def reading(fifo: Path) -> int | None:
    """To write to who reads it; None where nobody does yet."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_run_tracks_what_a_detector_finds(keepsight: Keepsight, tmp_path: Path) -> None:
    saved(tmp_path / "model.onnx", SSD, {"image": FLOATS})
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    scene = "test://?frames=6&size=160x120"
    auto = ("--auto", "detector=model.onnx,labels=names.txt,every=0.04")
    said = keepsight("run", scene, "--model", "test", *auto, "-o", "r.jsonl")
    assert (said.code, said.err) == (0, "")
    tracks: list[Any] = [line["tracks"] for line in lines(tmp_path / "r.jsonl")]
    assert [len(one) for one in tracks[:2]] == [0, 1]
    assert tracks[1][0]["label"] == "dog"
    saved(tmp_path / "net.onnx", {"logits": f32([0] * 10)}, {"image": FLOATS})
    said = keepsight("run", scene, "--model", "test", "--auto", "detector=net.onnx", "-o", "s.jsonl")
    assert (said.code, "are not those of" in said.complaint) == (2, True)
