"""What clips are made of: photos with instance masks, outlines, and photos and textures for backgrounds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

Array = NDArray[np.uint8]
IMAGE_ENDINGS = frozenset({".webp", ".jpg", ".jpeg", ".png", ".bmp"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file and its instance map (8-bit PNG, 0 background, 1..n instances), with the usable
    instances."""

    image: Path
    mask: Path
    instances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """Photos by set, outlines, and background pictures. Files are read when a clip needs them."""

    sets: tuple[tuple[Photo, ...], ...]
    set_weights: tuple[float, ...]
    outlines: tuple[Path, ...]
    backgrounds: tuple[Path, ...]

    def photo(self, random: np.random.Generator) -> tuple[Array, Array, Photo]:
        """A photo (H, W, 3) RGB, its instance map (H, W), and what it is."""
        photos = self.sets[random.choice(len(self.sets), p=self.set_weights)]
        photo = photos[random.integers(len(photos))]
        return read_rgb(photo.image), read_map(photo.mask), photo

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


def open_library(root: Path, sets: dict[str, float], outlines: str, backgrounds: str, index: Path) -> Library:
    """Index `root`: folders `images/<set>/{images,masks}` (weighted by `sets`), outlines and backgrounds.

    Which instances are usable is kept in the file `index`, since finding out reads every mask.
    """
    known = read_index(index)
    found = {name: index_set(root / name, known) for name in sets}
    write_index(index, known)
    usable = {name: photos for name, photos in found.items() if photos}
    for name in sets.keys() - usable.keys():
        log.warning("no usable photos in %s", root / name)
    if not usable:
        raise ValueError(f"{root}: none of the sets {', '.join(sets)} holds photos with masks")
    weights = np.array([sets[name] for name in usable], dtype=float)
    return Library(
        sets=tuple(usable.values()),
        set_weights=tuple(weights / weights.sum()),
        outlines=tuple(pictures(root / outlines)) if outlines else (),
        backgrounds=tuple(pictures(root / backgrounds)) if backgrounds else (),
    )


def index_set(folder: Path, known: dict[str, tuple[int, ...]]) -> tuple[Photo, ...]:
    photos = []
    for image in pictures(folder / "images"):
        mask = folder / "masks" / f"{image.stem}.png"
        key = f"{folder.name}/{image.stem}"
        if key not in known and mask.is_file():
            known[key] = usable_instances(read_map(mask))
        if known.get(key):
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
    if image is None or image.ndim != 2:
        raise ValueError(f"{path}: not a grey 8-bit picture")
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
