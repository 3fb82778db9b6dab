"""Who is let in: a password or a session, from our own page, and not too often."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from ..listening import is_loopback

SESSION_SECONDS = 30 * 24 * 3600
MOST_ADDRESSES = 1024
"""Whose rate is known one by one; whoever was silent longest is forgotten."""


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


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_from_here(host: str, origin: str | None, site: str | None) -> bool:
    """Whether a request comes from our own page or from no page at all, as browsers tell.

    `origin`: the Origin header (RFC 6454), of which scheme and port may differ behind a proxy that ends
    TLS only in the scheme; `site`: Sec-Fetch-Site (W3C Fetch Metadata).
    """
    if site is not None and site not in ("same-origin", "none"):
        return False
    try:
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


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
