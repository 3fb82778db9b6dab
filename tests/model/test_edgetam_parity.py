"""What EdgeTAM alone has: convolutions joined for inference, and a small memory; see test_video_parity.py."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the oracle")
pytest.importorskip("timm", reason="timm holds the image trunk of the oracle")

from tests.model.parity import video
from tests.model.references import EDGETAM, edgetam_pair


@torch.inference_mode()
def test_convolutions_joined_for_inference_give_the_same_features() -> None:
    """To the order of sums: the same weights, multiplied before instead of after."""
    torch.set_num_threads(1)
    ours = edgetam_pair(EDGETAM).ours
    fused = deepcopy(ours).requires_grad_(False)
    fused.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    images = video(2)
    expected, found = ours.encode_image(images).levels, fused.encode_image(images).levels
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_what_is_remembered_is_an_eighth_of_the_features_in_the_published_size() -> None:
    from keepsight.model.models import MODELS, outline

    shape = outline(MODELS["edgetam"]).memory_shape((1024, 1024))
    assert (shape.channels, shape.grid) == (64, (32, 16))
