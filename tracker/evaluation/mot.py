"""MOT layout: one box for each object and frame, in `gt/gt.txt` or `gt.txt` beside the pictures.

A line is `frame,id,x,y,width,height[,counts[,class,visibility]]`: frames from 1, pixels from (1, 1), `counts`
0 for what is not to be scored (Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016, 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .labelled import read_image
from .mot_folders import MotSequence, find_folders, first_line

PixelBox = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels, (0, 0) being the upper left corner of the picture; may reach beyond it."""

Boxes = Mapping[int, PixelBox]
"""Object id to its box in one frame."""


@dataclass(frozen=True, slots=True)
class BoxSequence:
    """The pictures of one sequence and the true boxes of each of its frames.

    `size`: (height, width) of the pictures; `born`: object id to the first frame that has its box.
    """

    name: str
    images: tuple[Path, ...]
    truth: tuple[Boxes, ...]
    size: tuple[int, int]
    born: Mapping[int, int]
    rate: float | None = None

    def __len__(self) -> int:
        return len(self.images)

    def prompts(self) -> dict[int, dict[int, PixelBox]]:
        """Frame to the boxes of the objects that begin there, as far as they are inside the picture."""
        starts: dict[int, dict[int, PixelBox]] = {}
        for object_id, frame in sorted(self.born.items()):
            starts.setdefault(frame, {})[object_id] = inside(self.truth[frame][object_id], self.size)
        return dict(sorted(starts.items()))


@dataclass(frozen=True, slots=True)
class BoxDataset:
    """What was found: the sequences to evaluate on, and the names of those without boxes."""

    sequences: tuple[BoxSequence, ...]
    without_boxes: tuple[str, ...]


def is_mot(root: Path) -> bool:
    """Whether a folder, or one in it, has pictures and a file of boxes."""
    return any(_has_boxes(one) for one in find_folders(root))


def find_boxes(root: Path, names: Sequence[str] = ()) -> BoxDataset:
    """The sequences under `root` that have boxes. Raises ValueError where there is none, for a name that is
    not there, and for a file that is not as told above."""
    found = find_folders(root, names)
    labelled = [one for one in found if _has_boxes(one)]
    if not labelled:
        raise ValueError(f"{root}: found no boxes: looked for img1 or images with gt/gt.txt or gt.txt")
    without = tuple(one.name for one in found if one not in labelled)
    return BoxDataset(tuple(read_boxes(one) for one in labelled), without)


def read_boxes(sequence: MotSequence) -> BoxSequence:
    """The true boxes of a sequence that has some. Raises ValueError for a file that is not as told above."""
    assert sequence.truth is not None
    truth: list[dict[int, PixelBox]] = [{} for _ in sequence.images]
    for number, frame, object_id, box in _rows(sequence.truth):
        if not 1 <= frame <= len(truth):
            raise ValueError(f"{sequence.truth}, line {number}: frame {frame} of {len(truth)} pictures")
        truth[frame - 1][object_id] = box
    height, width = read_image(sequence.images[0]).shape[:2]
    born = _born(truth, (height, width))
    if not born:
        raise ValueError(f"{sequence.truth}: no box that counts lies in the {width}x{height} pictures")
    return BoxSequence(sequence.name, sequence.images, tuple(truth), (height, width), born, sequence.rate)


def inside(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    """The part of a box in a picture of `size` (height, width); without area where there is none."""
    height, width = size
    x0, y0, x1, y1 = box
    x0, y0 = min(max(x0, 0.0), width), min(max(y0, 0.0), height)
    return x0, y0, max(x0, min(x1, width)), max(y0, min(y1, height))


def area(box: PixelBox) -> float:
    """In square pixels."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _has_boxes(sequence: MotSequence) -> bool:
    return "," in first_line(sequence.truth)


def _rows(path: Path) -> Iterator[tuple[int, int, int, PixelBox]]:
    """Number of the line, frame, object id and box of each line that counts."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, object_id, x, y, width, height, *rest = map(float, line.split(","))
        except ValueError:
            raise ValueError(f"{path}, line {number}: not frame,id,x,y,width,height: {line[:60]}") from None
        if not rest or rest[0] != 0:
            yield number, int(frame), int(object_id), (x - 1, y - 1, x - 1 + width, y - 1 + height)


def _born(truth: Sequence[Boxes], size: tuple[int, int]) -> dict[int, int]:
    """Object id to the first frame in which a pixel of its box is inside the picture."""
    born: dict[int, int] = {}
    for frame, boxes in enumerate(truth):
        for object_id, box in boxes.items():
            if object_id not in born and area(inside(box, size)) >= 1:
                born[object_id] = frame
    return born
