"""The same random weights in transformers' EdgeTAM and in ours give the same numbers: reduced, in float32."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the oracle")
pytest.importorskip("timm", reason="timm holds the image trunk of the oracle")

from keepsight.model.memory import MemoryLayout
from keepsight.model.sam2_config import PerceiverConfig, RepVitConfig, Sam2Config
from tests.model.parity import (
    BOX_AND_POINT,
    CLICKS,
    EVERY_KIND,
    MASK,
    POINT,
    SIZE,
    Pair,
    Shown,
    assert_same_tracks,
    normalised,
    video,
)
from tests.model.references import edgetam_pair

REDUCED = Sam2Config(
    trunk=RepVitConfig(widths=(16, 32, 48, 64), depths=(1, 2, 3, 1)),
    layout=MemoryLayout(conditioning=4, recent=6, pointers=4 + 15),
    image_size=SIZE,
    dim=128,
    decoder_mlp=256,
    attention_depth=2,
    attention_mlp=256,
    pointer_time=False,
    occlusion_embedding=False,
    perceiver=PerceiverConfig(side=4),
)
EACH_KIND = pytest.mark.parametrize("shown", EVERY_KIND.values(), ids=EVERY_KIND)


@pytest.fixture(scope="module")
def both() -> Pair:
    torch.set_num_threads(1)
    return edgetam_pair(REDUCED)


@torch.inference_mode()
def test_image_features_equal_the_reference(both: Pair) -> None:
    images = video(2)
    expected = both.reference.get_image_features(normalised(images), return_dict=True).fpn_hidden_states
    found = both.ours.encode_image(images).levels
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got.flatten(2).permute(2, 0, 1), want, atol=1e-4, rtol=1e-4)


@EACH_KIND
def test_a_prompt_on_one_frame_gives_the_reference_mask(both: Pair, shown: Shown) -> None:
    [found] = assert_same_tracks(both, video(1), [shown])
    assert found.logits.std() > 0.1


@EACH_KIND
def test_an_object_followed_until_its_memory_has_turned_over_equals_the_reference(
    both: Pair, shown: Shown
) -> None:
    found = assert_same_tracks(both, video(18), [shown])
    assert all((prediction.presence > 0).all() for prediction in found)


def test_objects_with_different_prompts_in_one_batch_equal_the_reference(both: Pair) -> None:
    assert_same_tracks(both, video(4), [POINT, BOX_AND_POINT, CLICKS])


def test_an_object_that_leaves_equals_the_reference() -> None:
    found = assert_same_tracks(edgetam_pair(REDUCED, presence=0.3), video(4), [MASK])
    seen = torch.stack([prediction.presence > 0 for prediction in found])
    assert seen.any()
    assert not seen.all()


@torch.inference_mode()
def test_convolutions_joined_for_inference_give_the_same_features(both: Pair) -> None:
    """To the order of sums: the same weights, multiplied before instead of after."""
    fused = deepcopy(both.ours).requires_grad_(False)
    fused.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    images = video(2)
    expected, found = both.ours.encode_image(images).levels, fused.encode_image(images).levels
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_what_is_remembered_is_an_eighth_of_the_features_in_the_published_size() -> None:
    from keepsight.model.models import MODELS, outline

    shape = outline(MODELS["edgetam"]).memory_shape((1024, 1024))
    assert (shape.channels, shape.grid) == (64, (32, 16))
