"""One stream's fold while it runs: the state between two frames, and the threads that run the model."""

from __future__ import annotations

from collections.abc import Sequence

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import Command, Event, Frame, Result, Timings

from .engine import ModelThreads
from .events import finish
from .settings import TrackerSettings
from .state import initial
from .step import Encoded, encode, step

MANY = 3
"""Objects, from which on tracking takes longer than encoding. Then whatever does not depend on them is done
by the thread that encodes."""


class TrackerSession:
    """Steps one stream in the model's threads, and holds the only reference to the stream's state."""

    def __init__(
        self, threads: ModelThreads, model: VideoPredictor, max_objects: int, settings: TrackerSettings
    ) -> None:
        self._threads = threads
        self._model = model
        self._settings = settings
        self._state = initial(max_objects)
        self._timings = Timings()
        self._prepared: tuple[Frame, Encoded] | None = None
        self._stepping: Encoded | None = None

    def spare(self) -> float | None:
        """None where nothing is tracked: frames without objects are not encoded."""
        if not self._state.records:
            return None
        last = self._timings
        return max(0.0, last.attention + last.masks + last.memory - last.encode)

    async def prepare(self, frame: Frame) -> None:
        """Encode the frame that is stepped next."""
        before = self._stepping if len(self._state.records) >= MANY else None
        self._prepared = frame, await self._threads.encoder.run(encode, self._model, frame, before)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        encoded = self._prepared[1] if self._prepared and self._prepared[0] is frame else None
        self._prepared, self._stepping = None, encoded
        self._state, result = await self._threads.tracker.run(
            step, self._model, self._state, frame, commands, self._settings, encoded
        )
        self._timings = result.timings
        return result

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return finish(self._state, frame)
