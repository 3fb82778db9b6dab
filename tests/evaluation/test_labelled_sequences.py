"""Finding labelled sequences on disk, and reading their masks."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from keepsight.tracker.evaluation.davis import find_sequences
from keepsight.tracker.evaluation.labelled import annotate, first_masks, read_image, read_index_map

GREY, INDEXED = 0, 3


def write_png(path: Path, values: NDArray[np.integer], colour_type: int = INDEXED, depth: int = 8) -> None:
    """A PNG of rows of samples, packed to `depth` bits; the palette of an indexed one is a ramp of reds."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)
    rows = np.packbits(bits[..., 16 - depth :].reshape(len(values), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour_type, 0, 0, 0)
    palette = bytes(part for red in range(2 ** min(depth, 8)) for part in (red, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if colour_type == INDEXED else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
        + chunk(b"IEND", b"")
    )


def write_sequence(images: Path, masks: Path, maps: list[NDArray[np.uint8] | None]) -> None:
    images.mkdir(parents=True, exist_ok=True)
    for frame, index_map in enumerate(maps):
        cv2.imwrite(str(images / f"{frame:05}.jpg"), np.zeros((6, 8, 3), np.uint8))
        if index_map is not None:
            write_png(masks / f"{frame:05}.png", index_map)


def index_map(*ids: int) -> NDArray[np.uint8]:
    """A 6 x 8 map whose first row starts with the ids."""
    made = np.zeros((6, 8), np.uint8)
    made[0, : len(ids)] = ids
    return made


def test_an_indexed_mask_is_read_as_palette_indices_at_any_width(tmp_path: Path) -> None:
    values = np.arange(35, dtype=np.uint8).reshape(5, 7)
    write_png(tmp_path / "mask.png", values)
    assert np.array_equal(read_index_map(tmp_path / "mask.png"), values)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_palettes_of_fewer_bits_are_indices_too(tmp_path: Path, depth: int) -> None:
    values = np.arange(30, dtype=np.uint8).reshape(3, 10) % 2**depth
    write_png(tmp_path / "mask.png", values, depth=depth)
    assert np.array_equal(read_index_map(tmp_path / "mask.png"), values)


def test_a_grey_mask_is_read_as_its_values_and_one_bit_as_0_and_255(tmp_path: Path) -> None:
    values = index_map(1, 7, 0, 255)
    write_png(tmp_path / "grey.png", values, GREY)
    assert np.array_equal(read_index_map(tmp_path / "grey.png"), values)
    write_png(tmp_path / "bits.png", np.where(values > 5, 1, 0), GREY, depth=1)
    assert np.array_equal(read_index_map(tmp_path / "bits.png"), np.where(values > 5, 255, 0))


def test_a_colour_mask_a_16_bit_one_and_a_text_are_refused_by_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((4, 4, 3), np.uint8))
    write_png(tmp_path / "deep.png", index_map(1), GREY, depth=16)
    (tmp_path / "text.png").write_text("not a picture")
    for name in ("colour.png", "deep.png"):
        with pytest.raises(ValueError, match=f"{name}: a mask must be an indexed or 8-bit grey PNG"):
            read_index_map(tmp_path / name)
    with pytest.raises(ValueError, match=r"text\.png: not a mask that can be read"):
        read_index_map(tmp_path / "text.png")


def test_pictures_are_read_as_rgb(tmp_path: Path) -> None:
    red_in_bgr = np.full((2, 2, 3), (0, 0, 255), np.uint8)
    cv2.imwrite(str(tmp_path / "red.png"), red_in_bgr)
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_davis_layout_takes_the_480p_pictures(tmp_path: Path) -> None:
    for resolution in ("480p", "Full-Resolution"):
        for name in ("bear", "camel"):
            at = Path(resolution, name)
            write_sequence(tmp_path / "JPEGImages" / at, tmp_path / "Annotations" / at, [index_map(1)] * 3)
    found = find_sequences(tmp_path)
    assert [sequence.name for sequence in found.sequences] == ["bear", "camel"]
    assert {path.parts[-3] for path in found.sequences[0].images} == {"480p"}
    assert len(found.sequences[0]) == 3


def test_pictures_may_lie_without_a_resolution_folder(tmp_path: Path) -> None:
    write_sequence(tmp_path / "JPEGImages/bear", tmp_path / "Annotations/bear", [index_map(1)] * 2)
    assert [sequence.name for sequence in find_sequences(tmp_path).sequences] == ["bear"]


def test_a_folder_of_sequences_tells_which_have_no_masks(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a/images", tmp_path / "a/masks", [index_map(1)] * 2)
    write_sequence(tmp_path / "b/images", tmp_path / "b/masks", [None, None])
    found = find_sequences(tmp_path)
    assert [sequence.name for sequence in found.sequences] == ["a"]
    assert found.without_masks == ("b",)


def test_one_sequence_may_be_given_by_its_own_folder_or_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sequence(tmp_path / name / "images", tmp_path / name / "masks", [index_map(1)] * 2)
    assert [sequence.name for sequence in find_sequences(tmp_path / "b").sequences] == ["b"]
    assert [sequence.name for sequence in find_sequences(tmp_path, ["a"]).sequences] == ["a"]
    with pytest.raises(ValueError, match="no sequence c; there are a, b"):
        find_sequences(tmp_path, ["c"])


def test_a_folder_without_labels_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no labelled sequence"):
        find_sequences(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        find_sequences(tmp_path / "nowhere")


def test_a_mask_without_its_picture_is_an_error(tmp_path: Path) -> None:
    write_sequence(tmp_path / "images", tmp_path / "masks", [index_map(1)])
    write_png(tmp_path / "masks/00007.png", index_map(1))
    with pytest.raises(ValueError, match="00007"):
        find_sequences(tmp_path)


def test_an_object_is_prompted_at_the_first_frame_that_shows_it_and_alone(tmp_path: Path) -> None:
    maps = [index_map(3), None, index_map(3, 5), index_map(0, 5)]
    write_sequence(tmp_path / "images", tmp_path / "masks", maps)
    annotations = annotate(find_sequences(tmp_path).sequences[0])
    assert annotations.born == {3: 0, 5: 2}
    prompts = first_masks(annotations)
    assert list(prompts) == [0, 2]
    assert np.array_equal(prompts[2], index_map(0, 5))
    assert annotations.map(1) is None


def test_a_first_mask_of_another_size_than_its_picture_is_an_error_that_names_both(tmp_path: Path) -> None:
    write_sequence(tmp_path / "images", tmp_path / "masks", [np.ones((3, 4), np.uint8)])
    with pytest.raises(ValueError, match="the mask is 4x3, its picture 8x6"):
        first_masks(annotate(find_sequences(tmp_path).sequences[0]))


def test_black_and_white_masks_show_object_1(tmp_path: Path) -> None:
    write_sequence(tmp_path / "images", tmp_path / "masks", [index_map(255), index_map(0)])
    annotations = annotate(find_sequences(tmp_path).sequences[0])
    assert annotations.born == {1: 0}
    shown = annotations.map(0)
    assert shown is not None
    assert np.array_equal(shown, index_map(1))


def test_255_beside_other_ids_is_background(tmp_path: Path) -> None:
    write_sequence(tmp_path / "images", tmp_path / "masks", [index_map(2, 255), index_map(2)])
    annotations = annotate(find_sequences(tmp_path).sequences[0])
    assert annotations.born == {2: 0}
    shown = annotations.map(0)
    assert shown is not None
    assert np.array_equal(shown, index_map(2, 0))


def test_masks_that_are_all_background_are_an_error(tmp_path: Path) -> None:
    write_sequence(tmp_path / "images", tmp_path / "masks", [index_map(0)])
    with pytest.raises(ValueError, match="no mask shows an object"):
        annotate(find_sequences(tmp_path).sequences[0])
