"""What clips are made of: photos with instance masks, labelled videos, outlines, and backgrounds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from ..evaluation.labelled import LabelledSequence, read_index_map
from .coco import Outlines, read_instances
from .layouts import coco_files, labelled_videos, layout_of
from .recipe import Data, Set

Array = NDArray[np.uint8]
IMAGE_ENDINGS = frozenset({".webp", ".jpg", ".jpeg", ".png", ".bmp"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file and its instance map (an 8-bit PNG, 0 background, 1..n instances, or outlines), with the
    usable instances."""

    image: Path
    mask: Path | Outlines
    instances: tuple[int, ...]

    def read(self) -> tuple[Array, Array]:
        """The picture (H, W, 3) RGB and its instance map (H, W). Raises ValueError where they do not fit."""
        image = read_rgb(self.image)
        instances = self.mask.map() if isinstance(self.mask, Outlines) else read_map(self.mask)
        if image.shape[:2] != instances.shape:
            sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (image.shape, instances.shape))
            raise ValueError(f"{self.image}: the picture and its mask are of unlike size: {sizes}")
        return image, instances


@dataclass(frozen=True, slots=True)
class Library:
    """Photos by set, labelled videos by set, outlines, and background pictures. Files are read when a clip
    needs them. `real` in [0, 1]: how often a clip comes from a video."""

    sets: tuple[tuple[Photo, ...], ...]
    set_weights: tuple[float, ...]
    outlines: tuple[Path, ...]
    backgrounds: tuple[Path, ...]
    videos: tuple[tuple[LabelledSequence, ...], ...] = ()
    video_weights: tuple[float, ...] = ()
    real: float = 0.0

    def photo(self, random: np.random.Generator) -> tuple[Array, Array, Photo]:
        """A photo (H, W, 3) RGB, its instance map (H, W), and what it is."""
        photos = self.sets[random.choice(len(self.sets), p=self.set_weights)]
        photo = photos[random.integers(len(photos))]
        return *photo.read(), photo

    def video(self, random: np.random.Generator) -> LabelledSequence:
        sequences = self.videos[random.choice(len(self.videos), p=self.video_weights)]
        return sequences[random.integers(len(sequences))]

    def cutout(self, random: np.random.Generator) -> Array:
        """An object cut out of its photo, or an outline filled with a texture: (h, w, 4) RGB and alpha."""
        if self.outlines and random.random() < 0.15:
            return self.textured_outline(random)
        image, instances, photo = self.photo(random)
        chosen = photo.instances[random.integers(len(photo.instances))]
        return cut(image, instances == chosen)

    def textured_outline(self, random: np.random.Generator) -> Array:
        alpha = read_map(self.outlines[random.integers(len(self.outlines))])
        alpha = np.where(alpha > 0, 255, 0).astype(np.uint8)
        texture = cv2.resize(self.background(random), alpha.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.dstack((texture, alpha))

    def background(self, random: np.random.Generator) -> Array:
        """(H, W, 3) RGB; one time in three a photo of the sets, with whatever is in it."""
        if not self.backgrounds or random.random() < 0.33:
            return self.photo(random)[0]
        return read_rgb(self.backgrounds[random.integers(len(self.backgrounds))])


def open_library(data: Data, index: Path, labels: Path) -> Library:
    """All that `data` names. Videos without labels are sought as labelled ones under `labels`.

    Which instances of a photo are usable is kept in the file `index`, since finding out reads every mask.
    Raises ValueError, in one line, for what is missing.
    """
    known = read_index(index)
    photos: dict[str, tuple[Photo, ...]] = {}
    videos: dict[str, tuple[LabelledSequence, ...]] = {}
    for name, told in data.sets.items():
        folder = data.root / name
        match layout_of(folder, told.layout):
            case "davis":
                videos[name] = labelled_videos(folder)
            case "unlabelled":
                videos[name] = labelled_videos(labels / name)
            case "coco":
                photos[name] = coco_photos(name, folder, told, known)
            case _:
                photos[name] = index_set(name, folder, known)
    write_index(index, known)
    for name in [name for name, found in photos.items() if not found]:
        log.warning("no usable photos in %s", data.root / name)
        del photos[name]
    if not photos and not videos:
        raise ValueError(f"{data.root}: none of the sets {', '.join(data.sets)} holds photos with masks")
    weigh = {name: told.weight for name, told in data.sets.items()}
    every = sum(weigh[name] for name in (*photos, *videos))
    return Library(
        sets=tuple(photos.values()),
        set_weights=shares([weigh[name] for name in photos]),
        outlines=named_pictures(data.root, data.outlines),
        backgrounds=named_pictures(data.root, data.backgrounds),
        videos=tuple(videos.values()),
        video_weights=shares([weigh[name] for name in videos]),
        real=sum(weigh[name] for name in videos) / every if photos else 1.0,
    )


def shares(weights: list[float]) -> tuple[float, ...]:
    return tuple((np.array(weights, dtype=float) / sum(weights)).tolist()) if weights else ()


def named_pictures(root: Path, name: str) -> tuple[Path, ...]:
    """The pictures below a folder that a recipe names; none where it names none. ValueError where there are
    none."""
    found = tuple(pictures(root / name)) if name else ()
    if name and not found:
        raise ValueError(
            f"{root / name}: looked for pictures ({', '.join(sorted(IMAGE_ENDINGS))}), found none"
        )
    return found


def coco_photos(name: str, folder: Path, told: Set, known: dict[str, tuple[int, ...]]) -> tuple[Photo, ...]:
    """The pictures of a COCO set that have usable instances. `known` as in `index_set`."""
    file, images = coco_files(folder, told)
    age = file.stat().st_mtime_ns
    photos = []
    for image, outlines in read_instances(file, images):
        key = f"{name}/{image.name}@{age}"
        if key not in known:
            known[key] = usable_instances(outlines.map())
        if known[key]:
            photos.append(Photo(image, outlines, known[key]))
    return tuple(photos)


def index_set(name: str, folder: Path, known: dict[str, tuple[int, ...]]) -> tuple[Photo, ...]:
    """The photos of a folder that have usable instances. What is `known` holds while the mask is as old."""
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            raise ValueError(f"{folder}: looked for images/ and masks/, found no {part}/")
    photos = []
    for image in pictures(folder / "images"):
        mask = folder / "masks" / f"{image.stem}.png"
        if not mask.is_file():
            continue
        key = f"{name}/{image.stem}@{mask.stat().st_mtime_ns}"
        if key not in known:
            known[key] = usable_instances(read_map(mask))
        if known[key]:
            photos.append(Photo(image, mask, known[key]))
    return tuple(photos)


def usable_instances(instances: Array, smallest: float = 0.008, largest: float = 0.7) -> tuple[int, ...]:
    """The instances that cover a fraction of the picture between `smallest` and `largest`."""
    share = np.bincount(instances.ravel(), minlength=2)[1:] / instances.size
    return tuple(int(i) + 1 for i in np.flatnonzero((share >= smallest) & (share <= largest)))


def cut(image: Array, mask: NDArray[np.bool_]) -> Array:
    """The masked part of an image with a margin of two pixels: (h, w, 4); the alpha's edge is softened."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    y0, x0 = max(0, y - 2), max(0, x - 2)
    part = np.s_[y0 : y + h + 2, x0 : x + w + 2]
    alpha = cv2.GaussianBlur(mask[part].astype(np.uint8) * 255, (3, 3), 0)
    return np.dstack((image[part], alpha))


def pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)


def read_rgb(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a readable picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_map(path: Path) -> Array:
    """(H, W) uint8 as stored: the palette index where there is a palette."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        return read_index_map(path)
    return np.asarray(image, dtype=np.uint8)


def read_index(path: Path) -> dict[str, tuple[int, ...]]:
    if not path.is_file():
        return {}
    stored: dict[str, list[int]] = orjson.loads(path.read_bytes())
    return {key: tuple(instances) for key, instances in stored.items()}


def write_index(path: Path, known: dict[str, tuple[int, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(orjson.dumps(known))
    temporary.replace(path)
