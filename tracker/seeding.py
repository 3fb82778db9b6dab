"""Objects that a stream finds itself: what moves and is not tracked yet is prompted, as a user would.

The policy of slots. What a user shows goes first: of things that move only so many are taken that a slot
stays free. One that was found is forgotten when it has been as good as hidden for `forget_after` seconds,
when it has not moved for `still_after` seconds (it is found again when it moves), or when its mask and
that of a user's or of an older track are the same. What a user showed is never forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from keepsight.streams.types import (
    Command,
    Correct,
    Forget,
    Frame,
    Mask,
    Point,
    Prompt,
    Result,
    Track,
)

from .around import Around
from .iou import mask_iou
from .moving_things import Blob, MovingThings, overlap
from .pipeline import Session

TAKEN = 0.3
"""What overlaps a track by this part of the smaller of the two is that track."""
MISSED = 3
"""In so many frames in a row no track of that frame may cover a thing before it is prompted. Of what moves
fast, the tracks of the frame before are beside it."""
SAME = 0.7
"""Two tracks with this mask IoU are one thing."""
STILL = 0.04
"""What stays within such a distance, in parts of the frame, stands still."""
AGAIN_SECONDS = 3.0
"""What was prompted and is not covered by a track is not prompted again sooner: the model does not see it, or
it is the place of something that has left."""
BELIEVED = 0.1
"""What a track is less sure of is not seen."""
TOKEN = "auto"


@dataclass(frozen=True, slots=True)
class SeedingSettings:
    """forget_after: seconds that what was found may be hidden; still_after: seconds that it may stand still,
    within `STILL`; reserve: slots kept free for users; label: what it is called."""

    forget_after: float = 3.0
    still_after: float = 20.0
    reserve: int = 1
    label: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of an object that was found. Times in seconds; place: where its centre was at `since`."""

    seen: float
    since: float
    place: Point | None = None

    def later(self, seconds: float) -> Finding:
        """The same where so many seconds do not count."""
        return replace(self, seen=self.seen + seconds, since=self.since + seconds)

    def after(self, track: Track, now: float) -> Finding:
        """As of a frame at time `now`."""
        if track.box is None or track.confidence < BELIEVED:
            return self
        x0, y0, x1, y1 = track.box
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        if self.place is not None and math.dist(self.place, centre) < STILL:
            return replace(self, seen=now)
        return Finding(now, now, centre)


class Findings:
    """What a session has found, as of the last frame: whose objects are its own, and for how long they were
    hidden or still. While a camera was away nobody looked, so that time does not count."""

    def __init__(self, settings: SeedingSettings) -> None:
        self.tracks: tuple[Track, ...] = ()
        self._settings = settings
        self._mine: dict[int, Finding] = {}
        self._epoch = 0
        self._now = -math.inf

    def given_up(self) -> tuple[int, ...]:
        """Which are to be forgotten."""
        return given_up(self.tracks, self._mine, self._now, self._settings)

    def note(self, result: Result) -> None:
        frame = result.frame
        if frame.epoch != self._epoch:
            away = frame.time - self._now
            self._mine = {number: found.later(away) for number, found in self._mine.items()}
        self._mine = noted(self._mine, result)
        self.tracks, self._epoch, self._now = result.tracks, frame.epoch, frame.time


class MotionSession(Around):
    """A session that finds what moves by itself. `run` calls a function in the thread for such work; `is_on`:
    whether it is to find anything now."""

    def __init__(
        self,
        session: Session,
        run: Callable[..., Awaitable[tuple[Blob, ...]]],
        is_on: Callable[[], bool],
        max_objects: int,
        settings: SeedingSettings | None = None,
        things: MovingThings | None = None,
    ) -> None:
        super().__init__(session)
        self._run = run
        self._is_on = is_on
        self._room = max_objects
        self._settings = settings or SeedingSettings()
        self._things = things or MovingThings()
        self._found = Findings(self._settings)
        self._missed: dict[int, int] = {}
        self._prompted: dict[int, float] = {}

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        """The step of the session with what is found in the frame prompted, and what is to be given up
        forgotten; not in a frame in which a user shows something, which may be the very same."""
        blobs = await self._run(self._things.look, frame.image, frame.time)
        found: tuple[Command, ...] = ()
        if self._is_on() and not any(isinstance(command, Prompt | Correct) for command in commands):
            gone = self._found.given_up()
            room = self._room - len(self._found.tracks) + len(gone) - self._settings.reserve
            news = [blob for blob in blobs if self._is_new(blob, frame.time)][: max(0, room)]
            self._prompted |= {blob.number: frame.time for blob in news}
            found = (
                *(Forget(number, TOKEN) for number in gone),
                *(Prompt(box=blob.box, label=self._settings.label, request=TOKEN) for blob in news),
            )
        result = await self._session.step(frame, (*commands, *found))
        self._found.note(result)
        there = {blob.number for blob in blobs}
        self._prompted = {number: at for number, at in self._prompted.items() if number in there}
        free = untracked(blobs, result.tracks)
        self._missed = {blob.number: self._missed.get(blob.number, 0) + 1 for blob in free}
        return result

    def _is_new(self, blob: Blob, now: float) -> bool:
        """Whether a blob has been there without a track for long enough, and was not prompted just now."""
        before = self._prompted.get(blob.number, -math.inf)
        return self._missed.get(blob.number, 0) >= MISSED and now - before >= AGAIN_SECONDS


def noted(mine: Mapping[int, Finding], result: Result) -> dict[int, Finding]:
    """Which objects are ours after a result, and when each was last seen. What a user showed or corrected
    is the user's from then on."""
    there = {track.object_id: track for track in result.tracks}
    last_shown = {
        one.object_id: one.command.request == TOKEN
        for one in result.applied
        if isinstance(one.command, Prompt | Correct) and one.object_id is not None
    }
    ours = {number for number in {*mine, *last_shown} if last_shown.get(number, True)}
    now = result.frame.time
    return {
        number: mine.get(number, Finding(now, now)).after(there[number], now)
        for number in ours
        if number in there
    }


def untracked(blobs: Iterable[Blob], tracks: Sequence[Track]) -> list[Blob]:
    """The blobs, largest first, that no track covers."""
    blobs = list(blobs)
    if not blobs:
        return []
    masks = [at_size(track.mask, blobs[0].mask.shape) for track in tracks if track.box]
    return [blob for blob in blobs if all(overlap(blob.mask, mask) < TAKEN for mask in masks)]


def given_up(
    tracks: Sequence[Track], mine: Mapping[int, Finding], now: float, settings: SeedingSettings
) -> tuple[int, ...]:
    """The objects of our own that are hidden or still for too long, or are the same as a user's or an older
    one, at the time `now` of the frame that `tracks` are of: of a later one nobody knows yet what is in it.
    """
    old = {
        number
        for number, found in mine.items()
        if now - found.seen > settings.forget_after or now - found.since > settings.still_after
    }
    there = [track for track in tracks if track.box]
    there.sort(key=lambda track: track.object_id in mine)  # what a user showed before what was found
    double = {
        later.object_id
        for at, first in enumerate(there)
        for later in there[at + 1 :]
        if later.object_id in mine and mask_iou(first.mask, later.mask) > SAME
    }
    return tuple(sorted(old | double))


def at_size(mask: Mask, size: tuple[int, ...]) -> Mask:
    """A mask (H, W) at another size (h, w)."""
    if mask.shape == size:
        return mask
    small = cv2.resize(mask.view(np.uint8) * 255, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small > 127)
