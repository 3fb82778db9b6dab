"""Pictures labelled in COCO's form: one JSON file of polygons and run lengths, and a folder of pictures.

The form is described at https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from keepsight.streams import rle

Ids = NDArray[np.uint8]
MOST = 254
"""Objects of one picture that ids can name."""
SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Outlines:
    """The objects of one picture, largest first, as COCO tells each: polygons, or run lengths. `size` is
    (height, width)."""

    size: tuple[int, int]
    objects: tuple[Any, ...]

    def map(self) -> Ids:
        """(H, W): ids from 1 in the order of the objects, so that small ones lie on top of large ones."""
        ids: Ids = np.zeros(self.size, np.uint8)
        for number, told in enumerate(self.objects, 1):
            ids[drawn(told, self.size)] = number
        return ids


def drawn(told: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """One object's mask (H, W) bool. Raises ValueError where it is neither polygons nor run lengths."""
    if isinstance(told, list):
        mask = np.zeros(size, np.uint8)
        for polygon in told:
            corners = (np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5) * (1 << SUBPIXEL_BITS)
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
        return mask.astype(np.bool_)
    if tuple(told["size"]) != size:
        raise ValueError(f"run lengths of {told['size']} in a picture of {list(size)}")
    if isinstance(told["counts"], str):
        return rle.decode(told)
    runs = np.asarray(told["counts"], np.int64)
    if (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths that do not fill a picture of {list(size)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T


def read_instances(file: Path, folder: Path) -> list[tuple[Path, Outlines]]:
    """The pictures in `folder` (or below it, as the file names them) that `file` has objects of.

    Crowds, which are no single objects, are left out. Raises ValueError in one line for a file that is not of
    this form, or whose pictures are not there.
    """
    try:
        content = orjson.loads(file.read_bytes())
        pictures = {one["id"]: one for one in content["images"]}
        labels = by_picture(one for one in content["annotations"] if not one.get("iscrowd"))
        told = [
            (folder / pictures[name]["file_name"], outlines(pictures[name], labels[name]))
            for name in labels
            if name in pictures
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not COCO instances: {type(error).__name__}: {error}") from None
    there = [(path, objects) for path, objects in told if path.is_file()]
    if not there:
        example = f", such as {told[0][0]}" if told else ""
        raise ValueError(f"{file}: none of its {len(told)} labelled pictures is there{example}")
    return sorted(there, key=lambda one: one[0])


def by_picture(annotations: Iterable[dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
    """The annotations with a mask, by the id of their picture."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for one in annotations:
        if one.get("segmentation"):
            found.setdefault(one["image_id"], []).append(one)
    return found


def outlines(picture: dict[str, Any], annotations: list[dict[str, Any]]) -> Outlines:
    size = int(picture["height"]), int(picture["width"])
    told = [(float(one.get("area") or area(one["segmentation"], size)), one) for one in annotations]
    largest_first = sorted(told, key=lambda one: -one[0])[:MOST]
    return Outlines(size, tuple(as_told(one["segmentation"]) for _, one in largest_first))


def as_told(segmentation: Any) -> Any:
    """Polygons without those that have no inside; run lengths as they are."""
    return [one for one in segmentation if len(one) >= 6] if isinstance(segmentation, list) else segmentation


def area(segmentation: Any, size: tuple[int, int]) -> int:
    return int(drawn(as_told(segmentation), size).sum())
