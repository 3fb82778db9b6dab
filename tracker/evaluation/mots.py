"""MOTS layout: an instance mask for each object and frame, as run lengths in a text or as 16-bit PNGs.

`SEQUENCE/img1` with `SEQUENCE/gt/gt.txt` (or `gt.txt`), or `images/SEQUENCE` with `instances/SEQUENCE/*.png`
or `instances_txt/SEQUENCE.txt`. A line of text is `frame id class height width rle`, frames from 1 and the
mask in COCO's compressed form; the value of a PNG's pixel is the object id. Id 10000 marks pixels on which
nothing that is claimed counts (Voigtlaender et al., "MOTS: Multi-Object Tracking and Segmentation", 2019, and
the format of its benchmark).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from keepsight.streams.rle import decode
from keepsight.streams.types import Mask

from .labelled import Dataset, LabelledSequence, choose, folders_in, pictures_in
from .mot_folders import find_folders, first_line
from .propagator import IndexMap

IGNORED = 10000
HIGHEST = 0xFFFF
PICTURES = ("images", "img1", "image_02")

Row = tuple[int, list[int], str]
"""Object id, [height, width] and run lengths of one mask."""
Rows = Mapping[int, Sequence[Row]]
"""The masks of each frame, counted from 0; frames without objects are missing."""


@dataclass(frozen=True, slots=True)
class Instances:
    """The truth of a sequence. `rows`: those of a text, of masks of `size` (height, width); without them the
    PNGs of the sequence are read."""

    sequence: LabelledSequence
    born: dict[int, int]
    rows: Rows | None = None
    size: tuple[int, int] = (0, 0)

    def map(self, frame: int) -> IndexMap | None:
        values = self._values(frame)
        return None if values is None else np.where(values == IGNORED, np.uint16(0), values)

    def ignored(self, frame: int) -> Mask | None:
        values = self._values(frame)
        return None if values is None or not (values == IGNORED).any() else values == IGNORED

    def _values(self, frame: int) -> IndexMap | None:
        if self.rows is not None:
            return self._drawn(frame, self.rows.get(frame, ()))
        path = self.sequence.masks[frame]
        return None if path is None else read_instances(path)

    def _drawn(self, frame: int, rows: Sequence[Row]) -> IndexMap:
        """One map of all masks of a frame; of nothing where there is no line, for then there is no object."""
        drawn = np.zeros(self.size, np.uint16)
        for object_id, size, counts in rows:
            try:
                drawn[decode({"size": size, "counts": counts})] = object_id
            except (ValueError, IndexError) as error:
                name = f"{self.sequence.name}: frame {frame + 1}, object {object_id}"
                raise ValueError(f"{name}: not a mask of {self.size[1]}x{self.size[0]} ({error})") from None
        return drawn


def is_mots(root: Path) -> bool:
    """Whether there are instance PNGs or a text of run lengths."""
    return bool(_beside(root)) or any(_has_masks(first_line(one.truth)) for one in find_folders(root))


def find_instances(root: Path, names: Sequence[str] = ()) -> Dataset:
    """The sequences under `root` that have instance masks. Raises ValueError where there is none."""
    found = _beside(root) or _within(root)
    chosen = choose(root, list(found), names)
    labelled = [name for name in chosen if found[name][1] is not None]
    if not labelled:
        raise ValueError(
            f"{root}: found no instance masks: looked for img1 with gt/gt.txt (frame id class height "
            "width rle), and for images/SEQUENCE with instances/SEQUENCE/*.png or instances_txt/SEQUENCE.txt"
        )
    texts = {name: text for name in labelled if (text := found[name][1]) is not None and text.is_file()}
    without = tuple(name for name in chosen if name not in labelled)
    return Dataset(
        tuple(found[name][0] for name in labelled), without, partial(annotate_instances, texts=texts)
    )


def annotate_instances(sequence: LabelledSequence, *, texts: Mapping[str, Path]) -> Instances:
    """The truth of one sequence, of the text of its name or else of its PNGs. Raises ValueError for truth
    that is not as told above."""
    path = texts.get(sequence.name)
    rows = None if path is None else read_rows(path, len(sequence))
    height, width = next((masks[0][1] for masks in rows.values()), [0, 0]) if rows else [0, 0]
    truth = Instances(sequence, {}, rows, (height, width))
    born: dict[int, int] = {}
    for frame in range(len(sequence)):
        shown = truth.map(frame)
        for object_id in () if shown is None else np.unique(shown[shown > 0]).tolist():
            born.setdefault(object_id, frame)
    if not born:
        raise ValueError(f"{sequence.name}: no mask shows an object")
    return replace(truth, born=dict(sorted(born.items())))


def read_rows(path: Path, frames: int) -> Rows:
    """The lines of a text by frame, from 0. Raises ValueError for one that is not as told above."""
    rows: dict[int, list[Row]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, object_id, _, height, width, counts = line.split()
            row = int(object_id), [int(height), int(width)], counts
            at = int(frame) - 1
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: not frame id class height width rle: {line[:60]}"
            ) from None
        if not 0 <= at < frames or not 0 < row[0] <= HIGHEST:
            raise ValueError(f"{path}, line {number}: frame {at + 1} of {frames} pictures, object {row[0]}")
        rows.setdefault(at, []).append(row)
    return rows


def read_instances(path: Path) -> IndexMap:
    """An instance PNG, grey of 8 or 16 bits, as (H, W) uint16. Raises ValueError for any other picture."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise ValueError(f"{path}: instances must be a grey PNG of 8 or 16 bits")
    return values.astype(np.uint16)


Found = dict[str, tuple[LabelledSequence, Path | None]]
"""By name: a sequence, and its text, its folder of PNGs, or None where it has neither."""


def _beside(root: Path) -> Found:
    """Sequences whose pictures and instances lie in folders beside each other."""
    pictures = next((root / name for name in PICTURES if (root / name).is_dir()), None)
    if pictures is None or not ((root / "instances").is_dir() or (root / "instances_txt").is_dir()):
        return {}
    found: Found = {}
    for folder in folders_in(pictures):
        masks, text = root / "instances" / folder.name, root / "instances_txt" / f"{folder.name}.txt"
        truth = text if text.is_file() else masks if masks.is_dir() else None
        annotated = {path.stem: path for path in pictures_in(masks)} if masks.is_dir() else {}
        images = tuple(pictures_in(folder))
        by_picture = tuple(annotated.get(path.stem) for path in images)
        found[folder.name] = LabelledSequence(folder.name, images, by_picture, scores_last=True), truth
    return found


def _within(root: Path) -> Found:
    """Sequences whose pictures and text lie in a folder of their own."""
    found: Found = {}
    for one in find_folders(root):
        nothing = (None,) * len(one.images)
        sequence = LabelledSequence(one.name, one.images, nothing, one.rate, scores_last=True)
        found[one.name] = sequence, one.truth if _has_masks(first_line(one.truth)) else None
    return found


def _has_masks(line: str) -> bool:
    """Whether a line of truth is `frame id class height width rle`."""
    return len(line.split()) == 6
