"""One stream's fold while it runs: the state between two frames, and the thread that owns the model."""

from __future__ import annotations

from collections.abc import Sequence

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.threads import Worker
from keepsight.streams.types import Command, Event, Frame, Result

from .events import finish
from .settings import TrackerSettings
from .state import initial
from .step import step


class TrackerSession:
    """Steps one stream in the model's thread, and holds the only reference to the stream's state."""

    def __init__(
        self, worker: Worker, model: VideoPredictor, max_objects: int, settings: TrackerSettings
    ) -> None:
        self._worker = worker
        self._model = model
        self._settings = settings
        self._state = initial(max_objects)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        self._state, result = await self._worker.run(
            step, self._model, self._state, frame, commands, self._settings
        )
        return result

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return finish(self._state, frame)
