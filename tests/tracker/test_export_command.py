"""`keepsight export`: what it writes, what an integrator can do with it, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

pytest.importorskip("onnxscript", reason="keepsight[export] is not installed")
pytest.importorskip("onnxruntime", reason="keepsight[export] is not installed")

import onnxruntime

from keepsight.tracker import exporting
from tests.tracker.command_line import Keepsight

ASKED = ("export", "--model", "test", "--size", "64")


def test_the_files_can_be_run_by_their_description_alone(keepsight: Keepsight, tmp_path: Path) -> None:
    done = keepsight(*ASKED, "-o", "parts", "--objects", "2")
    assert (done.code, done.err) == (0, "")
    described = orjson.loads((tmp_path / "parts/export.json").read_bytes())
    assert (described["model"], described["weights_sha256"], described["objects"]) == ("test", None, 2)
    assert described["input"]["size"] == [64, 64]
    assert [part["name"] for part in described["parts"]] == [
        "image_encoder",
        "memory_attention",
        "prompt_decoder",
        "memory_encoder",
    ]
    for part in described["parts"]:
        assert part["name"] in done.out
        assert part["largest_difference"] < 1e-4
        session = onnxruntime.InferenceSession(str(tmp_path / "parts" / part["file"]))
        fed = {one["name"]: np.zeros(one["shape"], one["dtype"]) for one in part["inputs"]}
        said = session.run([one["name"] for one in part["outputs"]], fed)
        for tensor, one in zip(said, part["outputs"], strict=True):
            assert (list(tensor.shape), str(tensor.dtype)) == (one["shape"], one["dtype"])


def test_a_part_that_differs_from_torch_is_refused(
    keepsight: Keepsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = exporting.parts_of
    monkeypatch.setattr(exporting, "parts_of", lambda *given: every(*given)[-1:])
    monkeypatch.setattr(exporting, "TOLERANCE", 0.0)
    done = keepsight(*ASKED)
    assert done.code == 1
    assert done.complaint == "not as in torch, do not use: test-onnx/memory_encoder.onnx"
    assert not (tmp_path / "test-onnx/export.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "huge"], "--model: unknown model 'huge'. Known: edgetam"),
        (["--model", "sam2.1-tiny"], "no weights: save https://"),
        (["--model", "test", "--video", "big"], "must be WIDTHxHEIGHT"),
        (["--model", "test", "--objects", "0"], "Invalid value for '--objects'"),
        (["--model", "test", "-o", "file/parts"], "--output file/parts: cannot be written: Not a directory"),
        (["--model", "test", "-o", "file"], "--output file: cannot be written: file is a file, not a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_in_one_line(
    keepsight: Keepsight, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "file").touch()
    done = keepsight("export", *arguments)
    assert done.code == 2
    assert said in done.complaint


def test_without_the_optional_packages_it_says_how_to_get_them(
    keepsight: Keepsight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name.startswith("onnx") else object())
    done = keepsight(*ASKED)
    assert done.code == 2
    assert done.complaint == ("export needs onnx, onnxscript, onnxruntime: pip install 'keepsight[export]'")
    assert not list(tmp_path.iterdir())
