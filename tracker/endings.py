"""How the last frame of a stream is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keepsight.streams.types import Event, Refusal, Result

from .prompts import Cue


def closing(last: Result) -> Result:
    """The frame once more, without what was told of it."""
    return replace(last, events=(), applied=(), refusals=(), closing=True)


def ended(last: Result, ends: tuple[Event, ...], never: Sequence[Cue] = ()) -> Result:
    """The last result, or its closing, with what the end adds; `never`: the cues whose frame did not come."""
    missed = tuple(Refusal(cue.command, f"the stream ended before frame {cue.frame}") for cue in never)
    return replace(last, events=last.events + ends, refusals=last.refusals + missed)
