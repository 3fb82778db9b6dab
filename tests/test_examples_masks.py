"""The decoders that integrators copy read what we write."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepsight.streams import rle
from keepsight.streams.messages import frames_message, masks_message
from tests.streams.results import result

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def masks(count: int) -> list[np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(2)
    large = np.zeros((300, 400), np.bool_)
    large[20:280, 30:390] = True
    drawn = [rng.random((h, w)) < density for h, w, density in ((7, 5, 0.5), (1, 9, 0.2), (60, 80, 0.02))]
    return [large, ~large, np.zeros((3, 4), np.bool_), np.ones((3, 4), np.bool_), *drawn][:count]


@given(st.integers(0, 2**30), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_the_python_decoder_reads_every_mask(seed: int, height: int, width: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    assert np.array_equal(example("decode_mask").decode(dict(rle.encode(mask))), mask)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_decoder_reads_every_mask(tmp_path: Path) -> None:
    (tmp_path / "masks.json").write_text(json.dumps([rle.encode(mask) for mask in masks(9)]))
    script = (
        "const {decodeMask} = require(process.argv[1]);"
        "const masks = JSON.parse(require('fs').readFileSync(process.argv[2]));"
        "console.log(JSON.stringify(masks.map(mask => Array.from(decodeMask(mask)))));"
    )
    done = subprocess.run(
        ["node", "-e", script, str(EXAMPLES / "decode_mask.js"), str(tmp_path / "masks.json")],
        capture_output=True,
        text=True,
        check=True,
    )
    for found, mask in zip(json.loads(done.stdout), masks(9), strict=True):
        assert np.array_equal(np.array(found, bool).reshape(mask.shape), mask)


DECODE_ALL = """
#include "decode_mask.hpp"
#include <iostream>
int main() {
  std::size_t height, width;
  std::string counts;
  while (std::cin >> height >> width >> counts) {
    for (const auto pixel : decode_mask(height, width, counts)) std::cout << char('0' + pixel);
    std::cout << "\\n";
  }
  try { decode_mask(2, 2, "9"); } catch (const std::invalid_argument&) { std::cout << "refused\\n"; }
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_cpp_decoder_reads_every_mask_and_refuses_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "all.cpp").write_text(DECODE_ALL)
    compiler = ("g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-I", str(EXAMPLES))
    subprocess.run([*compiler, str(tmp_path / "all.cpp"), "-o", str(tmp_path / "all")], check=True)
    coded = [rle.encode(mask) for mask in masks(9)]
    asked = "\n".join(f"{one['size'][0]} {one['size'][1]} {one['counts']}" for one in coded)
    done = subprocess.run([tmp_path / "all"], input=asked, capture_output=True, text=True, check=True)
    *rows, last = done.stdout.splitlines()
    assert last == "refused"
    for row, mask in zip(rows, masks(9), strict=True):
        assert np.array_equal(np.frombuffer(row.encode(), np.uint8).reshape(mask.shape) == ord("1"), mask)


def test_a_label_image_for_ros_is_made_of_a_masks_message() -> None:
    message = json.loads(masks_message(result(3), 0.0).model_dump_json())
    code = (EXAMPLES / "ros2.md").read_text().split("```python\n")[1].split("image = ")[0]
    known = {"said": message, "np": np, "decode": example("decode_mask").decode}
    exec(code.partition("\n\n")[2], known)
    labels = known["labels"]
    for track in result(3).tracks:
        assert np.array_equal(labels == track.object_id, track.mask)
    frame = json.loads(frames_message(result(3), 0.0).model_dump_json())
    assert {"captured", "clock", "epoch", "index", "size"} <= frame.keys()
    assert {"object_id", "label", "confidence", "box"} <= frame["tracks"][0].keys()
