"""Small pictures of objects: as each was seen last, and as it was when something happened to it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from ..messages import EventMessage
from ..threads import Worker
from ..types import Box, Result
from .pictures import cut_out, jpeg

K = TypeVar("K")

SIDE = 160
"""Their width and height in pixels, at most."""
FRESH_SECONDS = 1.0
"""How old the picture of an object may become while it is seen."""
SETTLE_SECONDS = 2.0
"""How long who asks for a picture waits for those that are being cut out."""
MOST_CUTTING = 8
"""Results that may wait to be cut from; from more, nothing is."""


class _View(NamedTuple):
    """When an object was looked at last, monotonic, and its picture; empty until it is cut out."""

    at: float
    jpeg: bytes


class Snapshots:
    """Cuts out of results in the worker's thread. Keeps one picture for each present object, and those of the
    newest `events` events."""

    def __init__(self, worker: Worker, events: int) -> None:
        self._worker = worker
        self._capacity = events
        self._of_events: OrderedDict[str, bytes] = OrderedDict()
        self._of_objects: dict[int, _View] = {}
        self._cutting: set[asyncio.Task[None]] = set()

    async def settled(self) -> None:
        """Once what was seen so far is cut out, or soon after."""
        if self._cutting:
            await asyncio.wait(self._cutting, timeout=SETTLE_SECONDS)

    def of_event(self, event_id: str) -> bytes | None:
        """JPEG; of an object that was hidden then, as seen last. None where there is none, or no more."""
        return self._of_events.get(event_id)

    def of_object(self, object_id: int) -> bytes | None:
        """JPEG; None for what was not seen yet, or is tracked no more."""
        view = self._of_objects.get(object_id)
        return view.jpeg if view and view.jpeg else None

    def look_at(self, result: Result, events: Iterable[EventMessage]) -> None:
        """Cut out each event's object, and the objects of which there is no fresh picture. Never waits."""
        now = time.monotonic()
        boxes = {track.object_id: track.box for track in result.tracks}
        events = list(events)
        self._keep_hidden(events, boxes)
        self._of_objects = {name: view for name, view in self._of_objects.items() if name in boxes}
        told = {
            event.event_id: event.box
            for event in events
            if event.box is not None and event.event_id not in self._of_events
        }
        due = {name: box for name, box in boxes.items() if box is not None and self._is_due(name, now)}
        if not (due or told) or len(self._cutting) >= MOST_CUTTING:
            return
        for name in due:
            self._of_objects[name] = _View(now, self.of_object(name) or b"")
        task = asyncio.create_task(self._cut(result, due, told), name="cut out")
        self._cutting.add(task)
        task.add_done_callback(self._cutting.discard)

    def close(self) -> None:
        for task in tuple(self._cutting):
            task.cancel()

    def _keep_hidden(self, events: Iterable[EventMessage], boxes: Mapping[int, Box | None]) -> None:
        """Of what happened to an object that is not seen now, its last picture is kept."""
        for event in events:
            if boxes.get(event.object_id) is None and (last := self.of_object(event.object_id)):
                self._of_events[event.event_id] = last

    def _is_due(self, object_id: int, now: float) -> bool:
        view = self._of_objects.get(object_id)
        return view is None or now - view.at >= FRESH_SECONDS

    async def _cut(self, result: Result, due: Mapping[int, Box], told: Mapping[str, Box]) -> None:
        of_objects = await self._worker.run(_cut_all, result, due)
        of_events = await self._worker.run(_cut_all, result, told)
        for object_id, picture in of_objects.items():
            if view := self._of_objects.get(object_id):
                self._of_objects[object_id] = view._replace(jpeg=picture)
        self._of_events.update(of_events)
        while len(self._of_events) > self._capacity:
            self._of_events.popitem(last=False)


def _cut_all(result: Result, boxes: Mapping[K, Box]) -> dict[K, bytes]:
    return {name: jpeg(cut_out(result, box, SIDE)) for name, box in boxes.items()}
