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
