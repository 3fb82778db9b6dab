"""What SAM 2 alone has: the same random weights in transformers' and in ours; see test_video_parity.py."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is the oracle")

from keepsight.model.sam2_config import as_version_2
from tests.model.parity import BOX, MASK, POINT, SIZE, Shown, assert_same_tracks, video
from tests.model.references import LARGE, SAM2, sam2_pair


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_an_empty_mask_is_an_absent_object_as_in_the_reference() -> None:
    found = assert_same_tracks(sam2_pair(SAM2), video(2), [Shown(mask=torch.zeros(SIZE, SIZE))])
    assert found[0].presence < 0


@pytest.mark.parametrize("shown", [POINT, BOX, MASK], ids=["point", "box", "mask"])
def test_version_2_without_pointer_times_and_occlusion_embedding_equals_the_reference(shown: Shown) -> None:
    assert_same_tracks(sam2_pair(as_version_2(SAM2)), video(9), [shown])


def test_version_2_remembers_an_absent_object_without_saying_so_as_in_the_reference() -> None:
    found = assert_same_tracks(sam2_pair(as_version_2(SAM2), presence=0.3), video(4), [MASK])
    assert not all((prediction.presence > 0).all() for prediction in found)


def test_a_trunk_built_like_large_equals_the_reference() -> None:
    assert_same_tracks(sam2_pair(LARGE), video(3), [BOX])
