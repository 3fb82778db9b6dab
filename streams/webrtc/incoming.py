"""Pictures that come over one WebRTC connection: all are taken off aiortc's queues, the newest is kept."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from av.video.frame import VideoFrame

from ..mailbox import Mailbox
from . import peer


@dataclass(frozen=True, slots=True)
class Arrived:
    """A decoded picture, and when it came: `captured` in seconds since 1970, `arrived` as monotonic."""

    picture: VideoFrame
    captured: float
    arrived: float


class Incoming:
    """The first video of a connection as `pictures`, which end when the connection does.

    Make it before the remote description is set. Other tracks are read and thrown away.
    """

    def __init__(self, connection: RTCPeerConnection) -> None:
        self.connection = connection
        self.pictures: Mailbox[Arrived] = Mailbox(live=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_video = False
        connection.on("track", self._take)

    def start(self) -> None:
        """Once the descriptions are exchanged: from now on the connection has to be made, and is watched."""
        self._keep(asyncio.create_task(self._watch()))

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self.pictures.close()
        await peer.close(self.connection)

    def _take(self, track: MediaStreamTrack) -> None:
        wanted = track.kind == "video" and not self._has_video
        self._has_video = self._has_video or wanted
        self._keep(asyncio.create_task(self._read(track) if wanted else _discard(track)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                picture = await track.recv()
                if isinstance(picture, VideoFrame):
                    self.pictures.offer(Arrived(picture, time.time(), time.monotonic()))
        except MediaStreamError:
            self.pictures.close()

    async def _watch(self) -> None:
        await peer.until_ended(self.connection)
        self.pictures.close()


async def _discard(track: MediaStreamTrack) -> None:
    try:
        while True:
            await track.recv()
    except MediaStreamError:
        return
