"""The same random weights in transformers' SAM 2 and in ours give the same numbers.

Both are a reduced SAM 2.1 in float32. The reference keeps remembered features in bfloat16, so the memory here
does too.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the oracle")

from keepsight.model.memory import MemoryLayout
from keepsight.model.sam2_config import HieraConfig, Sam2Config, as_version_2
from tests.model.parity import (
    BOX,
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
from tests.model.references import sam2_pair

REDUCED = Sam2Config(
    trunk=HieraConfig(
        width=16, heads=1, depths=(1, 2, 3, 1), windows=(8, 4, 6, 3), global_blocks=(4, 5), background=4
    ),
    layout=MemoryLayout(conditioning=4, recent=6, pointers=4 + 15),
    image_size=SIZE,
    dim=128,
    decoder_mlp=256,
    attention_depth=2,
    attention_mlp=256,
)
REDUCED_LARGE = replace(
    REDUCED,
    trunk=HieraConfig(
        width=16, heads=2, depths=(1, 2, 5, 2), windows=(8, 4, 8, 4), global_blocks=(4, 6), background=7
    ),
)
"""Two heads, windows that fit the map, and two blocks at the coarsest stage, as in large."""
EACH_KIND = pytest.mark.parametrize("shown", EVERY_KIND.values(), ids=EVERY_KIND)


@pytest.fixture(scope="module")
def both() -> Pair:
    torch.set_num_threads(1)
    return sam2_pair(REDUCED)


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


@pytest.mark.parametrize(("shown", "presence"), [(MASK, 0.3), (POINT, 0.7)], ids=["leaves", "appears"])
def test_an_object_that_is_absent_for_a_while_equals_the_reference(shown: Shown, presence: float) -> None:
    found = assert_same_tracks(sam2_pair(REDUCED, presence), video(4), [shown])
    seen = torch.stack([prediction.presence > 0 for prediction in found])
    assert seen.any()
    assert not seen.all()


def test_an_empty_mask_is_an_absent_object_as_in_the_reference(both: Pair) -> None:
    found = assert_same_tracks(both, video(2), [Shown(mask=torch.zeros(SIZE, SIZE))])
    assert found[0].presence < 0


@pytest.mark.parametrize("shown", [POINT, BOX, MASK], ids=["point", "box", "mask"])
def test_version_2_without_pointer_times_and_occlusion_embedding_equals_the_reference(shown: Shown) -> None:
    assert_same_tracks(sam2_pair(as_version_2(REDUCED)), video(9), [shown])


def test_version_2_remembers_an_absent_object_without_saying_so_as_in_the_reference() -> None:
    found = assert_same_tracks(sam2_pair(as_version_2(REDUCED), presence=0.3), video(4), [MASK])
    assert not all((prediction.presence > 0).all() for prediction in found)


def test_a_trunk_built_like_large_equals_the_reference() -> None:
    assert_same_tracks(sam2_pair(REDUCED_LARGE), video(3), [BOX])
