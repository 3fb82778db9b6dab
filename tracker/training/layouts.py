"""How a folder of labelled pictures or videos is laid out: told by its recipe, or found out."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.davis import find_sequences
from ..evaluation.labelled import LabelledSequence
from .recipe import Layout, Set

VIDEOS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".ts"})
LOOKED_FOR = (
    "images/ and masks/ (photos); JPEGImages/ and Annotations/ (DAVIS, YouTube-VOS); "
    "a .json here or in annotations/ (COCO); videos (unlabelled)"
)


def layout_of(folder: Path, told: Layout) -> Layout:
    """Raises ValueError, in one line, where the folder is not there or says nothing that is known."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    if told != "auto":
        return told
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return "photos"
    if (folder / "JPEGImages").is_dir() and (folder / "Annotations").is_dir():
        return "davis"
    if instance_files(folder):
        return "coco"
    if videos_in(folder):
        return "unlabelled"
    here = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise ValueError(f"{folder}: looked for {LOOKED_FOR}; found {here}")


def videos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS)


def instance_files(folder: Path) -> list[Path]:
    """JSON files that may hold COCO instances; those that are named so, where there are any."""
    files = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    return [file for file in files if file.name.startswith("instances")] or files


def coco_files(folder: Path, told: Set) -> tuple[Path, Path]:
    """The file of instances and the folder of its pictures. Raises ValueError where that is not one file, or
    the pictures are in none of the usual places."""
    files = [folder / told.annotations] if told.annotations else instance_files(folder)
    if len(files) != 1 or not files[0].is_file():
        names = ", ".join(str(file.relative_to(folder)) for file in files) or "no .json is there"
        raise ValueError(f"{folder}: which file has the instances? Name it as `annotations`: {names}")
    split = files[0].stem.removeprefix("instances_")
    usual = ("images", split, f"images/{split}", ".")
    places = [folder / name for name in ((told.images,) if told.images else usual)]
    for place in places:
        if place.is_dir() and (place != folder or told.images or not (folder / "annotations").is_dir()):
            return files[0], place
    raise ValueError(
        f"{folder}: no pictures: looked for {', '.join(map(str, places))}; name them as `images`"
    )


def labelled_videos(folder: Path) -> tuple[LabelledSequence, ...]:
    """The sequences with at least one labelled frame, without the frames that have no label."""
    found = []
    for sequence in find_sequences(folder).sequences:
        labelled = [pair for pair in zip(sequence.images, sequence.masks, strict=True) if pair[1]]
        if labelled:
            images, masks = zip(*labelled, strict=True)
            found.append(LabelledSequence(sequence.name, images, masks))
    if not found:
        raise ValueError(f"{folder}: no frame of its videos has a mask of its name")
    return tuple(found)
