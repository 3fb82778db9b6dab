"""Cameras over WebRTC: who publishes to us by WHIP (RFC 9725), and what we fetch by WHEP."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ..base import DeniedError, SourceError, redact
from ..listening import parse_listening
from ..mailbox import Mailbox
from ..threads import Worker
from ..types import Frame
from ..webrtc.client import Endpoint, PeerError
from ..webrtc.incoming import Arrived, Incoming
from ..webrtc.whip_server import WhipListener
from .container import upright
from .reading import NOMINAL_RATE, Timeline


class _PeerSource(ABC):
    """The newest picture of one connection. It ends when the connection does."""

    live = True
    frame_count = None
    rate = None

    def __init__(self, url: str, seconds: float | None) -> None:
        self.url = redact(url)
        self._seconds = seconds
        self._worker = Worker(f"source {self.url}")
        self._pictures: Mailbox[Arrived] = Mailbox(live=True)
        self._exits = AsyncExitStack()

    @property
    def dropped(self) -> int:
        return self._pictures.dropped

    @abstractmethod
    async def _connect(self, exits: AsyncExitStack) -> Incoming:
        """Connects; what is to be closed goes to `exits`."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._worker)
            incoming = await self._connect(exits)
            exits.push_async_callback(incoming.close)
            self._pictures = incoming.pictures
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        timeline, index = Timeline(step=1 / NOMINAL_RATE), 0
        while (came := await self._next()) is not None:
            picture = came.picture
            image = await self._worker.run(upright, picture)
            told = (
                None if picture.pts is None or picture.time_base is None else picture.pts * picture.time_base
            )
            at = timeline.place(None if told is None else float(told), came.arrived)
            yield Frame(image, index, 0, at, came.captured, "arrival", came.arrived)
            index += 1

    async def _next(self) -> Arrived | None:
        try:
            async with asyncio.timeout(self._seconds):
                return await anext(self._pictures, None)
        except TimeoutError:
            raise SourceError(f"{self.url}: no data in time") from None


class WhipSource(_PeerSource):
    """Whoever publishes next to `listener`. Who falls silent is waited for, as long as the connection is."""

    def __init__(self, url: str, listener: WhipListener) -> None:
        super().__init__(url, None)
        self._listener = listener

    async def _connect(self, exits: AsyncExitStack) -> Incoming:
        return await self._listener.publisher()


class WhepSource(_PeerSource):
    """A camera that another server gives out by WHEP. It ends after `seconds` of silence."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(url, seconds)
        self._endpoint = Endpoint.of(url)
        self._patience = seconds

    async def _connect(self, exits: AsyncExitStack) -> Incoming:
        try:
            return await self._endpoint.watch(exits, self._patience)
        except PeerError as refusal:
            if refusal.denied:
                raise DeniedError(f"{self.url}: {refusal}: check user and password") from None
            raise SourceError(f"{self.url}: {refusal}") from None


def whip_listener(url: str) -> WhipListener:
    """Where `whip-server://[:PASSWORD@][host]:port/name` is published to. Raises SourceError."""
    try:
        return WhipListener(parse_listening(url, port=8081, name=""))
    except ValueError as error:
        raise SourceError(str(error)) from None
