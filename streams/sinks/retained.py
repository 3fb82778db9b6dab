"""What the broker keeps for those who come later: the state of each object, zone and switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..message_parts import Published, fine
from ..node_messages import object_message, zone_message
from ..types import Result, Track, Watched

OBJECTS, ZONES = "object", "zone"
MOST_STRAYS = 4096
"""Objects of earlier runs that may wait to be cleared; of more, those are found at the next connect."""


class Kept(NamedTuple):
    """One topic's state: `known_by`, what it is made of; `payload` makes the message, given the time."""

    known_by: object
    payload: Callable[[float], str]


class Retained:
    """Knows what each topic should hold, and which of them must be sent.

    Names are the ends of topics under the camera's ("object/3"). While there is no connection only the
    present state is kept: each connection begins with all of it, and clears what it finds of what is gone.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._due: dict[str, None] = {}
        self._connected = False

    def connected(self) -> None:
        """Everything is to be sent again: the broker may have forgotten it, or not have heard of it."""
        self._connected = True
        self._due = dict.fromkeys(self._kept)

    def disconnected(self) -> None:
        self._connected = False
        self._due = {}

    def note(self, result: Result) -> None:
        """Objects and zones as they are after a result. An object that has ended is none any more, nor is a
        zone that is not watched."""
        ended = {event.object_id for event in result.events if event.kind == "end"}
        objects = {f"{OBJECTS}/{one.object_id}": one for one in result.tracks if one.object_id not in ended}
        zones = {f"{ZONES}/{one.name}": one for one in result.watched if one.kind == "zone"}
        for name, track in objects.items():
            self.set(name, _object(track, result))
        for name, zone in zones.items():
            self.set(name, _zone(zone))
        kept = objects.keys() | zones.keys()
        for name in [name for name in self._kept if _is_of_results(name) and name not in kept]:
            del self._kept[name]
            self._must_send(name)

    def set(self, name: str, kept: Kept) -> None:
        """What a topic holds from now on; sent where that is news."""
        before = self._kept.get(name)
        if before is None or before.known_by != kept.known_by:
            self._kept[name] = kept
            self._must_send(name)

    def end(self) -> None:
        """Nothing is tracked any more."""
        for name in [name for name in self._kept if _is_of_results(name)]:
            del self._kept[name]
            self._must_send(name)

    def found(self, name: str) -> None:
        """The broker holds something there, from an earlier run or connection."""
        if name not in self._kept and len(self._due) < MOST_STRAYS:
            self._must_send(name)

    def holds(self, name: str) -> bool:
        return name in self._kept

    @property
    def waiting(self) -> bool:
        return bool(self._due)

    def take(self, published: float) -> tuple[str, str]:
        """The next topic to be sent and what it shall hold; empty to clear it."""
        name = next(iter(self._due))
        del self._due[name]
        kept = self._kept.get(name)
        return name, kept.payload(published) if kept else ""

    def _must_send(self, name: str) -> None:
        if self._connected:
            self._due[name] = None


def _is_of_results(name: str) -> bool:
    return name.partition("/")[0] in (OBJECTS, ZONES)


def _object(track: Track, result: Result) -> Kept:
    """By what it is known; its message, which needs no mask."""
    return _kept((track.label, track.state, track.moving), object_message(track, result, 0.0))


def _zone(zone: Watched) -> Kept:
    return _kept(zone.counts, zone_message(zone, 0.0))


def _kept(known_by: object, message: Published) -> Kept:
    def payload(published: float) -> str:
        return message.model_copy(update={"published": fine(published)}).model_dump_json()

    return Kept(known_by, payload)


def plain(text: str) -> Kept:
    """A topic that holds a plain text."""
    return Kept(text, lambda published: text)
