"""What can be asked over HTTP: cameras, tracks, events and pictures; and commands, as over MQTT."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from ..control import COMMANDS
from ..messages import ack_message
from . import clips
from .camera import ANSWER_SECONDS, EVENTS, Camera
from .live import MOST_WORDS, Viewer
from .mjpeg import stream_mjpeg
from .news import News
from .openapi import document
from .pictures import PICTURED
from .words import CamerasMessage, ErrorMessage, Told, cameras_message, events_message

Answering = Callable[[web.Request, Camera], Awaitable[web.StreamResponse]]


class Api:
    """The routes under /api/ and /mjpeg/. `cameras` may gain and lose members while it is in use;
    `schemas` are those of the streams that can be configured."""

    def __init__(
        self, cameras: MutableMapping[str, Camera], news: News, schemas: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._cameras = cameras
        self._schemas = schemas
        self._news = news

    def add_to(self, application: web.Application) -> None:
        get, post = application.router.add_get, application.router.add_post
        one = "/api/cameras/{camera}"
        get("/api/openapi.json", self._openapi)
        get("/api/cameras", self._all)
        get("/api/live", self._live)
        get(f"{one}/tracks", self._of_camera(_tracks))
        get(f"{one}/events", self._of_camera(_events))
        get(f"{one}/picture.jpg", self._of_camera(_picture))
        get(f"{one}/objects/{{object_id}}.jpg", self._of_camera(_object_snapshot))
        get(f"{one}/event.jpg", self._of_camera(_event_snapshot))
        get(f"{one}/event.mp4", self._of_camera(_event_clip))
        get("/mjpeg/{camera}", self._of_camera(_mjpeg))
        for command in COMMANDS:
            post(f"{one}/{command}", self._of_camera(_asks(command)))

    def _say_cameras(self) -> CamerasMessage:
        return cameras_message(self._cameras.values())

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(document(self._schemas()))

    async def _all(self, request: web.Request) -> web.Response:
        return _said(self._say_cameras())

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=20, compress=False, max_msg_size=MOST_WORDS)
        await socket.prepare(request)
        try:
            await Viewer(socket, self._cameras, self._news, self._say_cameras).serve()
        finally:
            if request.transport is not None and not socket.closed:
                request.transport.abort()
        return socket

    def _of_camera(self, answer: Answering) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler that finds the camera which the path names."""

        async def found(request: web.Request) -> web.StreamResponse:
            name = request.match_info["camera"]
            camera = self._cameras.get(name)
            if camera is None:
                return _error(404, f"no camera {name!r}; there are {', '.join(self._cameras)}")
            return await answer(request, camera)

        return found


async def _tracks(request: web.Request, camera: Camera) -> web.Response:
    frames = camera.frames()
    return _error(404, "no frame has come yet") if frames is None else _said(frames)


async def _events(request: web.Request, camera: Camera) -> web.Response:
    return _said(events_message(camera, Told.all_but(EVENTS, camera)))


async def _picture(request: web.Request, camera: Camera) -> web.Response:
    if camera.pictures.newest is None:
        return _error(404, "no frame has come yet")
    return _jpeg((await camera.pictures.after(None, "large")).jpeg)


async def _object_snapshot(request: web.Request, camera: Camera) -> web.Response:
    number = request.match_info["object_id"]
    await camera.snapshots.settled()
    return _jpeg(camera.snapshots.of_object(int(number)) if number.isdecimal() else None)


async def _event_snapshot(request: web.Request, camera: Camera) -> web.Response:
    await camera.snapshots.settled()
    return _jpeg(camera.snapshots.of_event(request.query.get("id", "")))


async def _event_clip(request: web.Request, camera: Camera) -> web.StreamResponse:
    try:
        clip = await camera.clip(request.query.get("id", ""))
    except TimeoutError:
        late = f"did not answer within {clips.PATIENCE_SECONDS:g} s: see whether its disk is there"
        return _error(504, f"the folder of the clips {late}")
    return _error(404, "there is no such clip") if clip is None else web.FileResponse(clip)


async def _mjpeg(request: web.Request, camera: Camera) -> web.StreamResponse:
    scale = next((scale for scale in PICTURED if scale == request.query.get("scale", "large")), None)
    if scale is None:
        return _error(422, f"scale is one of {', '.join(PICTURED)}")
    return await stream_mjpeg(request, camera, scale)


def _asks(command: str) -> Answering:
    async def ask(request: web.Request, camera: Camera) -> web.Response:
        try:
            answer = await camera.ask(command, await request.read())
        except TimeoutError:
            reason = f"no frame to carry it out on came within {ANSWER_SECONDS:g} s; it waits for one"
            return _said(ack_message(command, None, reason, time.time()), status=504)
        return _said(answer, status=200 if answer.ok else 422)

    return ask


def _said(message: BaseModel, status: int = 200) -> web.Response:
    return web.json_response(text=message.model_dump_json(), status=status)


def _error(status: int, reason: str) -> web.Response:
    return _said(ErrorMessage(error=reason), status)


def _jpeg(data: bytes | None) -> web.Response:
    if data is None:
        return _error(404, "there is no such picture")
    return web.Response(body=data, content_type="image/jpeg")
