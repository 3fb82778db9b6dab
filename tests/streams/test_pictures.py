"""Still pictures of any kind become RGB, and what is none is named with its cause."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from keepsight.streams.base import SourceError
from keepsight.streams.pictures import as_rgb, pictures_in, read_picture

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
ALPHA = np.dstack([COLOURS, np.full((16, 16), 7, np.uint8)])
GREY = np.dstack([RAMP] * 3)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (COLOURS, COLOURS),
        (COLOURS[:, ::-1], COLOURS[:, ::-1]),
        (ALPHA, COLOURS),
        (RAMP, GREY),
        (RAMP[:, :, None], GREY),
        (COLOURS.astype(np.uint16) * 257, COLOURS),
        (COLOURS.astype(np.float64) / 255, COLOURS),
        (RAMP > 100, np.where(GREY > 100, 255, 0)),
    ],
    ids=["rgb", "mirrored", "alpha", "grey", "one channel", "16 bits", "float", "bool"],
)
def test_an_array_of_any_kind_becomes_rgb(array: NDArray[np.generic], expected: NDArray[np.uint8]) -> None:
    picture = as_rgb(array)
    assert (picture.dtype, picture.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), r"a picture of shape \(2, 3, 4, 5\): give \(H, W\)"),
        (np.zeros((3, 40, 50), np.uint8), r"a picture of shape \(3, 40, 50\)"),
        (np.zeros((0, 4, 3), np.uint8), r"a picture of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int64), "a picture of int64"),
        (np.full((4, 4), 2.0), "values are not all from 0 to 1"),
        (np.full((4, 4), np.nan), "values are not all from 0 to 1"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(array: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        as_rgb(array)


def test_files_of_every_kind_are_read_as_rgb(tmp_path: Path) -> None:
    alpha = np.dstack([COLOURS[:, :, ::-1], RAMP])
    for name, pixels in (
        ("a.png", COLOURS[:, :, ::-1]),
        ("b.png", alpha),
        ("c.png", alpha.astype(np.uint16) * 257),
    ):
        assert cv2.imwrite(str(tmp_path / name), pixels)
        assert np.array_equal(read_picture(tmp_path / name), COLOURS)
    assert cv2.imwrite(str(tmp_path / "grey.tif"), RAMP)
    assert np.array_equal(read_picture(tmp_path / "grey.tif"), GREY)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_half_a_file_is_refused_and_not_half_read(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(ending, noise)[1].tobytes()
    path = tmp_path / f"half{ending}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=rf"half\{ending}: cannot be read as a picture"):
        read_picture(path)


def test_what_is_no_picture_is_named_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for name, reason in (
        ("nowhere.jpg", "no such file"),
        ("", "is a folder"),
        ("text.jpg", "cannot be read"),
        ("empty.png", "cannot be read"),
    ):
        with pytest.raises(SourceError, match=reason):
            read_picture(tmp_path / name)


def test_the_pictures_of_a_folder_come_by_name(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.png", "b.JPG"]
    with pytest.raises(SourceError, match="no pictures in this folder"):
        pictures_in(tmp_path / "c.png")
    with pytest.raises(SourceError, match="no such file or directory"):
        pictures_in(tmp_path / "d")
