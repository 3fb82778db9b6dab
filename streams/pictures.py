"""Still pictures of any kind as RGB: files, and arrays of users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .base import SourceError
from .rle import MAX_PIXELS
from .sources.image_folder import ENDINGS, read_image
from .types import Image

KINDS = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4), as uint8, uint16, bool, or float from 0 to 1"


def read_picture(path: Path) -> Image:
    """(H, W, 3) uint8 RGB of a file, upright; grey, alpha and 16 bits are taken in, alpha is not looked at.

    Raises SourceError, naming the cause, for what cannot be read as a picture.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file")
    if path.is_dir():
        raise SourceError(f"{path}: is a folder, not a picture")
    picture = read_image(path)
    if picture is None:
        raise SourceError(
            f"{path}: cannot be read as a picture (damaged, or none of {' '.join(sorted(ENDINGS))})"
        )
    if picture.shape[0] * picture.shape[1] > MAX_PIXELS:
        raise SourceError(f"{path}: {picture.shape[1]}×{picture.shape[0]} is more than {MAX_PIXELS} pixels")
    return picture


def pictures_in(folder: Path) -> list[Path]:
    """The files of a folder that are named like pictures, by name. Raises SourceError where there is none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
    except OSError as error:
        raise SourceError(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    if not paths:
        raise SourceError(f"{folder}: no pictures in this folder ({' '.join(sorted(ENDINGS))})")
    return paths


def as_rgb(picture: NDArray[np.generic]) -> Image:
    """(H, W, 3) uint8 RGB of a user's array: grey, with or without alpha, of any common dtype.

    Raises ValueError for what is none of these.
    """
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"a picture of shape {np.shape(picture)}: give {KINDS}")
    eight = _eight_bits(array[:, :, :3])
    return np.ascontiguousarray(np.broadcast_to(eight, (*eight.shape[:2], 3)))


def _eight_bits(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.uint16:
        return (array.astype(np.uint16, copy=False) >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"a picture of {array.dtype}: give {KINDS}")
    values = array.astype(np.float32)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"a picture of {array.dtype} whose values are not all from 0 to 1: give {KINDS}")
    return np.rint(values * 255).astype(np.uint8)
