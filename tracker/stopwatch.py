"""Where the time of one step goes."""

from __future__ import annotations

from time import perf_counter


class Stopwatch:
    """Runs from its making. On an accelerator a lap ends when its work is queued, not when it is done: the
    wait falls into the lap that first reads a number back."""

    def __init__(self) -> None:
        self._start = self._lap = perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._lap = self._lap, perf_counter()
        return self._lap - before

    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._start
