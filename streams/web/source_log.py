"""What became of a camera's source, the newest: when frames came, were late, and were lost."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..types import SourceStatus


class SourceChange(NamedTuple):
    """From `time` on, in seconds since 1970, a source did so; how many changes were before."""

    number: int
    time: float
    status: SourceStatus


class SourceLog:
    """Changes of state or reason, in order; of more than `capacity` the newest."""

    def __init__(self, capacity: int) -> None:
        self.after = 0
        """The number of the change that comes next."""
        self._changes: deque[SourceChange] = deque(maxlen=capacity)

    def hear(self, status: SourceStatus, time: float) -> None:
        if self._changes:
            last = self._changes[-1].status
            if (last.state, last.reason) == (status.state, status.reason):
                return
        self._changes.append(SourceChange(self.after, time, status))
        self.after += 1

    def since(self, number: int) -> list[SourceChange]:
        """The changes from `number` on, oldest first."""
        return [change for change in self._changes if change.number >= number]
