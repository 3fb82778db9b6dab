"""Masks as COCO RLE are byte for byte what pycocotools writes, and read back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keepsight.streams import rle
from keepsight.streams.types import Mask

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
MASKS = arrays(np.bool_, SHAPES)


def blobs(height: int, width: int) -> Mask:
    """A mask of two ellipses with a ragged edge."""
    y, x = np.mgrid[:height, :width]
    first = ((y / height - 0.4) / 0.3) ** 2 + ((x / width - 0.5) / 0.2) ** 2
    second = ((y / height - 0.9) / 0.2) ** 2 + ((x / width - 0.1) / 0.2) ** 2
    return np.asarray(np.minimum(first, second) + 0.05 * np.sin(x * 0.9) * np.cos(y * 1.3) < 1)


def reference(mask: Mask) -> dict[str, object]:
    peer = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    coded = peer.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": coded["size"], "counts": coded["counts"].decode()}


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_any_mask_reads_back_as_it_was(mask: Mask) -> None:
    assert np.array_equal(rle.decode(rle.encode(mask)), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_any_mask_is_written_as_pycocotools_writes_it(mask: Mask) -> None:
    assert rle.encode(mask) == reference(mask)


@pytest.mark.parametrize("size", [(1, 1), (1080, 1920), (97, 1), (1, 97)])
def test_large_and_thin_masks_are_written_as_pycocotools_writes_them(size: tuple[int, int]) -> None:
    for mask in (blobs(*size), ~blobs(*size), np.zeros(size, np.bool_), np.ones(size, np.bool_)):
        coded = rle.encode(mask)
        assert coded == reference(mask)
        assert np.array_equal(rle.decode(coded), mask)


def test_a_view_of_a_larger_array_is_encoded_like_its_copy() -> None:
    mask = blobs(60, 80)
    assert rle.encode(mask[10:50:2, 5:70:3]) == rle.encode(mask[10:50:2, 5:70:3].copy())


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([2, 2], ""),
        ([2, 2], "3"),
        ([2, 2], "5"),
        ([2, 2], "é4"),
        ([2, 2], "4T"),
        ([2, 2], "~"),
        ([2, 2], "oooooooooooooo0"),
        ([2, 2], "5O"),
        ([0, 2], "0"),
        ([2], "2"),
        ([100_000, 100_000], "0"),
    ],
)
def test_counts_that_do_not_fit_are_refused(size: list[int], counts: str) -> None:
    with pytest.raises(ValueError, match="RLE"):
        rle.decode({"size": size, "counts": counts})


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.integers(1, 30), st.integers(1, 30))
def test_no_string_makes_decoding_fail_in_another_way(counts: str, height: int, width: int) -> None:
    try:
        mask = rle.decode({"size": [height, width], "counts": counts})
    except ValueError:
        return
    assert mask.shape == (height, width)
