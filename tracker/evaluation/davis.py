"""Labelled videos on disk: DAVIS layout, a folder of sequences, or one sequence.

Known layouts, `NAME` being a sequence of pictures sorted by name and of masks with the pictures' names:
- `JPEGImages/480p/NAME`, `Annotations/480p/NAME` (DAVIS; without a resolution folder it is YouTube-VOS);
- `NAME/images`, `NAME/masks`;
- `images`, `masks`.

Masks are 8-bit PNGs, indexed or grey: the value is the object id, 0 the background. In a sequence that has no
other value, 255 is its one object, with id 1 (black and white masks); else it is background ("void").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Image

from .propagator import IndexMap

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VOID = 255
RESOLUTION = "480p"
"""The resolution DAVIS results are reported at."""


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """The pictures of one sequence; `masks` has one entry per picture, None where there is no annotation."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was found: the sequences to evaluate on, and the names of those without masks."""

    sequences: tuple[LabelledSequence, ...]
    without_masks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Annotations:
    """Where the objects of a sequence begin. `born`: object id to the first frame that shows it."""

    sequence: LabelledSequence
    born: dict[int, int]
    black_and_white: bool

    def map(self, frame: int) -> IndexMap | None:
        """The annotation (H, W) of a frame, None where there is none."""
        path = self.sequence.masks[frame]
        return None if path is None else self._ids(read_index_map(path))

    def prompts(self) -> dict[int, IndexMap]:
        """Frame to the map (H, W) of the objects that begin there, other objects left out.

        Raises ValueError where a mask has not the size of its picture.
        """
        starts: dict[int, list[int]] = {}
        for object_id, frame in self.born.items():
            starts.setdefault(frame, []).append(object_id)
        return {frame: self._only(frame, ids) for frame, ids in sorted(starts.items())}

    def _only(self, frame: int, ids: list[int]) -> IndexMap:
        annotated, image = self.map(frame), read_image(self.sequence.images[frame])
        assert annotated is not None, "an object begins where it is annotated"
        if annotated.shape != image.shape[:2]:
            raise ValueError(
                f"{self.sequence.masks[frame]}: the mask is {_size(annotated)}, its picture {_size(image)}"
            )
        return np.where(np.isin(annotated, ids), annotated, 0).astype(np.uint8)

    def _ids(self, values: IndexMap) -> IndexMap:
        return np.where(values == VOID, np.uint8(self.black_and_white), values)


def find_sequences(root: Path, names: Collection[str] = ()) -> Dataset:
    """The labelled sequences under `root`, by name; only those in `names` if any are given.

    Raises ValueError when `root` has none of the known layouts, no masks at all, or lacks a name asked for.
    """
    folders = dict(_sequence_folders(root))
    if missing := sorted(set(names) - folders.keys()):
        raise ValueError(f"{root}: no sequence {', '.join(missing)}; there are {', '.join(folders)}")
    chosen = {name: folders[name] for name in folders if not names or name in names}
    labelled = {name: pair for name, pair in chosen.items() if pair[1].is_dir()}
    if not labelled:
        raise ValueError(
            f"{root}: found no labelled sequence. Give a folder with JPEGImages and Annotations (DAVIS), "
            "a folder of sequences that have images and masks, or one such sequence"
        )
    sequences = tuple(_read_sequence(name, *pair) for name, pair in labelled.items())
    return Dataset(sequences, tuple(name for name in chosen if name not in labelled))


def annotate(sequence: LabelledSequence) -> Annotations:
    """Read all masks of a sequence once, to learn which object begins where. ValueError if none does."""
    seen: dict[int, int] = {}
    for frame, path in enumerate(sequence.masks):
        if path is not None:
            for value in np.flatnonzero(np.bincount(read_index_map(path).ravel(), minlength=256)).tolist():
                seen.setdefault(value, frame)
    black_and_white = seen.keys() <= {0, VOID}
    born = {1: seen[VOID]} if black_and_white and VOID in seen else _without_background(seen)
    if not born:
        raise ValueError(f"{sequence.name}: no mask shows an object")
    return Annotations(sequence, born, black_and_white)


def read_image(path: Path) -> Image:
    """A picture as (H, W, 3) uint8 RGB. Raises ValueError if it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_images(sequence: LabelledSequence) -> Iterator[Image]:
    """The pictures of a sequence in order, each read when it is asked for."""
    return (read_image(path) for path in sequence.images)


def read_index_map(path: Path) -> IndexMap:
    """A mask PNG as (H, W) uint8: palette index, grey value, or 0 and 255 for one bit a pixel.

    Raises ValueError for colour, alpha and 16-bit pictures, which do not name object ids.
    """
    try:
        with av.open(str(path)) as container:
            picture = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise ValueError(f"{path}: not a mask that can be read ({error})") from error
    match picture.format.name:
        case "pal8":
            return _indices(picture.planes[0])
        case "gray":
            return np.asarray(picture.to_ndarray(), np.uint8)
        case "monob" | "monow":
            return np.asarray(picture.to_ndarray(format="gray"), np.uint8)
        case other:
            raise ValueError(f"{path}: a mask must be an indexed or 8-bit grey PNG, this one is {other}")


def _indices(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """The bytes of a plane without the padding at the end of its lines."""
    lines = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(lines[: plane.height, : plane.width])


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _without_background(seen: dict[int, int]) -> dict[int, int]:
    return {value: seen[value] for value in sorted(seen) if value not in (0, VOID)}


def _sequence_folders(root: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Name, (folder of pictures, folder of masks, which need not exist)."""
    if (root / "images").is_dir():
        yield root.resolve().name, (root / "images", root / "masks")
    elif (root / "JPEGImages").is_dir():
        images = _resolution(root / "JPEGImages")
        masks = root / "Annotations" / images.relative_to(root / "JPEGImages")
        for folder in _folders(images):
            yield folder.name, (folder, masks / folder.name)
    else:
        for folder in _folders(root):
            if (folder / "images").is_dir():
                yield folder.name, (folder / "images", folder / "masks")


def _resolution(images: Path) -> Path:
    """The folder that holds the sequences: `images` itself, its 480p, or its only folder."""
    inner = _folders(images)
    if not inner or any(_pictures(folder) for folder in inner):
        return images
    if (images / RESOLUTION).is_dir():
        return images / RESOLUTION
    if len(inner) > 1:
        names = ", ".join(folder.name for folder in inner)
        raise ValueError(f"{images}: which resolution is meant of {names}? There is no {RESOLUTION}")
    return inner[0]


def _read_sequence(name: str, images: Path, masks: Path) -> LabelledSequence:
    pictures = _pictures(images)
    annotated = {path.stem: path for path in _pictures(masks)}
    if stray := sorted(annotated.keys() - {path.stem for path in pictures}):
        raise ValueError(f"{masks}: {len(stray)} masks have no picture of their name, such as {stray[0]}")
    return LabelledSequence(name, tuple(pictures), tuple(annotated.get(path.stem) for path in pictures))


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if path.is_dir())
