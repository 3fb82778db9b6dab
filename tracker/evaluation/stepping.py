"""A tracker as evaluation drives it: with a slot for each object, and step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from keepsight.streams.types import Frame, Image, Prompt, Result

from ..api import Tracker
from ..state import initial
from ..step import step
from .propagator import Track
from .streaming import Step


def one_slot_each(tracker: Tracker) -> Track:
    """Tracks with as many slots as there are prompts: some sequences have hundreds of objects."""

    def track(images: Iterable[Image], prompts: Sequence[Prompt]) -> Iterator[Result]:
        return replace(tracker, max_objects=max(1, len(prompts))).track(images, prompts)

    return track


def stepped(tracker: Tracker) -> Callable[[int], Step]:
    """Begins a stream for a number of objects, stepped in the caller's thread."""

    def start(objects: int) -> Step:
        state = initial(max(1, objects))

        def one_step(frame: Frame, prompts: Sequence[Prompt]) -> Result:
            nonlocal state
            state, result = step(tracker.model, state, frame, prompts, tracker.settings)
            return result

        return one_step

    return start
