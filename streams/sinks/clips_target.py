"""What is recorded of which events, and how much of it is kept, read from a sink's URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args
from urllib.parse import parse_qsl, unquote

from ..base import SinkError
from ..types import EventKind
from ..wording import unknown

T = TypeVar("T")

LONGEST_SECONDS = 60.0
"""Of the pictures before an event, and of those after it."""
KINDS: tuple[EventKind, ...] = ("new", "lost", "zone_enter", "zone_dwell", "line_cross")
"""The events that are recorded where none are named: what comes, goes, or breaks a rule."""
_RECORDABLE: tuple[str, ...] = tuple(kind for kind in get_args(EventKind) if kind != "update")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class ClipsTarget:
    """before, after: seconds of a clip around its event; age: seconds after which a recording is removed;
    size: bytes that all recordings of a camera may take."""

    url: str
    folder: Path
    before: float = 5.0
    after: float = 5.0
    kinds: tuple[EventKind, ...] = KINDS
    age: float = 14 * 86400.0
    size: int = 5 * 10**9


def parse_clips(url: str) -> ClipsTarget:
    """`clips:DIR[?pre=SECONDS&post=SECONDS&events=KIND,…&age=14d&size=5G]`. Raises SinkError for anything
    that is not as described."""
    path, _, query = url.partition(":")[2].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if strange := sorted(given.keys() - {"pre", "post", "events", "age", "size"}):
        raise SinkError(
            f"clips:{path}: {unknown(strange[0], 'option', ('pre', 'post', 'events', 'age', 'size'))}"
        )
    usual = ClipsTarget(url, Path(unquote(path)))
    read = _Reading(f"clips:{path}", given)
    return ClipsTarget(
        url,
        usual.folder,
        read.option("pre", _seconds, usual.before),
        read.option("post", _seconds, usual.after),
        read.option("events", _kinds, usual.kinds),
        read.option("age", lambda text: _amount(text, _SECONDS, "14d (s, m, h, d)"), usual.age),
        read.option("size", lambda text: int(_amount(text, _BYTES, "5G (M, G, T)")), usual.size),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    url: str
    given: Mapping[str, str]

    def option(self, name: str, read: Callable[[str], T], usual: T) -> T:
        if name not in self.given:
            return usual
        try:
            return read(self.given[name])
        except ValueError as error:
            raise SinkError(f"{self.url}: {name}={self.given[name]}: {error}") from None


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or float(text) > LONGEST_SECONDS:
        raise ValueError(f"is not a number of seconds from 0 to {LONGEST_SECONDS:g}")
    return float(text)


def _kinds(text: str) -> tuple[EventKind, ...]:
    named = text.split(",")
    for kind in named:
        if kind not in _RECORDABLE:
            raise ValueError(unknown(kind, "event", _RECORDABLE))
    return tuple(kind for kind in get_args(EventKind) if kind in named)


def _amount(text: str, units: Mapping[str, int], example: str) -> float:
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(units)}])", text)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"is not an amount above 0 with its unit, like {example}")
    return float(found[1]) * units[found[2]]
