"""OpenVINO as the backend of nano's image encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO
from keepsight.tracker import backend
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import engine
from keepsight.tracker.validation import ConfigError

SMALL = replace(NANO, depths=(1, 1, 1, 1))
IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def nano() -> Nano:
    torch.manual_seed(0)
    network = Nano(SMALL).eval().requires_grad_(False)
    network.fuse()
    return network


def test_openvino_finds_what_torch_finds_and_keeps_its_graph(nano: Nano, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with torch.inference_mode():
        expected = nano.encode_image(IMAGES).levels
        for _ in ("made", "read"):
            encoder = backend.OpenVinoEncoder(nano.image_encoder, tmp_path)
            for ours, found in zip(expected, encoder(IMAGES), strict=True):
                torch.testing.assert_close(found, ours, rtol=1e-4, atol=1e-4)
    assert len(list(tmp_path.glob("*.xml"))) == 1


def test_another_network_has_another_graph(nano: Nano, tmp_path: Path) -> None:
    before = backend.identity(nano.image_encoder)
    assert backend.identity(nano.image_encoder) == before
    nano.image_encoder.key.weight += 1e-3
    assert backend.identity(nano.image_encoder) != before


def test_a_wrong_graph_is_refused(nano: Nano) -> None:
    class Wrong:
        def __call__(self, inputs: list[object]) -> dict[int, object]:
            levels = nano.encode_image(IMAGES).levels
            return {i: (level * 1.01).contiguous().numpy() for i, level in enumerate(levels)}

    with torch.inference_mode(), pytest.raises(ArithmeticError, match="use --backend torch"):
        backend.check(nano.image_encoder, Wrong(), IMAGES)


def test_openvino_is_for_nano_in_float32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match="is for nano, in float32, on a CPU"):
        load_predictor(engine({"model": "test", "backend": "openvino"}))


def test_openvino_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'keepsight\[openvino\]'"):
        load_predictor(engine({"model": "nano", "backend": "openvino"}))
