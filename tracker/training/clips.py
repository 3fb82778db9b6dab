"""Clips with known truth, made from still pictures: objects that move, bend, hide each other, leave and
return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import cv2
import numpy as np
from numpy.typing import NDArray

from .library import Array, Library
from .motion import Motion, Vigour, sample_motion

DISTRACTOR = 255
"""Id of what is pasted but is nobody's target."""
CALM = 0.35
"""How fast everything moves in a calm clip at most, 1 being the usual: a few pixels from frame to frame."""
SMALLEST = 0.001
"""The share of the first frame that a target covers at least."""


@dataclass(frozen=True, slots=True)
class Clip:
    """images: (T, H, W, 3) uint8 RGB; ids: (T, H, W) uint8, the target visible at each pixel, 0 for none;
    targets: the ids to track, all of them visible in frame 0."""

    images: Array
    ids: Array
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """frames T; size (H, W); most objects as targets; and chances in [0, 1].

    twin: look-alikes beside an object; crossing: of a look-alike that passes in front of it; rider: a small
    thing that it carries; calm: slow motion in the whole clip; excursion: an object that leaves and returns;
    whole_photo: a background with objects of its own.
    """

    frames: int
    size: tuple[int, int]
    objects: int
    twin: float = 0.5
    crossing: float = 0.3
    rider: float = 0.35
    calm: float = 0.65
    excursion: float = 0.25
    whole_photo: float = 0.5


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture (h, w, 4) with alpha, its ids (h, w), and how it moves."""

    picture: Array
    ids: Array
    motion: Motion


def make_clip(library: Library, settings: ClipSettings, random: np.random.Generator) -> Clip:
    """Draws clips until one has a target that is visible in frame 0."""
    while True:
        pace = CALM * random.random() if random.random() < settings.calm else 1.0
        layers = [base_layer(library, settings, pace, random)]
        layers += pasted_layers(library, settings, pace, random, first_id=int(layers[0].ids.max()) + 1)
        rendered = [render(layers, t, settings.size) for t in range(settings.frames)]
        ids = np.stack([r[1] for r in rendered])
        targets = visible_targets(ids[0], settings.objects, random)
        if targets:
            images = degrade([r[0] for r in rendered], random)
            return Clip(np.stack(images), np.where(ids == DISTRACTOR, 0, ids).astype(np.uint8), targets)


def visible_targets(ids: Array, most: int, random: np.random.Generator) -> tuple[int, ...]:
    """At most `most` of the ids that cover at least `SMALLEST` of the first frame."""
    share = np.bincount(ids.ravel(), minlength=256)[1:DISTRACTOR] / ids.size
    fit = np.flatnonzero(share >= SMALLEST)
    if not len(fit):
        return ()
    chosen = random.choice(fit, min(most, len(fit)), replace=False)
    return tuple(int(i) + 1 for i in chosen)


def base_layer(library: Library, settings: ClipSettings, pace: float, random: np.random.Generator) -> Layer:
    """The background: a photo with its own objects as targets, or a picture without."""
    height, width = settings.size
    if random.random() < settings.whole_photo:
        image, instances, photo = library.photo(random)
        chosen = random.permutation(photo.instances)[:2]
        ids = np.zeros_like(instances)
        for new, old in enumerate(chosen, 1):
            ids[instances == old] = new
    else:
        image = library.background(random)
        ids = np.zeros(image.shape[:2], np.uint8)
    if random.random() < 0.5:
        image, ids = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(ids[:, ::-1])
    fit = max(height / image.shape[0], width / image.shape[1]) * random.uniform(1.05, 1.5)
    shape = (max(2, round(image.shape[1] * fit)), max(2, round(image.shape[0] * fit)))
    image = resized(jitter(image, random), shape, cv2.INTER_LINEAR)
    ids = resized(ids, shape, cv2.INTER_NEAREST)
    strength = pace * 10 ** random.uniform(-1.5, 0)
    vigour = Vigour(0.25 * strength, 0.25 * strength, 0.2 * strength, 0.03 * random.uniform(0, 1))
    motion = sample_motion(random, settings.frames, (width / 2, height / 2), max(height, width), vigour)
    return Layer(np.dstack((image, np.full(ids.shape, 255, np.uint8))), ids, motion)


def pasted_layers(
    library: Library, settings: ClipSettings, pace: float, random: np.random.Generator, first_id: int
) -> list[Layer]:
    """One to three cut-outs, some carrying a small thing, some nobody's target, some among look-alikes."""
    layers: list[Layer] = []
    names = count(first_id)
    for _ in range(random.integers(0 if first_id > 1 else 1, 4)):
        picture = resize_cutout(library.cutout(random), settings.size, random)
        name = next(names) if random.random() < 0.85 else DISTRACTOR
        ids = np.where(picture[..., 3] > 127, name, 0).astype(np.uint8)
        place = random_place(settings.size, random)
        layers.append(paste(picture, ids, place, pace, settings, random))
        if name != DISTRACTOR and random.random() < settings.rider:
            layers[-1] = with_rider(layers[-1], library.cutout(random), next(names), random)
        if random.random() < settings.twin:
            for picture, ids, near in beside(layers[-1], place, names, random):
                layers.append(paste(picture, ids, near, pace, settings, random))
                if random.random() < settings.crossing:
                    layers[-1] = crossing(layers[-1], place, random)
    return layers


def beside(
    layer: Layer, place: tuple[float, float], names: Iterator[int], random: np.random.Generator
) -> list[tuple[Array, Array, tuple[float, float]]]:
    """One to three look-alikes of a layer as (picture, ids, place), near it, some in other light; what one
    carries has a name of its own as well."""
    side = float(np.sqrt(layer.ids.shape[0] * layer.ids.shape[1]))
    twins = []
    for _ in range(random.integers(1, 4)):
        picture = jitter_alpha(layer.picture, random) if random.random() < 0.5 else layer.picture
        renamed = np.zeros(256, np.uint8)
        for old in np.unique(layer.ids[layer.ids > 0]):
            renamed[old] = next(names)
        ids = renamed[layer.ids]
        if random.random() < 0.5:
            picture, ids = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(ids[:, ::-1])
        angle, distance = random.uniform(0, 2 * np.pi), side * random.uniform(0.5, 1.8)
        near = place[0] + distance * np.cos(angle), place[1] + distance * np.sin(angle)
        twins.append((picture, ids, near))
    return twins


def with_rider(layer: Layer, thing: Array, name: int, random: np.random.Generator) -> Layer:
    """The layer with a small thing on it that moves along, such as a bag on a person, under its own name."""
    height, width = layer.ids.shape
    fit = random.uniform(0.2, 0.5) * np.sqrt(height * width / (thing.shape[0] * thing.shape[1]))
    shape = (max(4, round(thing.shape[1] * fit)), max(4, round(thing.shape[0] * fit)))
    if shape[0] >= width or shape[1] >= height:
        return layer
    thing = jitter_alpha(resized(thing, shape, cv2.INTER_AREA), random)
    rows, columns = np.nonzero(layer.ids)
    if not len(rows):
        return layer
    at = random.integers(len(rows))
    top = int(np.clip(rows[at] - shape[1] // 2, 0, height - shape[1]))
    left = int(np.clip(columns[at] - shape[0] // 2, 0, width - shape[0]))
    window = np.s_[top : top + shape[1], left : left + shape[0]]
    picture, ids = layer.picture.copy(), layer.ids.copy()
    solid = thing[..., 3:] > 127
    picture[window] = np.where(solid, thing, picture[window])
    ids[window] = np.where(solid[..., 0], name, ids[window])
    return replace(layer, picture=picture, ids=ids)


def crossing(layer: Layer, place: tuple[float, float], random: np.random.Generator) -> Layer:
    """The layer, passing `place` (x, y) on its way: as far beyond it at the end as it is before it in the
    first frame, or up to half as far again."""
    way = (np.array(place) - layer.motion.centre[0]) * random.uniform(1.5, 2.5)
    passed = np.linspace(0, 1, len(layer.motion.centre)).reshape(-1, 1) * way
    centre = np.asarray(layer.motion.centre + passed, np.float32)
    return replace(layer, motion=replace(layer.motion, centre=centre))


def random_place(size: tuple[int, int], random: np.random.Generator) -> tuple[float, float]:
    return random.uniform(0.1, 0.9) * size[1], random.uniform(0.1, 0.9) * size[0]


def resize_cutout(picture: Array, size: tuple[int, int], random: np.random.Generator) -> Array:
    side = np.sqrt(size[0] * size[1]) * np.exp(random.uniform(np.log(0.11), np.log(0.65)))
    fit = side / np.sqrt(picture.shape[0] * picture.shape[1])
    shape = (max(4, round(picture.shape[1] * fit)), max(4, round(picture.shape[0] * fit)))
    picture = resized(picture, shape, cv2.INTER_AREA if fit < 1 else cv2.INTER_LINEAR)
    if random.random() < 0.5:
        picture = picture[:, ::-1]
    return jitter_alpha(np.ascontiguousarray(picture), random)


def paste(
    picture: Array,
    ids: Array,
    place: tuple[float, float],
    pace: float,
    settings: ClipSettings,
    random: np.random.Generator,
) -> Layer:
    side = max(settings.size)
    strength = pace * 10 ** random.uniform(-1.2, 0)
    vigour = Vigour(0.7 * strength, 0.6 * strength, 0.35 * strength, 0.04 * random.uniform(0, 1))
    motion = sample_motion(random, settings.frames, place, side, vigour)
    if random.random() < settings.excursion:
        motion = with_excursion(motion, random, side)
    return Layer(picture, ids, motion)


def with_excursion(motion: Motion, random: np.random.Generator, side: float) -> Motion:
    """The same motion with a trip out of the frame in the middle, and back."""
    frames = len(motion.centre)
    out = int(random.integers(1, max(2, frames - 1)))
    length = int(random.integers(1, max(2, frames - out)))
    away = np.zeros((frames, 2), np.float32)
    angle = random.uniform(0, 2 * np.pi)
    away[out : out + length] = np.array((np.cos(angle), np.sin(angle))) * side * 1.3
    return replace(motion, centre=motion.centre + away)


def render(layers: list[Layer], t: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """One frame (H, W, 3) and its ids (H, W), layers painted in order."""
    image = np.zeros((*size, 3), np.float32)
    ids: Array = np.zeros(size, np.uint8)
    for depth, layer in enumerate(layers):
        maps = layer.motion.maps(t, (layer.ids.shape[0], layer.ids.shape[1]), size)
        border = cv2.BORDER_REFLECT_101 if depth == 0 else cv2.BORDER_CONSTANT
        picture = cv2.remap(layer.picture, *maps, cv2.INTER_LINEAR, borderMode=border)
        names = np.asarray(cv2.remap(layer.ids, *maps, cv2.INTER_NEAREST, borderMode=border), np.uint8)
        alpha = picture[..., 3:].astype(np.float32) * (1 / 255)
        image += alpha * (picture[..., :3] - image)
        ids = np.where(names > 0, names, np.where(alpha[..., 0] > 0.5, 0, ids)) if depth else names
    return np.clip(image, 0, 255).astype(np.uint8), ids


def degrade(images: list[Array], random: np.random.Generator) -> list[Array]:
    """Light that drifts or is dim, blur, noise and compression, alike over the clip."""
    dim = random.uniform(0.4, 0.8) if random.random() < 0.25 else 1.0
    gain = dim * np.linspace(1, random.uniform(0.75, 1.25), len(images))
    offset = np.linspace(0, random.uniform(-15, 15), len(images))
    blur = random.uniform(0.4, 1.5) if random.random() < 0.3 else 0.0
    noise = random.uniform(2, 10) if random.random() < 0.4 else 0.0
    quality = int(random.integers(25, 80)) if random.random() < 0.4 else 0
    out: list[Array] = []
    for image, g, o in zip(images, gain, offset, strict=True):
        if blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
        values = image * np.float32(g) + np.float32(o)
        if noise:
            values += random.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
        image = np.clip(values, 0, 255).astype(np.uint8)
        out.append(recompress(image, quality) if quality else image)
    return out


def resized(picture: Array, shape: tuple[int, int], interpolation: int) -> Array:
    """shape: (width, height)."""
    return np.asarray(cv2.resize(picture, shape, interpolation=interpolation), np.uint8)


def recompress(image: Array, quality: int) -> Array:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def jitter(image: Array, random: np.random.Generator) -> Array:
    """Another exposure, contrast and colour cast."""
    gain = np.float32(random.uniform(0.75, 1.25)) * random.uniform(0.9, 1.1, 3).astype(np.float32)
    gamma = random.uniform(0.75, 1.3)
    table = np.arange(256, dtype=np.float32).reshape(-1, 1) / 255
    table = np.clip(table**gamma * gain * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table.reshape(1, 256, 3)), np.uint8)


def jitter_alpha(picture: Array, random: np.random.Generator) -> Array:
    return np.dstack((jitter(np.ascontiguousarray(picture[..., :3]), random), picture[..., 3]))


Targets = NDArray[np.float32]


def target_masks(clip: Clip, shrink: int = 2) -> Targets:
    """Area-averaged masks of the targets: (N, T, H/shrink, W/shrink) float32 in [0, 1]."""
    t, height, width = clip.ids.shape
    masks = clip.ids[None] == np.array(clip.targets, np.uint8).reshape(-1, 1, 1, 1)
    blocks = masks.reshape(len(clip.targets), t, height // shrink, shrink, width // shrink, shrink)
    return np.asarray(blocks.mean((3, 5), dtype=np.float32))
