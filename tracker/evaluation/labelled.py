"""Labelled sequences: their pictures, and the masks that say which object is where.

Masks are 8-bit PNGs, indexed or grey: the value is the object id, 0 the background. In a sequence that has no
other value, 255 is its one object, with id 1 (black and white masks); else it is background ("void").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Image

from .propagator import IndexMap

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VOID = 255


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """The pictures of one sequence; `masks` has one entry per picture, None where there is no annotation.

    `rate`: frames/s, None where the dataset does not say. `scores_last`: whether the last frame is scored; in
    DAVIS it is not.
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    rate: float | None = None
    scores_last: bool = False

    def __len__(self) -> int:
        return len(self.images)


class Truth(Protocol):
    """What is known of a sequence. `born`: object id to the first frame that shows it."""

    @property
    def sequence(self) -> LabelledSequence: ...

    @property
    def born(self) -> Mapping[int, int]: ...

    def map(self, frame: int) -> IndexMap | None:
        """The annotation (H, W) of a frame, None where there is none."""
        ...

    def ignored(self, frame: int) -> NDArray[np.bool_] | None:
        """The pixels (H, W) of a frame on which nothing that is claimed counts; None where all count."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was found: the sequences to evaluate on, how their truth is read, and the names of those without
    masks."""

    sequences: tuple[LabelledSequence, ...]
    without_masks: tuple[str, ...]
    annotate: Callable[[LabelledSequence], Truth]


@dataclass(frozen=True, slots=True)
class Annotations:
    """The truth of mask PNGs."""

    sequence: LabelledSequence
    born: dict[int, int]
    black_and_white: bool

    def map(self, frame: int) -> IndexMap | None:
        path = self.sequence.masks[frame]
        return None if path is None else self._ids(read_index_map(path))

    def ignored(self, frame: int) -> NDArray[np.bool_] | None:
        return None

    def _ids(self, values: NDArray[np.uint8]) -> IndexMap:
        return np.where(values == VOID, np.uint8(self.black_and_white), values)


def annotate(sequence: LabelledSequence) -> Annotations:
    """Read all masks of a sequence once, to learn which object begins where. ValueError if none does."""
    seen: dict[int, int] = {}
    for frame, path in enumerate(sequence.masks):
        if path is not None:
            for value in values_in(path):
                seen.setdefault(value, frame)
    black_and_white = seen.keys() <= {0, VOID}
    born = {1: seen[VOID]} if black_and_white and VOID in seen else _without_background(seen)
    if not born:
        raise ValueError(f"{sequence.name}: no mask shows an object")
    return Annotations(sequence, born, black_and_white)


def first_masks(truth: Truth) -> dict[int, IndexMap]:
    """Frame to the map (H, W) of the objects that begin there, other objects left out.

    Raises ValueError where a mask has not the size of its picture.
    """
    starts: dict[int, list[int]] = {}
    for object_id, frame in truth.born.items():
        starts.setdefault(frame, []).append(object_id)
    return {frame: _only(truth, frame, ids) for frame, ids in sorted(starts.items())}


def _only(truth: Truth, frame: int, ids: list[int]) -> IndexMap:
    annotated = truth.map(frame)
    assert annotated is not None, "an object begins where it is annotated"
    check_size(truth.sequence, frame, annotated)
    return np.where(np.isin(annotated, ids), annotated, annotated.dtype.type(0))


def check_size(sequence: LabelledSequence, frame: int, mask: IndexMap) -> None:
    """Raises ValueError where a mask (H, W) has not the size of the picture of its frame."""
    image = read_image(sequence.images[frame])
    if mask.shape != image.shape[:2]:
        named = sequence.masks[frame] or f"{sequence.name}, frame {frame}"
        raise ValueError(f"{named}: the mask is {_size(mask.shape)}, its picture {_size(image.shape)}")


class Pictures(Sequence[Image]):
    """The pictures of a sequence in order, each (H, W, 3) uint8 RGB and read when it is asked for.

    `rate`: frames/s, None where the dataset does not say.
    """

    def __init__(self, paths: Sequence[Path], rate: float | None = None) -> None:
        self._paths = paths
        self.rate = rate

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Image | Pictures:
        if isinstance(index, slice):
            return Pictures(self._paths[index], self.rate)
        return read_image(self._paths[index])

    def __iter__(self) -> Iterator[Image]:
        return (read_image(path) for path in self._paths)


def read_image(path: Path) -> Image:
    """A picture as (H, W, 3) uint8 RGB. Raises ValueError if it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_index_map(path: Path) -> NDArray[np.uint8]:
    """A mask PNG as (H, W) uint8: palette index, grey value, or 0 and 255 for one bit a pixel.

    Raises ValueError for colour, alpha and 16-bit pictures, which do not name object ids.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            picture = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise ValueError(f"{path}: not a mask that can be read") from error
    match picture.format.name:
        case "pal8":
            return _indices(picture.planes[0])
        case "gray":
            return np.asarray(picture.to_ndarray(), np.uint8)
        case "monob" | "monow":
            return np.asarray(picture.to_ndarray(format="gray"), np.uint8)
        case other:
            raise ValueError(f"{path}: a mask must be an indexed or 8-bit grey PNG, this one is {other}")


def values_in(path: Path) -> list[int]:
    """The values in a mask PNG, rising."""
    return [int(value) for value in np.flatnonzero(np.bincount(read_index_map(path).ravel(), minlength=256))]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name. Raises ValueError where there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if path.is_dir())


def choose(root: Path, there: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The names asked for in the order they are there; all where none is asked for. Raises ValueError for one
    that is not there."""
    if missing := sorted(set(asked) - set(there)):
        raise ValueError(f"{root}: no sequence {', '.join(missing)}; there are {', '.join(there)}")
    return [name for name in there if not asked or name in asked]


def _indices(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """The bytes of a plane without the padding at the end of its lines."""
    lines = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(lines[: plane.height, : plane.width])


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _without_background(seen: dict[int, int]) -> dict[int, int]:
    return {value: seen[value] for value in sorted(seen) if value not in (0, VOID)}
