"""A drawn scene that is prompted with, and judged by, its own truth."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import SyntheticSource
from keepsight.streams.types import Prompt, Result

from .evaluation.truth import TruthScores, begin, with_frame
from .pipeline import Stream
from .prompts import Cue
from .transforms import tight_box


class Judge:
    """A sink that compares each result with what was drawn."""

    url = "judge:"

    def __init__(self, source: SyntheticSource, object_ids: Sequence[int]) -> None:
        self.scores: tuple[TruthScores, ...] = begin(dict.fromkeys(object_ids, 0))
        self._source = source

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def write(self, result: Result) -> None:
        self.scores = with_frame(self.scores, self._source.truth(result.frame.index), result)


def judged_scene(url: str, outputs: Sequence[str]) -> tuple[Stream, Judge]:
    """The scene with a box around every object of its first frame, and its judge beside the other sinks."""
    source = SyntheticSource(url)
    cues = boxes_of_truth(source)
    judge = Judge(source, range(1, len(cues) + 1))
    sinks = (*(open_sink(url, camera="demo") for url in outputs), judge)
    return Stream("demo", source, sinks, cues), judge


def boxes_of_truth(source: SyntheticSource) -> tuple[Cue, ...]:
    truth = source.truth(0)
    ids = [int(value) for value in np.unique(truth) if value > 0]
    return tuple(Cue(0, Prompt(object_id=one, box=tight_box(truth == one))) for one in ids)
