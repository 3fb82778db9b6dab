"""Ctrl-C and SIGTERM in a plain loop: at once, but never in the middle of a file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """`with interrupts.heard(): … with interrupts.held(): write()`: raises KeyboardInterrupt, after `held`.

    `signal` says which one came, 0 none. The second one, while the first is held back, is Python's own.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._held = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the first signal waits until the block is left."""
        self._held = True
        told = self.signal
        try:
            yield
        finally:
            self._held = False
        if self.signal and not told:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = not self.signal, number
        if not (first and self._held):
            raise KeyboardInterrupt
