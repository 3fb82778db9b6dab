"""The page's WebSocket: pictures and messages out, as fast as each viewer takes them and no faster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from aiohttp import WSMsgType, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..messages import frames_message
from .camera import Camera
from .news import News
from .pictures import ClosedError, Picture, Scale
from .words import CamerasMessage, Told, events_message, picture_message

MOST_WORDS = 2**14
"""Bytes of a message from the page."""
IN_FLIGHT = 2
"""Pictures of a camera that may be on their way to one viewer: fewer stutter, more arrive late."""
STATUS_SECONDS = 2.0
FIRST_EVENTS = 50
"""Events of each camera, and changes of its source, that a viewer who comes is told."""
MOST_SENDING = 600
"""Messages that may wait for their turn at one viewer: of each camera a few."""
PATIENCE_SECONDS = 20.0
"""Who takes nothing for so long is let go."""


class FromPage(BaseModel):
    """What the page says: which cameras it shows and how large, and which pictures have arrived."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    watch: dict[str, Scale] | None = Field(default=None, max_length=256)
    """All cameras that are to be shown from now on."""
    seen: str | None = None
    """A camera of which one more picture has arrived."""
    ping: float | None = None
    """Comes back as `pong`."""


class Viewer:
    """One page that looks at the cameras. Each picture waits for room at the viewer: whoever is slow gets
    fewer, and newer ones, and whoever stops reading gets none and costs nothing."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        cameras: Mapping[str, Camera],
        news: News,
        say_cameras: Callable[[], CamerasMessage],
    ) -> None:
        self._socket = socket
        self._cameras = cameras
        self._news = news
        self._say_cameras = say_cameras
        self._told: dict[Camera, Told] = {}
        self._wanted: Mapping[str, Scale] = {}
        self._shown: dict[str, tuple[Camera, Scale, asyncio.Task[None]]] = {}
        self._room: dict[str, asyncio.BoundedSemaphore] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def serve(self) -> None:
        """Until the page is left, or takes nothing any more, or the caller is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(self._tell(tasks), name="tell a viewer")
                await self._listen(tasks)
                telling.cancel()
                self._wanted = {}
                self._show_wanted(tasks)
        except* (TimeoutError, ConnectionError):
            pass
        finally:
            for sending in self._sending:
                sending.cancel()

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                return
            try:
                said = FromPage.model_validate_json(message.data)
            except ValidationError:
                await self._socket.close(code=1008, message=b"not understood")
                return
            await self._hear(said, tasks)

    async def _hear(self, said: FromPage, tasks: asyncio.TaskGroup) -> None:
        if said.watch is not None:
            self._wanted = said.watch
            self._show_wanted(tasks)
        if said.seen in self._room:
            with suppress(ValueError):  # of more than were sent
                self._room[said.seen].release()
        if said.ping is not None:
            await self._send(f'{{"pong":{said.ping},"time":{time.time()}}}')

    def _show_wanted(self, tasks: asyncio.TaskGroup) -> None:
        """Show the cameras that are wanted, of those there are now, and no others."""
        wanted = {name: scale for name, scale in self._wanted.items() if name in self._cameras}
        for name, (camera, scale, task) in tuple(self._shown.items()):
            if wanted.get(name) != scale or self._cameras[name] is not camera:
                task.cancel()
                del self._shown[name]
        for name, scale in wanted.items():
            if name not in self._shown:
                camera = self._cameras[name]
                self._room[name] = asyncio.BoundedSemaphore(IN_FLIGHT)
                self._shown[name] = camera, scale, tasks.create_task(self._show(camera, scale))

    async def _show(self, camera: Camera, scale: Scale) -> None:
        picture: Picture | None = None
        while True:
            await self._room[camera.name].acquire()
            try:
                picture = await camera.pictures.after(picture.result if picture else None, scale)
            except ClosedError:
                return
            await self._send_picture(camera.name, picture)

    async def _send_picture(self, camera: str, picture: Picture) -> None:
        """The length of the message (4 bytes, big-endian), the message in JSON, the JPEG."""
        message = picture_message(camera, picture, frames_message(picture.result, time.time()))
        words = message.model_dump_json().encode()
        await self._send(len(words).to_bytes(4, "big") + words + picture.jpeg)

    async def _tell(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            coming = self._news.coming()
            await self._send(self._say_cameras().model_dump_json())
            self._show_wanted(tasks)
            cameras = tuple(self._cameras.values())
            self._told = {camera: known for camera, known in self._told.items() if camera in cameras}
            for camera in cameras:
                told = self._told.get(camera) or Told.all_but(FIRST_EVENTS, camera)
                message = events_message(camera, told)
                self._told[camera] = Told.all_but(0, camera)
                if message.events or message.sources:
                    await self._send(message.model_dump_json())
            with suppress(TimeoutError):
                await asyncio.wait_for(coming.wait(), STATUS_SECONDS)

    async def _send(self, data: str | bytes) -> None:
        """Raises TimeoutError where it is not taken, and ConnectionError where nobody is there.

        Who is cancelled leaves what it was sending behind to be sent: aiohttp lets all that wait for the same
        connection be cancelled together.
        """
        if len(self._sending) >= MOST_SENDING:
            raise ConnectionError("asks faster than it takes")
        sending = asyncio.create_task(self._send_in_turn(data), name="send to a viewer")
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.shield(sending)

    async def _send_in_turn(self, data: str | bytes) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._turn:
            if isinstance(data, str):
                await self._socket.send_str(data)
            else:
                await self._socket.send_bytes(data)
