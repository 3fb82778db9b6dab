"""Passwords that are guessed at servers other than the page: so many at once, and then few."""

from __future__ import annotations

import time

from .listening import Listening
from .web.access import Rate

TOO_MANY = "too many wrong passwords: wait 12 seconds"


class Guesses:
    """Counts wrong passwords, of each address and of all together."""

    def __init__(self) -> None:
        self._rate = Rate(burst=5, per_second=1 / 12)

    def objection(self, at: Listening, address: str, authorization: str | None) -> int | None:
        """The HTTP status for a request that is not let in: 401, or 429 for who guessed too often, whatever
        they say now (RFC 6585, 4); None where it is let in. `authorization`: the header."""
        if at.password is None:
            return None
        if authorization is not None and not self._rate.has_room(address, time.monotonic()):
            return 429
        if at.lets_in(authorization):
            return None
        if authorization is not None:
            self._rate.allows(address, time.monotonic())
        return 401
