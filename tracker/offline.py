"""Tracking in a recording rather than a stream: prompts on any frame, in both directions, corrected at will.

Each object is tracked forwards from its first prompt and backwards from its last one. Between two prompts the
direction whose prompt is nearer speaks, so that a correction mends what came before it as well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.recording import Recording
from keepsight.streams.types import Correct, Frame, Geometry, Mask, Prompt, Result, Track

from .commands import shows_an_object, together
from .settings import TrackerSettings
from .snapshots import Snapshots
from .state import TrackerState, initial
from .step import encode, step
from .track_store import TrackStore, open_store

SNAPSHOT_BYTES = 128 * 2**20
"""What the snapshots of one direction take at most."""

Prompted = Mapping[int, Geometry]
"""What was shown of one object, by frame."""


@dataclass(slots=True)
class Sweep:
    """One direction. Positions count frames in the order in which it goes through them, from 0.

    valid: by object, the position up to which (not included) its tracks and its snapshots hold.
    """

    backwards: bool
    recording: Recording
    snapshots: Snapshots
    valid: dict[int, int] = field(default_factory=dict)

    def turned(self, index: int) -> int:
        """A frame's position, and a position's frame."""
        return self.recording.frame_count - 1 - index if self.backwards else index

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """The frames at positions `start` to `stop`, position and time as the tracker is to know them."""
        if not self.backwards:
            yield from self.recording.forwards(start, stop)
            return
        for frame in self.recording.backwards(self.turned(start) + 1, self.turned(stop) + 1):
            yield replace(frame, index=self.turned(frame.index), time=self.recording.seconds - frame.time)

    def birth(self, prompted: Prompted) -> int:
        return min(map(self.turned, anchors(prompted)))

    def end(self, prompted: Prompted) -> int:
        """The position up to which (not included) an object's tracks are wanted."""
        if not self.backwards:
            return self.recording.frame_count
        first, *later = anchors(prompted)
        if first > 0:
            return self.recording.frame_count
        gaps = zip((first, *later), later, strict=False)
        wanted = ((before + after) // 2 + 1 for before, after in gaps if after - before > 2)
        return next((self.turned(frame) + 1 for frame in wanted), 0)

    def changed(self, object_id: int, frame: int) -> None:
        """What was found of an object from a frame on holds no more."""
        position = self.turned(frame)
        self.valid[object_id] = min(self.valid.get(object_id, position), position)

    def forget(self, object_id: int) -> None:
        self.valid.pop(object_id, None)
        self.snapshots.forget(object_id)

    def resume(self, model: VideoPredictor, stale: Mapping[int, Prompted]) -> tuple[int, TrackerState]:
        """The last position from which the stale objects can be tracked again, and their state there."""
        births = {name: self.birth(prompted) for name, prompted in stale.items()}
        nearest = self.snapshots.nearest(births, min(self.valid[name] for name in stale))
        first = min(births.values())
        if nearest is None or nearest < first:
            return first, initial(len(stale))
        return nearest, self.snapshots.state(model, nearest, stale)


class OfflineTracker:
    """Objects in a recording. Made by `Tracker.offline`; results are kept on disk until that block is left.

    Nothing is tracked before it is asked for: `update` tracks what is new, and after corrections only the
    corrected objects, from the last snapshot before the first of these. What this gives is what a run from
    the beginning would give: on a CPU to the bit. So objects are not untangled: each is tracked by itself.
    """

    def __init__(
        self, model: VideoPredictor, settings: TrackerSettings, recording: Recording, store: TrackStore
    ) -> None:
        self.recording = recording
        self._model = model
        self._settings = replace(settings, forget_lost_after=None, untangle=False)
        self._store = store
        self._prompted: dict[int, dict[int, Geometry]] = {}
        self._labels: dict[int, str] = {}
        self._sweeps = tuple(
            Sweep(backwards, recording, Snapshots(SNAPSHOT_BYTES)) for backwards in (False, True)
        )

    def show(self, frame: int, shown: Prompt | Correct) -> int:
        """Show a new object, or correct a known one, on any frame; the object's id. `frame_ref` is not looked
        at. Raises ValueError for what cannot be meant."""
        known = self._prompted.get(shown.object_id or 0, {})
        check(shown, frame, self.recording, bool(known))
        object_id = shown.object_id or max(self._prompted, default=0) + 1
        earlier = known.get(frame, Geometry())
        self._prompted[object_id] = {**known, frame: together(earlier, shown)}
        if isinstance(shown, Prompt) and shown.label:
            self._labels[object_id] = shown.label
        for sweep in self._sweeps:
            sweep.changed(object_id, frame)
        return object_id

    def forget(self, object_id: int) -> None:
        """As if the object had never been shown. Raises ValueError where there is none of this id."""
        if object_id not in self._prompted:
            raise ValueError(f"there is no object {object_id}")
        del self._prompted[object_id]
        self._labels.pop(object_id, None)
        self._store.forget(object_id)
        for sweep in self._sweeps:
            sweep.forget(object_id)

    def update(self, progress: Callable[[int], None] | None = None) -> int:
        """Track what is not tracked yet or no more; the number of frames stepped, both directions together.
        `progress` is told that number after each. Can be interrupted and called again."""
        stepped = 0
        for sweep in self._sweeps:
            for _ in self._track(sweep):
                stepped += 1
                if progress is not None:
                    progress(stepped)
        return stepped

    def waiting(self) -> int:
        """How many frames `update` would step at most, both directions together."""
        return sum(
            max(sweep.end(prompted) for prompted in stale.values())
            - min(sweep.birth(prompted) for prompted in stale.values())
            for sweep in self._sweeps
            if (stale := self._stale(sweep))
        )

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[Result]:
        """Frames `start` to `stop` (the end if None) with their tracks, once `update` is done. States are
        told as the direction saw them; there are no events."""
        self.update()
        for frame in self.recording.forwards(start, stop):
            yield Result(frame, self.tracks(frame.index))

    def tracks(self, frame: int) -> tuple[Track, ...]:
        """The tracks of one frame as of the last `update`, in the order of their ids."""
        found = (
            self._store.get(object_id, frame, is_backwards(prompted, frame))
            for object_id, prompted in sorted(self._prompted.items())
        )
        return tuple(track for track in found if track is not None)

    def _track(self, sweep: Sweep) -> Iterator[int]:
        """Bring one direction up to date, frame by frame."""
        stale = self._stale(sweep)
        if not stale:
            return
        start, state = sweep.resume(self._model, stale)
        for frame in sweep.frames(start, max(map(sweep.end, stale.values()))):
            position, index = frame.index, sweep.turned(frame.index)
            prompts = [
                self._prompt(name, shown[index])
                for name, shown in stale.items()
                if index in shown and position >= sweep.birth(shown)
            ]
            encoded = encode(self._model, frame, size=self._input_size)
            state, result = step(self._model, state, frame, prompts, self._settings, encoded)
            assert not result.refusals, result.refusals
            self._store.put(index, sweep.backwards, result.tracks)
            sweep.snapshots.keep(position + 1, state)
            for track in result.tracks:
                sweep.valid[track.object_id] = max(sweep.valid[track.object_id], position + 1)
            yield position

    @cached_property
    def _input_size(self) -> tuple[int, int]:
        """That of the first frame, for all: pictures of a folder may differ in size, and what is remembered
        of one object must fit what is remembered of another."""
        return self._model.input_size(next(self.recording.forwards(0, 1)).size)

    def _stale(self, sweep: Sweep) -> dict[int, Prompted]:
        """What was shown of the objects whose tracks do not hold as far as they are wanted."""
        return {
            name: prompted
            for name, prompted in self._prompted.items()
            if sweep.valid[name] < sweep.end(prompted)
        }

    def _prompt(self, object_id: int, shown: Geometry) -> Prompt:
        return Prompt(
            points=shown.points,
            labels=shown.labels,
            box=shown.box,
            mask=shown.mask,
            object_id=object_id,
            label=self._labels.get(object_id, ""),
        )


@contextmanager
def open_offline(
    model: VideoPredictor, settings: TrackerSettings, recording: Recording
) -> Iterator[OfflineTracker]:
    """A tracker of nothing yet; its results are deleted at the end of the block."""
    with closing(open_store()) as connection:
        yield OfflineTracker(model, settings, recording, TrackStore(connection))


def is_backwards(prompted: Prompted, frame: int) -> bool:
    """Whether a frame's track is the one found backwards: no prompt is before it, or a nearer one after."""
    frames = anchors(prompted)
    after = bisect_right(frames, frame)
    if after == 0 or after == len(frames):
        return after == 0
    return frame - frames[after - 1] > frames[after] - frame


def anchors(prompted: Prompted) -> list[int]:
    """The frames of an object's prompts, rising, from the first that shows where it is to the last that does.

    A direction begins at one of these two. Where a prompt beyond only says where the object is not, the
    direction that comes by from within hears it.
    """
    showing = [frame for frame, shown in prompted.items() if shows_an_object(shown)]
    return [frame for frame in sorted(prompted) if min(showing) <= frame <= max(showing)]


def check(shown: Prompt | Correct, frame: int, recording: Recording, known: bool) -> None:
    """Raises ValueError for a prompt that could not be carried out."""
    if not 0 <= frame < recording.frame_count:
        raise ValueError(f"there is no frame {frame}: the recording has {recording.frame_count}")
    if isinstance(shown, Correct) and not known:
        raise ValueError(f"there is no object {shown.object_id} to correct")
    if shown.object_id is not None and shown.object_id < 1:
        raise ValueError(f"object id {shown.object_id}: ids count from 1 (0 is the background)")
    if shown.mask is not None:
        check_mask(shown.mask, next(recording.forwards(frame, frame + 1)).size)
    if shown.is_empty or not (known or shows_an_object(shown)):
        raise ValueError("a new object needs a box, a mask or a point that is on it")


def check_mask(mask: Mask, size: tuple[int, int]) -> None:
    """Raises ValueError where a mask is empty or has not the frame's size (height, width)."""
    if mask.shape != size:
        shape, wanted = (f"{width}x{height}" for height, width in (mask.shape, size))
        raise ValueError(f"the mask is {shape} but the frame is {wanted}: give a mask of the frame's size")
    if not mask.any():
        raise ValueError("the mask is empty: mark at least one pixel of the object")
