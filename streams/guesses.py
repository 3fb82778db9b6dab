"""How often who asks may do so, and how often they may guess a password: so many at once, and then few."""

from __future__ import annotations

import time
from collections import OrderedDict

from .listening import Listening

MOST_ADDRESSES = 1024
"""Whose rate is known one by one; whoever was silent longest is forgotten."""
TOO_MANY = "too many wrong passwords: wait 12 seconds"


class Rate:
    """So many requests at once and so many a second after that, for each address and for all together."""

    def __init__(self, burst: int, per_second: float, of_all: int = 8) -> None:
        self._burst = burst
        self._per_second = per_second
        self._of_all = of_all
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, now: float) -> bool:
        """Whether one more is allowed; if so it is counted. All addresses together may do `of_all` times
        what one may."""
        if not self.has_room(address, now):
            return False
        self._set(address, self._level(address, now, 1) - 1, now)
        self._set("", self._level("", now, self._of_all) - 1, now)
        return True

    def has_room(self, address: str, now: float) -> bool:
        """Whether one more would be allowed."""
        return min(self._level(address, now, 1), self._level("", now, self._of_all)) >= 1

    def _level(self, address: str, now: float, times: int) -> float:
        level, at = self._buckets.get(address, (float(self._burst * times), now))
        return min(self._burst * times, level + (now - at) * self._per_second * times)

    def _set(self, address: str, level: float, now: float) -> None:
        self._buckets[address] = level, now
        self._buckets.move_to_end(address)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)


class Guesses:
    """Counts wrong passwords, of each address and of all together: five at once, and one more every 12 s."""

    def __init__(self) -> None:
        self._rate = Rate(burst=5, per_second=1 / 12)

    def may_guess(self, address: str) -> bool:
        """Whether what they say next is looked at."""
        return self._rate.has_room(address, time.monotonic())

    def was_wrong(self, address: str) -> None:
        self._rate.allows(address, time.monotonic())

    def objection(self, at: Listening, address: str, authorization: str | None) -> int | None:
        """The HTTP status for a request that is not let in: 401, or 429 for who guessed too often, whatever
        they say now (RFC 6585, 4); None where it is let in. `authorization`: the header."""
        if at.password is None:
            return None
        if authorization is not None and not self.may_guess(address):
            return 429
        if at.lets_in(authorization):
            return None
        if authorization is not None:
            self.was_wrong(address)
        return 401
