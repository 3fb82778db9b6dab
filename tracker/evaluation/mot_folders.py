"""Where a sequence of the MOT Challenge keeps its pictures, its truth, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path

from .labelled import choose, folders_in, pictures_in, read_image

PICTURE_FOLDERS = ("img1", "images", "img")
TRUTH_FILES = (Path("gt", "gt.txt"), Path("gt.txt"))


@dataclass(frozen=True, slots=True)
class MotSequence:
    """One sequence on disk. `truth`: its file with a line per object and frame, None where there is none.

    `rate`: frames/s, None where no `seqinfo.ini` says it.
    """

    name: str
    images: tuple[Path, ...]
    truth: Path | None
    folder: Path
    rate: float | None

    def __len__(self) -> int:
        return len(self.images)


def find_folders(root: Path, names: Sequence[str] = ()) -> list[MotSequence]:
    """The sequences that are `root` itself or folders in it, by name; only those in `names` if any are given.

    Raises ValueError for a name that is not there, and where `seqinfo.ini` contradicts the pictures.
    """
    folders = [root] if _picture_folder(root) else [one for one in folders_in(root) if _picture_folder(one)]
    by_name = {folder.resolve().name: folder for folder in folders}
    return [read_folder(name, by_name[name]) for name in choose(root, list(by_name), names)]


def read_folder(name: str, folder: Path) -> MotSequence:
    """One sequence. Raises ValueError where `seqinfo.ini` contradicts the pictures."""
    said = _read_info(folder / "seqinfo.ini")
    images = folder / said["imDir"] if "imDir" in said else _picture_folder(folder)
    if images is None or not images.is_dir():
        raise ValueError(f"{folder}: there is no folder {said.get('imDir')}, which its seqinfo.ini names")
    pictures = tuple(pictures_in(images))
    _check(folder / "seqinfo.ini", said, pictures)
    truth = next((folder / file for file in TRUTH_FILES if (folder / file).is_file()), None)
    rate = float(said["frameRate"]) if "frameRate" in said else None
    return MotSequence(name, pictures, truth, folder, rate)


def first_line(truth: Path | None) -> str:
    """The first line of a truth file, by which its kind is known; empty where there is none."""
    if truth is None:
        return ""
    with truth.open(encoding="utf-8", errors="replace") as lines:
        return next((line.strip() for line in lines if line.strip()), "")


def _picture_folder(folder: Path) -> Path | None:
    found = (folder / name for name in PICTURE_FOLDERS if (folder / name).is_dir())
    return next((one for one in found if pictures_in(one)), None)


def _read_info(path: Path) -> dict[str, str]:
    """The entries of a `seqinfo.ini`; none where there is no such file."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read(path, encoding="utf-8")
        said = dict(parser["Sequence"]) if path.is_file() else {}
        for name in ("frameRate", "seqLength", "imWidth", "imHeight"):
            if name in said and not float(said[name]) > 0:
                raise ValueError(f"{name} is {said[name]}")
    except (Error, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a seqinfo.ini ({error})") from None
    return said


def _check(path: Path, said: dict[str, str], pictures: Sequence[Path]) -> None:
    if not pictures:
        raise ValueError(f"{path.parent}: there are no pictures")
    if "seqLength" in said and int(said["seqLength"]) != len(pictures):
        raise ValueError(f"{path}: seqLength is {said['seqLength']}, but there are {len(pictures)} pictures")
    if "imWidth" in said and "imHeight" in said:
        height, width = read_image(pictures[0]).shape[:2]
        if (int(said["imWidth"]), int(said["imHeight"])) != (width, height):
            stated = f"{said['imWidth']}x{said['imHeight']}"
            raise ValueError(
                f"{path}: the pictures are said to be {stated}, {pictures[0].name} is {width}x{height}"
            )
