"""Who is let in: a password or a session, and not too many at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..listening import host_name, is_loopback

SESSION_SECONDS = 30 * 24 * 3600


class Guard:
    """Knows the password and the sessions it opened. Without a password, only requests that name this machine
    itself are let in, so that no web page can reach us by a name of its own (DNS rebinding).

    A session is its end and a signature of that; nothing is kept for it, and it ends with the process.
    """

    def __init__(self, password: str | None, now: Callable[[], float] = time.time) -> None:
        self._digest = None if password is None else _digest(password)
        self._now = now
        self._key = secrets.token_bytes(32)

    @property
    def has_password(self) -> bool:
        return self._digest is not None

    def knows(self, password: str) -> bool:
        """Whether it is the password; takes as long either way."""
        return self._digest is None or hmac.compare_digest(self._digest, _digest(password))

    def open_session(self) -> str:
        end = str(int(self._now() + SESSION_SECONDS))
        return f"{end}.{self._signature(end)}"

    def admits_session(self, session: str) -> bool:
        end, _, signature = session.partition(".")
        signed = hmac.compare_digest(self._signature(end).encode(), signature.encode(errors="replace"))
        return signed and end.isdecimal() and self._now() < int(end)

    def admits(self, host: str, session: str, authorization: str) -> bool:
        """Whether a request with these headers (Host, a cookie, Authorization) may go on."""
        if self._digest is None:
            return is_loopback(host_name(host))
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.knows(credentials.strip())
        return bool(session) and self.admits_session(session)

    def _signature(self, end: str) -> str:
        return hmac.new(self._key, end.encode(errors="replace"), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


class Places:
    """Room for so many at once, of which one address may take only some."""

    def __init__(self, of_each: int, of_all: int) -> None:
        self._of_each = of_each
        self._of_all = of_all
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[bool]:
        """Whether there is room for one more, who then has it until the block is left."""
        if self._taken[address] >= self._of_each or self._taken.total() >= self._of_all:
            yield False
            return
        self._taken[address] += 1
        try:
            yield True
        finally:
            self._taken[address] -= 1
            self._taken = +self._taken  # of those who are gone nothing is kept
