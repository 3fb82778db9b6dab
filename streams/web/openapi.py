"""The OpenAPI document of the page's server, made of the very models that read and write its messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..control import COMMANDS, MESSAGES
from ..messages import AckMessage, FramesMessage
from .door import LoginMessage
from .live import FromPage
from .pictures import PICTURED
from .words import CamerasMessage, ChangedMessage, ErrorMessage, EventsMessage, PictureMessage

VERSION = "1"
_REF = "#/components/schemas/{model}"
_DOING = {
    "prompt": "Track an object from now on",
    "correct": "Mend the mask of a tracked object",
    "forget": "Stop tracking an object",
    "reset": "Stop tracking everything",
}
_SAID: tuple[type[BaseModel], ...] = (
    AckMessage,
    CamerasMessage,
    ChangedMessage,
    ErrorMessage,
    EventsMessage,
    FramesMessage,
    PictureMessage,
)
_LIVE = (
    "A WebSocket. To the page come `CamerasMessage` and `EventsMessage` as text, and pictures as binary "
    "messages: 4 bytes with the length of a `PictureMessage`, big-endian, that message, a JPEG. From the "
    "page come `FromPage` messages: which cameras to show, and each picture that arrived."
)


def document(streams: Mapping[str, Any]) -> dict[str, Any]:
    """The document (OpenAPI 3.1). `streams`: schemas of what can be configured; none where nothing can."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Keepsight",
            "version": VERSION,
            "description": "Cameras, what is tracked on them, and commands. The messages are those of MQTT.",
        },
        "paths": _guarded({**_paths(), **{_one(command): _command(command) for command in COMMANDS}}),
        "components": {"schemas": {**_CONFIGURED, **streams, **_schemas()}, "securitySchemes": _SCHEMES},
        "security": [{"password": []}, {"session": []}],
    }


_SCHEMES = {
    "password": {"type": "http", "scheme": "bearer", "description": "The password itself"},
    "session": {"type": "apiKey", "in": "cookie", "name": "keepsight", "description": "From /api/login"},
}
_METHODS = frozenset({"get", "put", "post", "delete"})
_AT_THE_DOOR = {
    "401": "The password is missing or wrong",
    "403": "Asked by a page of another site; or without a password, and not from this machine",
    "429": "Too many requests, or too many wrong passwords",
    "503": "Too many requests are open, or too many are logging in",
}
"""By status, why the server goes no further."""
_CAMERA = {"name": "camera", "in": "path", "required": True, "schema": {"type": "string"}}
_CONFIGURED = {"Stream": {"type": "object"}, "Rules": {"type": "object"}}
"""Where nobody can say what can be configured."""
_STREAM = {"application/json": {"schema": {"$ref": _REF.format(model="Stream")}}}
_RULES = {"application/json": {"schema": {"$ref": _REF.format(model="Rules")}}}
_RULES_SAID = {"200": {"description": "As in a deployment file", "content": _RULES}}


def _one(name: str) -> str:
    return f"/api/cameras/{{camera}}/{name}"


def _paths() -> dict[str, Any]:
    number = {"name": "object_id", "in": "path", "required": True, "schema": {"type": "integer"}}
    event = {"name": "id", "in": "query", "required": True, "schema": {"type": "string"}}
    return {
        "/api/cameras": {
            **_get("All cameras and how they are doing", _json(CamerasMessage)),
            "post": _change(
                "Add a camera: its `name`, and a stream without files of this machine", _STREAM, 201
            ),
        },
        _one("").rstrip("/"): {
            "put": _change("Begin a camera again, as this stream", _STREAM),
            "delete": _change("Remove a camera"),
            "parameters": [_CAMERA],
        },
        _one("rules"): {
            "get": {"summary": "What a camera is watched for", "responses": _RULES_SAID},
            "put": _change("Watch for this from now on; tracks go on", _RULES),
            "parameters": [_CAMERA],
        },
        "/api/live": _get(_LIVE, {"101": {"description": "A WebSocket"}}),
        _one("tracks"): _get("What is tracked in the newest frame", _json(FramesMessage), _CAMERA),
        _one("events"): _get("What happened, oldest first", _json(EventsMessage), _CAMERA),
        _one("picture.jpg"): _get("The newest frame with its overlay", _picture(), _CAMERA),
        _one("objects/{object_id}.jpg"): _get("An object as seen last", _picture(), _CAMERA, number),
        _one("event.jpg"): _get("The object of an event, as it was then", _picture(), _CAMERA, event),
        _one("event.mp4"): _get(
            "The clip that an event is in, where clips are written", _clip(), _CAMERA, event
        ),
        **_video_paths(),
        "/api/login": _login(),
        "/api/logout": {
            "post": {"summary": "End the session", "responses": {"200": {"description": "Done"}}}
        },
    }


def _video_paths() -> dict[str, Any]:
    scale = {"name": "scale", "in": "query", "schema": {"enum": list(PICTURED), "default": "large"}}
    session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/mjpeg/{camera}": _get(
            "Live video as Motion JPEG; `X-Frame: EPOCH/INDEX` before each picture names its frame",
            {"200": {"description": "Pictures", "content": {"multipart/x-mixed-replace": {}}}},
            _CAMERA,
            scale,
        ),
        "/whep/{camera}": _whep(),
        "/whep/{camera}/{session}": {
            "delete": {"summary": "End a WebRTC session", "responses": {"200": {"description": "Ended"}}},
            "parameters": [_CAMERA, session],
        },
    }


def _guarded(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The paths with what the door says before anything else is asked, to each of them."""
    refusals = {
        status: {"description": why, "content": _content(ErrorMessage)}
        for status, why in _AT_THE_DOOR.items()
    }
    return {
        path: {
            key: one | {"responses": refusals | one["responses"]} if key in _METHODS else one
            for key, one in item.items()
        }
        for path, item in paths.items()
    }


def _login() -> dict[str, Any]:
    answers = {
        "200": {"description": "Open"},
        "408": {"description": "The password did not come in time", "content": _content(ErrorMessage)},
        "422": {"description": "Not a password", "content": _content(ErrorMessage)},
    }
    asked = _post("Open a session: its cookie comes back", LoginMessage, answers)
    return {"post": {**asked["post"], "security": []}}


def _command(name: str) -> dict[str, Any]:
    answers = _json(AckMessage) | {
        "422": {"description": "Refused; `error` says why", "content": _content(AckMessage)},
        "504": {"description": "No frame came in time; it goes on waiting", "content": _content(AckMessage)},
    }
    call = _post(_DOING[name], MESSAGES[name], answers)
    return {**call, "parameters": [_CAMERA]}


def _whep() -> dict[str, Any]:
    sdp = {"application/sdp": {"schema": {"type": "string"}}}
    answer = {
        "summary": "Live video over WebRTC (WHEP): an offer, with its candidates, is answered",
        "parameters": [_CAMERA],
        "requestBody": {"required": True, "content": sdp},
        "responses": {"201": {"description": "The answer; `Location` names the session", "content": sdp}},
    }
    return {"post": answer}


def _change(summary: str, body: dict[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
    answers = {
        str(status): {"description": "Done, and saved where it says so", "content": _content(ChangedMessage)},
        "404": {
            "description": "No such camera, or nothing can be changed",
            "content": _content(ErrorMessage),
        },
        "422": {"description": "Refused; nothing has changed", "content": _content(ErrorMessage)},
        "500": {
            "description": "Saved, but not all of it runs; `failed` says why",
            "content": _content(ChangedMessage),
        },
    }
    asked = {} if body is None else {"requestBody": {"required": True, "content": body}}
    return {"summary": summary, "responses": answers, **asked}


def _get(summary: str, answers: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": answers, "parameters": list(parameters)}}


def _post(summary: str, message: type[BaseModel], answers: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": _content(message)}
    return {"post": {"summary": summary, "requestBody": body, "responses": answers}}


def _json(message: type[BaseModel]) -> dict[str, Any]:
    return {
        "200": {"description": "Done", "content": _content(message)},
        "default": {"description": "Not done", "content": _content(ErrorMessage)},
    }


def _picture() -> dict[str, Any]:
    return {
        "200": {"description": "A picture", "content": {"image/jpeg": {}}},
        "404": {"description": "There is none", "content": _content(ErrorMessage)},
    }


def _clip() -> dict[str, Any]:
    return {
        "200": {"description": "A clip", "content": {"video/mp4": {}}},
        "404": {"description": "There is none", "content": _content(ErrorMessage)},
    }


def _content(message: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=message.__name__)}}}


@cache
def _schemas() -> dict[str, Any]:
    read = [(model, "validation") for model in (*MESSAGES.values(), LoginMessage, FromPage)]
    said = [(model, "serialization") for model in _SAID]
    _, definitions = models_json_schema([*read, *said], ref_template=_REF)  # type: ignore[list-item]
    return dict(definitions["$defs"])
