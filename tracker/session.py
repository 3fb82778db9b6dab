"""One stream's fold while it runs: the state between two frames, and the threads that run the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.types import Command, Event, Frame, Result, Timings

from .engine import ModelThreads
from .events import finish
from .looking_ahead import Due
from .rewind import Recent, rewind
from .settings import TrackerSettings
from .state import initial
from .step import Encoded, encode, kept_size, step

MANY = 3
"""With so many objects `nano` takes longer to track than to encode. What does not depend on them is then
done by the thread that encodes."""


class TrackerSession:
    """Steps one stream in the model's threads, and holds the only reference to the stream's state.

    `rewinds`: keep the last frames, so that who points at one of them is understood (see `rewind.py`);
    `first_id`: see `initial`.
    """

    def __init__(
        self,
        threads: ModelThreads,
        model: VideoPredictor,
        max_objects: int,
        settings: TrackerSettings,
        *,
        rewinds: bool = False,
        first_id: int = 1,
    ) -> None:
        self._threads = threads
        self._model = model
        self._settings = settings
        self._state = initial(max_objects, first_id)
        self._timings = Timings()
        self._prepared: tuple[tuple[Frame, Encoded], ...] = ()
        self._before: Encoded | None = None
        self._begun = asyncio.Event()
        self._recent = Recent() if rewinds else None

    def when_due(self, frame: Frame) -> Due | None:
        """None where nothing is tracked: frames without objects are not encoded. The time to spare counts
        from when the step begins, which with several streams is not when it is asked for."""
        self._before = self._encoded(frame) if len(self._state.records) >= MANY else None
        if not self._state.records:
            return None
        last, self._begun = self._timings, asyncio.Event()
        begun, spare = self._begun, max(0.0, last.attention + last.masks + last.memory - last.encode)

        async def wait() -> None:
            await begun.wait()
            await asyncio.sleep(spare)

        return wait

    async def prepare(self, frame: Frame) -> None:
        """Encode the frame that is stepped next."""
        size = kept_size(self._state)
        encoded = await self._threads.encoder.run(encode, self._model, frame, self._before, size)
        self._prepared += ((frame, encoded),)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        encoded, begun = self._encoded(frame), self._begun
        self._prepared = tuple(pair for pair in self._prepared if pair[0].index > frame.index)
        result = await self._threads.tracker.run_announced(begun, self._step, frame, commands, encoded)
        self._timings = result.timings
        return result

    def _step(self, frame: Frame, commands: Sequence[Command], encoded: Encoded | None) -> Result:
        """In the model's thread."""
        model, settings, recent = self._model, self._settings, self._recent
        if recent is None:
            self._state, result = step(model, self._state, frame, commands, settings, encoded)
            return result
        rewound = rewind(model, self._state, recent, commands, settings)
        self._state, result = step(model, rewound.state, frame, rewound.later, settings, encoded)
        recent.keep(model, frame, self._state)
        return rewound.told(result)

    def _encoded(self, frame: Frame) -> Encoded | None:
        return next((encoded for prepared, encoded in self._prepared if prepared is frame), None)

    @property
    def memory_bytes(self) -> int:
        """What the memory of the objects holds; 0 before the first one."""
        return self._state.memory.nbytes if self._state.memory else 0

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return finish(self._state, frame)
