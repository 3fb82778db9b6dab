"""YouTube-VOS layout: masks for some frames only, and objects that begin later, as `meta.json` tells.

`JPEGImages/VIDEO/*.jpg`, `Annotations/VIDEO/*.png` (in the dataset every fifth frame), and `meta.json` with
`{"videos": {VIDEO: {"objects": {ID: {"frames": [NAME, …]}}}}}`, the frames an object is seen in (Xu et al.,
"YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark", 2018). Without `meta.json` an object begins
where a mask first shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson

from .davis import read_sequence
from .labelled import Annotations, Dataset, LabelledSequence, annotate, choose, folders_in, values_in

RATE = 30.0
"""Frames/s of the videos: a picture's name is its number at this rate."""

Begins = Mapping[int, str]
"""Object id to the name of the frame it begins at."""


def is_youtube_vos(root: Path) -> bool:
    """Whether a folder has pictures and the file that only this layout has."""
    return (root / "JPEGImages").is_dir() and (root / "meta.json").is_file()


def find_videos(root: Path, names: Sequence[str] = ()) -> Dataset:
    """The videos under `root` that have masks. Raises ValueError where there is none, or one that was asked
    for is missing."""
    videos = [folder.name for folder in folders_in(root / "JPEGImages")]
    chosen = choose(root, videos, names)
    labelled = [name for name in chosen if (root / "Annotations" / name).is_dir()]
    if not labelled:
        raise ValueError(
            f"{root}: none of {len(chosen)} videos has masks: looked for Annotations/VIDEO/*.png"
        )
    told = read_meta(root / "meta.json") if (root / "meta.json").is_file() else {}
    sequences = (read_video(root, name) for name in labelled)
    without = tuple(name for name in chosen if name not in labelled)
    return Dataset(tuple(sequences), without, partial(annotate_video, told=told))


def read_video(root: Path, name: str) -> LabelledSequence:
    """One video with its rate, and every annotated frame to be scored."""
    sequence = read_sequence(name, root / "JPEGImages" / name, root / "Annotations" / name)
    return replace(sequence, rate=_rate(sequence), scores_last=True)


def annotate_video(sequence: LabelledSequence, *, told: Mapping[str, Begins]) -> Annotations:
    """The truth of one video. `told`: by video, where its objects begin; a video that is not in it begins its
    objects where a mask first shows them. Raises ValueError where a mask lacks that is promised."""
    begins = told.get(sequence.name)
    if begins is None:
        return annotate(sequence)
    frames = {path.stem: frame for frame, path in enumerate(sequence.images)}
    return Annotations(
        sequence, {one: _begin(sequence, frames, one, begins[one]) for one in sorted(begins)}, False
    )


def read_meta(path: Path) -> dict[str, Begins]:
    """Video to where its objects begin. Raises ValueError for a file that is not as told above."""
    try:
        videos = orjson.loads(path.read_bytes())["videos"]
        return {name: _begins(video["objects"]) for name, video in videos.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not a meta.json of YouTube-VOS ({type(error).__name__}: {error})"
        ) from None


def _begins(objects: Mapping[str, Mapping[str, Sequence[str]]]) -> Begins:
    return {int(object_id): min(said["frames"]) for object_id, said in objects.items()}


def _begin(sequence: LabelledSequence, frames: Mapping[str, int], object_id: int, name: str) -> int:
    if name not in frames:
        raise ValueError(f"{sequence.name}: object {object_id} begins at frame {name}, which has no picture")
    path = sequence.masks[frames[name]]
    if path is None:
        raise ValueError(
            f"{sequence.name}: object {object_id} begins at frame {name}, which has no annotation"
        )
    if object_id not in values_in(path):
        raise ValueError(f"{path}: the mask lacks object {object_id}, which begins here by meta.json")
    return frames[name]


def _rate(sequence: LabelledSequence) -> float | None:
    """Frames/s by the numbers of the first two pictures; None where they are no numbers."""
    names = [path.stem for path in sequence.images[:2]]
    if len(names) < 2 or not all(name.isdecimal() for name in names):
        return None
    return RATE / max(1, int(names[1]) - int(names[0]))
