"""Objects that a search finds every so many seconds: what no track covers is prompted, as a user would.

The policy of slots is that of what moves (`seeding.py`), but that nothing is forgotten for standing still: it
would be found again by the next search.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keepsight.streams import rle
from keepsight.streams.types import Box, Command, Forget, Frame, Image, Mask, Prompt, Result, Track

from .around import Around
from .iou import box_iou
from .moving_things import overlap
from .pipeline import Session
from .seeding import TAKEN, TOKEN, Findings, MotionSession, SeedingSettings

if TYPE_CHECKING:
    from keepsight.model.image_predictor import ImagePredictor

    from .auto import Auto
    from .detector import Detector
    from .engine import ModelThreads

SAME_BOX = 0.35
"""A box and a track whose boxes have this IoU are one thing."""
CLICKS = 8
"""Along each side of a frame, when a grid of them is tried: a few seconds' work on two cores."""
SMALLEST, LARGEST = 0.001, 0.15
"""Parts of the frame that what the grid finds may have: what is larger is mostly background."""
POLICY = SeedingSettings(still_after=math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Something that was found: where, what it is called, and where that is known its mask (H, W)."""

    box: Box
    label: str = ""
    mask: Mask | None = None


Search = Callable[[Image], Awaitable[tuple[Thing, ...]]]
"""Finds what is in a picture, what is to be tracked first."""


class FindingSession(Around):
    """A session that searches every `every` seconds of its frames' times. `is_on`: whether it is to now.

    What was found in a frame is compared with the tracks of that very frame, and prompted with the next one
    as on the frame before: nothing is missed, nor taken twice, for having moved on meanwhile. A step that
    searches takes as long as that: of a live source frames are dropped, a file waits.
    """

    def __init__(
        self, session: Session, search: Search, every: float, is_on: Callable[[], bool], max_objects: int
    ) -> None:
        super().__init__(session)
        self._search = search
        self._every = every
        self._is_on = is_on
        self._room = max_objects
        self._next = -math.inf
        self._found = Findings(POLICY)
        self._news: tuple[Prompt, ...] = ()

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        own: tuple[Command, ...] = ()
        if self._is_on():
            gone = self._found.given_up()
            own = (*self._news, *(Forget(number, TOKEN) for number in gone))  # forgetting ends going back
        result = await self._session.step(frame, (*commands, *own))
        self._found.note(result)
        self._news = await self._find(frame) if self._is_on() and frame.time >= self._next else ()
        return result

    async def _find(self, frame: Frame) -> tuple[Prompt, ...]:
        """What is to be prompted of what is in the frame that was just stepped."""
        self._next = frame.time + self._every
        room = max(0, self._room - len(self._found.tracks) - POLICY.reserve)
        if not room:
            return ()
        news = new_things(await self._search(frame.image), self._found.tracks)
        return tuple(prompt_of(thing, frame) for thing in news[:room])


def prompt_of(thing: Thing, frame: Frame) -> Prompt:
    box = thing.box if thing.mask is None else None
    return Prompt(box=box, mask=thing.mask, label=thing.label, frame_ref=frame.ref, request=TOKEN)


def new_things(found: Iterable[Thing], tracks: Sequence[Track]) -> list[Thing]:
    """Those that are not tracked, in the order they came."""
    return [thing for thing in found if not any(is_tracked(thing, track) for track in tracks)]


def is_tracked(thing: Thing, track: Track) -> bool:
    """By the overlap of masks in parts of the smaller, so that a part of a thing is that thing; by the IoU of
    boxes where there is no mask, since boxes of things behind each other overlap."""
    if track.box is None:
        return False
    if thing.mask is not None:
        return overlap(thing.mask, track.mask) >= TAKEN
    return box_iou(thing.box, track.box) >= SAME_BOX


async def finding(
    session: Session,
    auto: Auto,
    threads: ModelThreads,
    model: ImagePredictor,
    is_on: Callable[[], bool],
    max_objects: int,
) -> Session:
    """A session that finds what `auto` says. Raises ConfigError for a detector that is none."""
    if auto.kind == "motion":
        return MotionSession(session, threads.encoder.run, is_on, max_objects)
    if auto.kind == "grid":

        async def search(image: Image) -> tuple[Thing, ...]:
            return await threads.tracker.run(by_grid, model, image)

    else:
        from .detector import open_detector

        assert auto.file is not None
        # not in the models' threads, either: those are all cameras', and files may be slow to come
        detector = await asyncio.to_thread(open_detector, auto.file, auto.labels, auto.confidence)

        async def search(image: Image) -> tuple[Thing, ...]:
            return await threads.encoder.run(by_detector, detector, image)

    return FindingSession(session, search, auto.every, is_on, max_objects)


def by_detector(detector: Detector, image: Image) -> tuple[Thing, ...]:
    return tuple(Thing(found.box, name) for found, name in detector.detect(image))


def by_grid(model: ImagePredictor, image: Image, clicks: int = CLICKS) -> tuple[Thing, ...]:
    """Everything of a sensible size that is apart from what is surer, the surest first: by so many clicks
    along each side. In the model's thread."""
    from .image_batches import encode_pictures
    from .proposals import everything, usual_settings

    pixels = image.shape[0] * image.shape[1]
    settings = replace(usual_settings(model), points_per_side=clicks)
    kept: list[Thing] = []
    found = everything(next(encode_pictures(model, [image], 1)), settings)
    for segment in sorted(found, key=lambda one: -one.iou * one.stability):
        mask = rle.decode(segment.rle)
        if segment.box is None or not SMALLEST <= segment.area / pixels <= LARGEST:
            continue
        if all(overlap(mask, thing.mask) < TAKEN for thing in kept if thing.mask is not None):
            kept.append(Thing(segment.box, mask=mask))
    return tuple(kept)
