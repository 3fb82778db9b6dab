"""How well a tracker kept sight of objects whose truth is known in every frame, hidden or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isnan, nan

import numpy as np
from rich.table import Table

from keepsight.streams.types import Mask, Result

from .metrics import region_similarity
from .propagator import IndexMap

FOUND = 0.5
"""The IoU above which a mask is taken to be on an object."""


@dataclass(frozen=True, slots=True)
class TruthScores:
    """One object, counted from frame `since` (its first prompt) on.

    `visible` and `hidden` count its frames with and without a true pixel; `found` the visible ones in which
    its own track has an IoU above 0.5; `false_masks` the hidden ones in which its own track has a mask all
    the same. `switches`: how often the track that holds it changes. A track holds an object when its IoU is
    above 0.5, the object's own track first, and goes on holding it until another does. `strayed`: the frames
    in which most of its own track's mask lies on other objects.
    """

    object_id: int
    since: int
    holder: int
    visible: int = 0
    hidden: int = 0
    found: int = 0
    false_masks: int = 0
    switches: int = 0
    strayed: int = 0
    sum_of_j: float = field(default=0.0, repr=False)

    @property
    def mean_j(self) -> float:
        """Mean J over the visible frames, in [0, 1]; NaN if it was never visible."""
        return self.sum_of_j / self.visible if self.visible else nan

    @property
    def found_share(self) -> float:
        """The share of visible frames in which it was found; NaN if it was never visible."""
        return self.found / self.visible if self.visible else nan


def begin(prompted: Mapping[int, int]) -> tuple[TruthScores, ...]:
    """Scores before any frame. `prompted`: object id to the index of the frame of its first prompt."""
    return tuple(TruthScores(object_id, since, object_id) for object_id, since in sorted(prompted.items()))


def with_frame(scores: Iterable[TruthScores], truth: IndexMap, result: Result) -> tuple[TruthScores, ...]:
    """The scores with one more frame counted; truth (H, W) has the object ids that the tracks should have."""
    masks = {track.object_id: track.mask for track in result.tracks}
    return tuple(one if result.frame.index < one.since else _count(one, truth, masks) for one in scores)


def truth_table(scores: Iterable[TruthScores]) -> Table:
    """One row per object: J times 100, shares in percent, and counts of frames."""
    made = Table(title="Against the scene's truth")
    for heading in ("object", "visible", "mean J", "found", "switches", "strayed", "hidden", "false masks"):
        made.add_column(heading, justify="right")
    for one in scores:
        counts = [str(number) for number in (one.switches, one.strayed, one.hidden, one.false_masks)]
        made.add_row(
            str(one.object_id),
            str(one.visible),
            _hundred(one.mean_j),
            _hundred(one.found_share, "%"),
            *counts,
        )
    return made


def _count(scores: TruthScores, truth: IndexMap, masks: Mapping[int, Mask]) -> TruthScores:
    wanted, own = truth == scores.object_id, masks.get(scores.object_id)
    if own is not None and _lies_on_others(own, wanted, truth):
        scores = replace(scores, strayed=scores.strayed + 1)
    if not wanted.any():
        claimed = own is not None and bool(own.any())
        return replace(scores, hidden=scores.hidden + 1, false_masks=scores.false_masks + claimed)
    j = 0.0 if own is None else region_similarity(own, wanted)
    holder = scores.object_id if j > FOUND else _other_holder(scores, wanted, masks)
    return replace(
        scores,
        visible=scores.visible + 1,
        sum_of_j=scores.sum_of_j + j,
        found=scores.found + (j > FOUND),
        switches=scores.switches + (holder != scores.holder),
        holder=holder,
    )


def _lies_on_others(own: Mask, wanted: Mask, truth: IndexMap) -> bool:
    return 2 * int(np.count_nonzero(own & (truth > 0) & ~wanted)) > int(np.count_nonzero(own))


def _other_holder(scores: TruthScores, wanted: Mask, masks: Mapping[int, Mask]) -> int:
    """The track that is best on an object its own track is not on; the holder so far where none is."""
    overlaps = {object_id: region_similarity(mask, wanted) for object_id, mask in masks.items()}
    best = max(overlaps, key=overlaps.__getitem__, default=scores.holder)
    return best if overlaps.get(best, 0.0) > FOUND else scores.holder


def _hundred(value: float, unit: str = "") -> str:
    return "-" if isnan(value) else f"{100 * value:.1f}{unit}"
