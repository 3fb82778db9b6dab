"""A stream that is switched off and on: what goes by meanwhile was not dropped."""

from __future__ import annotations

from dataclasses import replace

from keepsight.streams.sinks.outbox import Tally
from keepsight.streams.sources.gated import GatedSource
from tests.fakes import FakeSource, make_frames

from .results import result


async def test_a_live_frame_knows_how_many_were_let_go_by_before_it() -> None:
    made = [frame for frame in make_frames(12) if frame.index not in (2, 5, 6)]  # nobody had time for those
    is_on = iter([True] * 3 + [False] * 3 + [True] * 3)
    source = GatedSource(FakeSource(made, live=True), lambda: next(is_on))
    seen = [(frame.index, frame.place) async for frame in source]
    assert seen == [(0, 0), (1, 1), (3, 3), (9, 4), (10, 5), (11, 6)]


def test_frames_that_were_let_go_by_do_not_count_as_dropped() -> None:
    tally = Tally()
    for index, passed in ((0, 0), (1, 0), (3, 0), (90, 80), (91, 80)):
        made = result(index)
        tally.count(replace(made, frame=replace(made.frame, passed=passed)))
    assert tally.dropped == 1 + 6
