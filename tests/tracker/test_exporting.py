"""Parts of networks as ONNX files: they say what torch says, and it is noticed where they do not.

1e-4 is the bound on differences everywhere: float32 sums in another order, of values about 1 to 10.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript", reason="keepsight[export] is not installed")
pytest.importorskip("onnxruntime", reason="keepsight[export] is not installed")

from keepsight.model.models import ModelConfig, build
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.model.sam2 import Sam2
from keepsight.tracker.exporting import compare, difference, export, parts_of
from tests.tracker.networks import EDGETAM, network

CLOSE = 1e-4
FRAME_SIZE = (48, 80)
SMALL_NANO = replace(NANO, image_side=64, depths=(1, 1, 1, 1), window=3, finest_window=3)
"""The same parts as the published ones, small: an export takes longer the more operations there are."""


def untrained(config: ModelConfig) -> Nano | Sam2:
    torch.manual_seed(0)
    model = build(config).eval().requires_grad_(False)
    model.fuse()
    return model


@pytest.mark.parametrize("config", [SMALL_NANO, EDGETAM], ids=["nano", "edgetam"])
def test_every_part_says_what_torch_says(config: ModelConfig, tmp_path: Path) -> None:
    exported = list(export(parts_of(untrained(config), FRAME_SIZE, 2), tmp_path))
    assert len(exported) == 4
    assert {one.part: one.difference for one in exported if not one.difference.absolute < CLOSE} == {}
    assert all(one.agrees for one in exported)


def test_a_wrong_part_is_noticed(tmp_path: Path) -> None:
    """The file is of other weights than the network in torch."""
    model = network("sam2")
    part = next(part for part in parts_of(model, FRAME_SIZE, 1) if part.name == "memory_encoder")
    (exported,) = export([part], tmp_path)
    assert exported.agrees
    with torch.no_grad():
        model.memory_encoder.out_proj.bias += 0.01
    apart = compare(part, exported.file)
    assert apart.absolute == pytest.approx(0.01, abs=CLOSE)
    assert not replace(exported, difference=apart).agrees


def test_a_number_that_is_missing_is_a_difference_without_bounds() -> None:
    found = difference(torch.tensor([1.0, torch.nan]), torch.ones(2))
    assert found.absolute > 1e30
    assert difference(torch.tensor([200.0, 3.0]), torch.tensor([100.0, 3.0])) == (100.0, 1.0)
