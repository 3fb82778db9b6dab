"""States of a tracker at some of the frames it has gone through, to go on from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from keepsight.model.memory import Memory, empty
from keepsight.model.video_predictor import ImageFeatures, VideoPredictor

from .state import TrackerState, TrackRecord, initial

MOST = 64
"""Positions that are kept at most, in each direction."""
CLOSEST = 8
"""Frames between two of them, at first."""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object between two frames: its record and its row of the memory."""

    record: TrackRecord
    row: Memory


@dataclass(slots=True)
class Snapshot:
    """Objects before the frame at one position; input_size and previous are the state's."""

    objects: dict[int, ObjectState]
    input_size: tuple[int, int] | None
    previous: ImageFeatures | None

    @property
    def nbytes(self) -> int:
        held = self.previous.nbytes if self.previous else 0
        return held + sum(one.row.nbytes for one in self.objects.values())


@dataclass(slots=True)
class Snapshots:
    """At most `MOST` positions and `capacity` bytes, but one position at least. Where there are more, every
    second position goes, and those to come are twice as far apart."""

    capacity: int
    spacing: int = CLOSEST
    at: dict[int, Snapshot] = field(default_factory=dict)

    def keep(self, position: int, state: TrackerState) -> None:
        """Copy what `state` says of its objects, unless the position is not one of those that are kept."""
        if position % self.spacing or state.memory is None or not state.records:
            return
        mine = {
            record.object_id: ObjectState(record, copied(state.memory, row))
            for row, record in enumerate(state.slots)
            if record is not None
        }
        known = self.at.setdefault(position, Snapshot({}, state.input_size, state.previous))
        known.objects.update(mine)
        known.input_size, known.previous = state.input_size, state.previous
        self.thin()

    def thin(self) -> None:
        """Drop what is too much."""
        while len(self.at) > 1 and (len(self.at) > MOST or self.nbytes > self.capacity):
            self.spacing *= 2
            self.at = {position: one for position, one in self.at.items() if position % self.spacing == 0}

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in self.at.values())

    def forget(self, object_id: int) -> None:
        for position in list(self.at):
            self.at[position].objects.pop(object_id, None)
            if not self.at[position].objects:
                del self.at[position]

    def nearest(self, births: Mapping[int, int], position: int) -> int | None:
        """The last position up to `position` at which every object that was born before it is known."""
        fit = (
            at
            for at, one in self.at.items()
            if at <= position and all(name in one.objects for name, birth in births.items() if birth < at)
        )
        return max(fit, default=None)

    def state(self, model: VideoPredictor, position: int, names: Iterable[int]) -> TrackerState:
        """The state at a position of those of the objects that it knows, with a free slot for each other."""
        snapshot, names = self.at[position], list(names)
        known = [snapshot.objects[name] for name in names if name in snapshot.objects]
        free = len(names) - len(known)
        if not known or snapshot.input_size is None:
            return initial(len(names))
        shape = model.memory_shape(snapshot.input_size)
        blank = empty(free, model.layout, shape, like=known[0].row.features)
        rows = [*(one.row for one in known), blank]
        return TrackerState(
            slots=(*(one.record for one in known), *(None,) * free),
            memory=Memory(*(torch.cat(parts) for parts in zip(*rows, strict=True))),
            input_size=snapshot.input_size,
            previous=snapshot.previous,
        )


def copied(memory: Memory, row: int) -> Memory:
    """One row of a memory, as a value of its own."""
    return Memory(*(part[row : row + 1].clone() for part in memory))
