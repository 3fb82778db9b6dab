"""Videos that the model labels itself: what it finds, follows to the end, and finds again on the way back.

A track that returns to where it began when it is followed backwards was probably right in between
(forward-backward error, Kalal et al. 2010). What is kept is written as labelled videos in DAVIS layout, piece
by piece, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from keepsight.streams import rle
from keepsight.streams.base import SourceError
from keepsight.streams.sinks.masks import encode_png
from keepsight.streams.sources import open_source
from keepsight.streams.sources.reading import ThreadedSource
from keepsight.streams.types import Image, Mask, Prompt, Result

from ..api import Tracker
from ..iou import mask_iou
from ..proposals import everything
from ..transforms import shrunk
from .layouts import videos_in
from .recipe import SelfTraining

LONGEST_SIDE = 512
"""Of the pictures that are kept, in pixels."""
PIECE_GAP = 3
"""Lengths of a piece from the end of one to the start of the next, so that they differ."""
SMALLEST, LARGEST = 0.004, 0.5
"""What an object covers of the first frame."""
DONE = "labelled.json"

Ids = NDArray[np.uint8]


class Teacher(Protocol):
    """What labels: it finds objects in a picture, and tracks masks through pictures."""

    def find(self, image: Image) -> Sequence[Mask]:
        """Masks (H, W) bool of the objects it sees, the surest first."""
        ...

    def track(self, images: Sequence[Image], masks: Mapping[int, Mask]) -> Iterator[Result]:
        """Objects from their masks in the first picture, by id: one result for each picture."""
        ...


@dataclass(frozen=True, slots=True)
class TrackingTeacher:
    """The model as it is."""

    tracker: Tracker

    def find(self, image: Image) -> Sequence[Mask]:
        found = everything(self.tracker.image(image))
        surest = sorted(found, key=lambda one: -one.iou * one.stability)
        return [rle.decode(one.rle) for one in surest]

    def track(self, images: Sequence[Image], masks: Mapping[int, Mask]) -> Iterator[Result]:
        prompts = [Prompt(object_id=name, mask=mask) for name, mask in masks.items()]
        return self.tracker.track(images, prompts)


def label_videos(
    folder: Path,
    labels: Path,
    teacher: Teacher,
    settings: SelfTraining,
    report: Callable[[Path, int, int], None],
) -> None:
    """Label the videos of a folder that are not labelled yet, into `labels`; `report` is told of each one
    that is done, how many are, and of how many. Raises ValueError where nothing at all was kept, and
    SourceError for a video that cannot be read."""
    videos = videos_in(folder)
    kept = read_done(labels)
    for number, video in enumerate(videos, 1):
        if video.name not in kept:
            label_video(video, labels, teacher, settings, kept)
        report(video, number, len(videos))
    if not any(kept.values()):
        raise ValueError(f"{folder}: in its {len(videos)} videos the model followed nothing there and back")


def label_video(
    video: Path, labels: Path, teacher: Teacher, settings: SelfTraining, kept: dict[str, int]
) -> None:
    """Label the pieces of a video that `kept` does not name yet, and write down there what came of each."""
    for piece, images in enumerate(pieces_of(video, settings)):
        name = f"{video.name}_{piece:02}"
        if name not in kept:
            maps = label(images, teacher, settings)
            write_sequence(labels, name, images, maps)
            kept[name] = 0 if maps is None else int(maps.max())
            write_done(labels, kept)
    kept[video.name] = 0
    write_done(labels, kept)


def is_labelled(folder: Path, labels: Path) -> bool:
    """Whether all videos of a folder have been through `label_videos`."""
    return {video.name for video in videos_in(folder)} <= read_done(labels).keys()


def label(images: Sequence[Image], teacher: Teacher, settings: SelfTraining) -> Ids | None:
    """The ids (T, H, W) of what was followed through `images` and back; None where nothing was."""
    started = dict(enumerate(distinct(teacher.find(images[0]), settings.objects), 1))
    if not started:
        return None
    there = list(teacher.track(images, started))
    ended = {one.object_id: one.mask for one in there[-1].tracks if one.mask.any()}
    sure = {name: mask for name, mask in ended.items() if confidence(there, name) >= settings.confidence}
    if not sure:
        return None
    *_, last = teacher.track(images[::-1], sure)
    back = {one.object_id: one.mask for one in last.tracks}
    kept = [name for name in back if mask_iou(started[name], back[name]) >= settings.agreement]
    return np.stack([ids_of(result, kept) for result in there]) if kept else None


def distinct(masks: Sequence[Mask], most: int) -> list[Mask]:
    """The first masks that are neither tiny nor huge, and overlap none before them."""
    chosen: list[Mask] = []
    for mask in masks:
        fits = SMALLEST <= mask.mean() <= LARGEST
        if fits and len(chosen) < most and not any((mask & other).any() for other in chosen):
            chosen.append(mask)
    return chosen


def confidence(results: Sequence[Result], name: int) -> float:
    """The mean over the results of how sure a track is."""
    tracks = (one for result in results for one in result.tracks)
    return float(np.mean([one.confidence for one in tracks if one.object_id == name]))


def ids_of(result: Result, kept: Sequence[int]) -> Ids:
    """(H, W) ids, counted from 1, of the tracks that are kept; where they overlap the surer one is seen."""
    ids: Ids = np.zeros(result.frame.size, np.uint8)
    for one in sorted(result.tracks, key=lambda one: one.confidence):
        if one.object_id in kept:
            ids[one.mask] = 1 + kept.index(one.object_id)
    return ids


def pieces_of(video: Path, settings: SelfTraining) -> Iterator[list[Image]]:
    """Pieces of a video, evenly strided, their pictures (H, W, 3) made small. One that is too short for a
    whole piece gives what it has, if that is two pictures."""
    source = open_source(str(video))
    if not isinstance(source, ThreadedSource):
        raise SourceError(f"{video}: is live; only a recording can be labelled")
    span = settings.frames * settings.stride
    piece: list[Image] = []
    given = 0
    with closing(source.replay()) as frames:
        for frame, _ in frames:
            at = frame.index % (span * (1 + PIECE_GAP))
            if at < span and at % settings.stride == 0:
                piece.append(small(frame.image))
            if len(piece) == settings.frames:
                yield piece
                piece, given = [], given + 1
            if given == settings.pieces:
                return
    if len(piece) > 1 and not given:
        yield piece


def small(image: Image) -> Image:
    height, width = image.shape[:2]
    fit = min(1.0, LONGEST_SIDE / max(height, width))
    return shrunk(image, (round(height * fit), round(width * fit)))


def write_sequence(labels: Path, name: str, images: Sequence[Image], maps: Ids | None) -> None:
    """A labelled video in DAVIS layout; nothing where there are no labels. Annotations come into place last,
    whole, since without them a sequence does not count."""
    if maps is None:
        return
    pictures, masks = labels / "JPEGImages" / name, labels / "Annotations" / name
    part = labels / "part"
    for folder in (pictures, masks, part):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (pictures, part, masks.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for index, (image, ids) in enumerate(zip(images, maps, strict=True)):
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        (pictures / f"{index:05}.jpg").write_bytes(data.tobytes())
        (part / f"{index:05}.png").write_bytes(encode_png(ids))
    part.rename(masks)


def read_done(labels: Path) -> dict[str, int]:
    """How many objects were kept, by name of the piece; finished videos stand there by their file's name."""
    path = labels / DONE
    kept: dict[str, int] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    return kept


def write_done(labels: Path, kept: Mapping[str, int]) -> None:
    labels.mkdir(parents=True, exist_ok=True)
    part = labels / f"{DONE}.part"
    part.write_bytes(orjson.dumps(kept))
    part.replace(labels / DONE)
