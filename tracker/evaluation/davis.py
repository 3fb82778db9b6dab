"""DAVIS layout, folders of sequences that have images and masks, or one such sequence.

`NAME` being a sequence of pictures sorted by name and of masks with the pictures' names:
- `JPEGImages/480p/NAME`, `Annotations/480p/NAME` (the resolution folder may be missing);
- `NAME/images`, `NAME/masks`;
- `images`, `masks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .labelled import Dataset, LabelledSequence, annotate, choose, folders_in, pictures_in

RESOLUTION = "480p"
"""The resolution DAVIS results are reported at."""


def is_davis(root: Path) -> bool:
    """Whether a folder, or one in it, has pictures and masks as told above."""
    if (root / "JPEGImages").is_dir():
        return (root / "Annotations").is_dir()
    return any(
        (folder / "images").is_dir() and (folder / "masks").is_dir() for folder in (root, *folders_in(root))
    )


def find_sequences(root: Path, names: Sequence[str] = ()) -> Dataset:
    """The labelled sequences under `root`, by name; only those in `names` if any are given.

    Raises ValueError when `root` has none of the known layouts, no masks at all, or lacks a name asked for.
    """
    folders = dict(_sequence_folders(root))
    chosen = {name: folders[name] for name in choose(root, list(folders), names)}
    labelled = {name: pair for name, pair in chosen.items() if pair[1].is_dir()}
    if not labelled:
        raise ValueError(
            f"{root}: found no labelled sequence. Give a folder with JPEGImages and Annotations (DAVIS), "
            "a folder of sequences that have images and masks, or one such sequence"
        )
    sequences = tuple(read_sequence(name, *pair) for name, pair in labelled.items())
    return Dataset(sequences, tuple(name for name in chosen if name not in labelled), annotate)


def read_sequence(name: str, images: Path, masks: Path) -> LabelledSequence:
    """The sequence of two folders. Raises ValueError for a mask without a picture of its name."""
    pictures = pictures_in(images)
    annotated = {path.stem: path for path in pictures_in(masks)}
    if stray := sorted(annotated.keys() - {path.stem for path in pictures}):
        raise ValueError(f"{masks}: {len(stray)} masks have no picture of their name, such as {stray[0]}")
    return LabelledSequence(name, tuple(pictures), tuple(annotated.get(path.stem) for path in pictures))


def _sequence_folders(root: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Name, (folder of pictures, folder of masks, which need not exist)."""
    if (root / "images").is_dir():
        yield root.resolve().name, (root / "images", root / "masks")
    elif (root / "JPEGImages").is_dir():
        images = _resolution(root / "JPEGImages")
        masks = root / "Annotations" / images.relative_to(root / "JPEGImages")
        for folder in folders_in(images):
            yield folder.name, (folder, masks / folder.name)
    else:
        for folder in folders_in(root):
            if (folder / "images").is_dir():
                yield folder.name, (folder / "images", folder / "masks")


def _resolution(images: Path) -> Path:
    """The folder that holds the sequences: `images` itself, its 480p, or its only folder."""
    inner = folders_in(images)
    if not inner or any(pictures_in(folder) for folder in inner):
        return images
    if (images / RESOLUTION).is_dir():
        return images / RESOLUTION
    if len(inner) > 1:
        names = ", ".join(folder.name for folder in inner)
        raise ValueError(f"{images}: which resolution is meant of {names}? There is no {RESOLUTION}")
    return inner[0]
