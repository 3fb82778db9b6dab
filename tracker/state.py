"""What the tracker knows between two frames: one value of fixed size."""

from __future__ import annotations

from dataclasses import dataclass

from keepsight.model.memory import Memory
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams.types import Box, Correct, Prompt, State

from .crossing import Course

NEVER = -1
"""The index of a frame that has not been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """The life of one object so far.

    confirmed: it has been announced as new; visible, hidden: frames in a row it was so, one of the two is 0;
    seen: time (s) it was last surely visible; box: where that was; confidence: of the last frame;
    remembered: index of the last frame written to the memory; course: where it goes, if that is known.
    """

    object_id: int
    label: str
    seen: float
    state: State = "tentative"
    confirmed: bool = False
    visible: int = 0
    hidden: int = 0
    box: Box | None = None
    confidence: float = 0.0
    remembered: int = NEVER
    course: Course | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerState:
    """The fold's accumulator. `step` gives the old one up: its memory is written in place.

    slots: the object in each row of the memory, None where free; their number never changes.
    next_id: the id of the next object that asks for one; ids are not used twice, not even after a reset.
    pending: commands whose frame has not come yet, at most `commands.MAX_PENDING`.
    memory: made when the first object comes, since its size follows the frame's.
    input_size: the (H, W) the memory was made for.
    previous: features of the frame stepped before, None if nothing was tracked in it.
    """

    slots: tuple[TrackRecord | None, ...]
    next_id: int = 1
    pending: tuple[Prompt | Correct, ...] = ()
    memory: Memory | None = None
    input_size: tuple[int, int] | None = None
    previous: ImageFeatures | None = None

    @property
    def records(self) -> tuple[TrackRecord, ...]:
        """The tracked objects, in the order of their slots."""
        return tuple(record for record in self.slots if record is not None)


def initial(max_objects: int, first_id: int = 1) -> TrackerState:
    """A tracker of nothing, with room for `max_objects`. Raises ValueError if that is no room at all.

    first_id: of the first object that asks for an id, above those that prompts to come will name."""
    if max_objects < 1:
        raise ValueError(f"max_objects is {max_objects}: a tracker needs at least 1 object slot")
    return TrackerState(slots=(None,) * max_objects, next_id=first_id)
