"""A recording as a whole, from its prompts to its files: prompts on any frame, tracked in both directions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from keepsight.model.video_predictor import VideoPredictor
from keepsight.streams.base import Sink
from keepsight.streams.privacy import Cover, Seen, covered
from keepsight.streams.recording import Recording
from keepsight.streams.threads import Worker
from keepsight.streams.types import Command, Correct, Forget, Prompt, Reset, Result

from .offline import OfflineTracker, open_offline
from .prompts import Cue
from .settings import TrackerSettings
from .validation import ConfigError
from .writing import writing

Progress = Callable[[int, int], None]
"""Is told how many frames were stepped, both directions together, and how many that will be: before the first
step, after each, and before each frame is written. What it raises ends the replay."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it: the recording's frames, and how many were stepped in both directions together."""

    frames: int
    stepped: int


async def replay(
    worker: Worker,
    load: Callable[[], tuple[VideoPredictor, TrackerSettings]],
    read: Callable[[], Recording],
    cues: Sequence[Cue],
    sinks: Iterable[Sink],
    progress: Progress,
    privacy: Sequence[Cover] = (),
) -> Replay:
    """Track what the cues show, then write every frame, covered as `privacy` says, to the sinks, which are
    opened before that.

    `load` and `read` are called, and everything is tracked, in the worker's thread. Raises ConfigError for a
    cue that cannot be meant, SourceError, SinkError, and WriteError.
    """
    async with writing(sinks) as write:
        results = _results(await worker.run(read), load, cues, progress, privacy)
        try:
            replayed: Replay | Result | None = None
            while not isinstance(replayed := await worker.run(next, results), Replay):
                await write(replayed)
            return replayed
        finally:
            await worker.run(results.close)


def _results(
    recording: Recording,
    load: Callable[[], tuple[VideoPredictor, TrackerSettings]],
    cues: Sequence[Cue],
    progress: Progress,
    privacy: Sequence[Cover],
) -> Generator[Result | Replay]:
    """Every frame with its tracks, then the sum of it."""
    with open_offline(*load(), recording) as tracker:
        forgotten = show_all(tracker, cues)
        total = tracker.waiting()
        progress(0, total)
        stepped = tracker.update(lambda done: progress(done, total))
        seen: Seen = {}
        for result in tracker.results():
            progress(stepped, total)
            seen, shown = covered(seen, privacy, without(result, forgotten))
            yield shown
    yield Replay(recording.frame_count, stepped)


def show_all(tracker: OfflineTracker, cues: Sequence[Cue]) -> Mapping[int, int]:
    """Tell the tracker everything that is shown. From which frame on each forgotten object is left out.

    A correction may be for a frame before the object's first prompt. Raises ConfigError.
    """
    forgotten = forgotten_from(cues)
    for kind in (Prompt, Correct):
        for cue in cues:
            if isinstance(cue.command, kind):
                check_is_shown_in_time(cue.frame, cue.command.object_id, forgotten)
                try:
                    tracker.show(cue.frame, cue.command)
                except ValueError as error:
                    raise ConfigError(f"prompt for frame {cue.frame}: {error}") from None
    return forgotten


def forgotten_from(cues: Sequence[Cue]) -> dict[int, int]:
    """By object, the first frame that a command says it is not to be tracked in."""
    shown = [(cue.frame, cue.command.object_id) for cue in cues if isinstance(cue.command, Prompt | Correct)]
    found: dict[int, int] = {}
    for cue in cues:
        for object_id in meant(cue.frame, cue.command, shown):
            found[object_id] = min(cue.frame, found.get(object_id, cue.frame))
    return found


def meant(frame: int, command: Command, shown: Sequence[tuple[int, int | None]]) -> set[int]:
    """The objects that a command forgets; a reset all that were shown before it."""
    match command:
        case Forget():
            return {command.object_id}
        case Reset():
            return {object_id for at, object_id in shown if object_id is not None and at < frame}
    return set()


def check_is_shown_in_time(frame: int, object_id: int | None, forgotten: Mapping[int, int]) -> None:
    end = None if object_id is None else forgotten.get(object_id)
    if end is not None and frame >= end:
        raise ConfigError(
            f"prompt for frame {frame}: object {object_id} is forgotten on frame {end}: give it another id"
        )


def without(result: Result, forgotten: Mapping[int, int]) -> Result:
    index = result.frame.index
    kept = tuple(track for track in result.tracks if index < forgotten.get(track.object_id, index + 1))
    return result if len(kept) == len(result.tracks) else replace(result, tracks=kept)
