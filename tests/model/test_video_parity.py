"""The same random weights in transformers' SAM 2 and EdgeTAM and in ours give the same numbers.

The networks are reduced, in float32. The reference of SAM 2 keeps remembered features in bfloat16, so its
memory here does too.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the oracle")

from keepsight.model.sam2_config import Sam2Config
from tests.model.parity import (
    BOX_AND_POINT,
    CLICKS,
    EVERY_KIND,
    MASK,
    POINT,
    Pair,
    Shown,
    assert_same_tracks,
    normalised,
    together,
    video,
)
from tests.model.references import EDGETAM, SAM2, pair_of

EACH_KIND = pytest.mark.parametrize("shown", EVERY_KIND.values(), ids=EVERY_KIND)


def reference_and_ours(config: Sam2Config, presence: float = 5.0) -> Pair:
    torch.set_num_threads(1)
    if config is EDGETAM:
        pytest.importorskip("timm", reason="timm holds the image trunk of the oracle")
    return pair_of(config, presence)


@pytest.fixture(scope="module", params=[SAM2, EDGETAM], ids=["sam2", "edgetam"])
def both(request: pytest.FixtureRequest) -> Pair:
    return reference_and_ours(request.param)


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
    assert_same_tracks(both, video(4), [*together(both.ours.config), BOX_AND_POINT])


@pytest.mark.parametrize(
    ("config", "shown", "presence"),
    [(SAM2, MASK, 0.3), (SAM2, POINT, 0.7), (EDGETAM, MASK, 0.3)],
    ids=["sam2 leaves", "sam2 appears", "edgetam leaves"],
)
def test_an_object_that_is_absent_for_a_while_equals_the_reference(
    config: Sam2Config, shown: Shown, presence: float
) -> None:
    found = assert_same_tracks(reference_and_ours(config, presence), video(4), [shown])
    seen = torch.stack([prediction.presence > 0 for prediction in found])
    assert seen.any()
    assert not seen.all()
