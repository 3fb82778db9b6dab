"""Which layout a folder of labelled videos has, by what lies in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .davis import find_sequences, is_davis
from .labelled import Dataset
from .mot import BoxDataset, find_boxes, is_mot
from .mots import find_instances, is_mots
from .youtube_vos import find_videos, is_youtube_vos

MASKS: Mapping[str, Callable[[Path, Sequence[str]], Dataset]] = {
    "youtube-vos": find_videos,
    "davis": find_sequences,
    "mots": find_instances,
}
"""The layouts that label with masks."""
LAYOUTS = (*MASKS, "mot")

_IS: Mapping[str, Callable[[Path], bool]] = {
    "youtube-vos": is_youtube_vos,
    "davis": is_davis,
    "mots": is_mots,
    "mot": is_mot,
}
_LOOKED_FOR = (
    "JPEGImages with meta.json (youtube-vos), JPEGImages with Annotations or images with masks (davis), "
    "img1 with a gt.txt of run lengths or images with instances (mots), "
    "img1 or images with a gt.txt of boxes (mot)"
)


def detect(root: Path) -> str:
    """The first of `LAYOUTS` that the folder has. Raises ValueError, saying what was looked for, if none."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    for layout, has in _IS.items():
        if has(root):
            return layout
    raise ValueError(
        f"{root}: found no labelled videos; looked in it and one folder deeper for {_LOOKED_FOR}"
    )


def find(root: Path, layout: str | None = None, names: Sequence[str] = ()) -> Dataset | BoxDataset:
    """The labelled sequences under `root`, or those named. Raises ValueError for what cannot be found."""
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; there are {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    layout = layout or detect(root)
    return find_boxes(root, names) if layout == "mot" else MASKS[layout](root, names)


def find_masks(root: Path, names: Sequence[str] = (), layout: str | None = None) -> Dataset:
    """As `find`, where the truth must be masks."""
    match find(root, layout, names):
        case Dataset() as found:
            return found
        case BoxDataset():
            raise ValueError(f"{root}: is labelled with boxes; this needs masks")
