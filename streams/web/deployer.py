"""Streams and their rules changed over HTTP, by whoever runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from ..base import SinkError, SourceError
from .words import ChangedMessage, ErrorMessage

_OBJECT = TypeAdapter(dict[str, Any])

Change = Callable[["Deployer", web.Request], Awaitable[ChangedMessage]]


class Deployer(Protocol):
    """Whoever decides which streams run. Its methods raise LookupError for a stream that is not there, and
    ValueError, SourceError or SinkError for what cannot be meant; then nothing has changed."""

    def schemas(self) -> Mapping[str, Any]:
        """JSON Schemas by name, those of a `Stream` and of `Rules` among them."""
        ...

    async def add(self, name: str, stream: Mapping[str, Any]) -> ChangedMessage: ...

    async def replace(self, name: str, stream: Mapping[str, Any]) -> ChangedMessage: ...

    async def remove(self, name: str) -> ChangedMessage: ...

    def rules(self, name: str) -> Mapping[str, Any]:
        """What a stream is watched for, as it is written in a deployment."""
        ...

    async def watch(self, name: str, rules: Mapping[str, Any]) -> ChangedMessage:
        """Watch a stream for this from now on; it keeps its tracks."""
        ...


class DeployerApi:
    """The routes that change streams. `deployer` gives who does it; None where nobody can."""

    def __init__(self, deployer: Callable[[], Deployer | None]) -> None:
        self._deployer = deployer

    def add_to(self, application: web.Application) -> None:
        router, one = application.router, "/api/cameras/{camera}"
        router.add_post("/api/cameras", self._changing(_add, status=201))
        router.add_put(one, self._changing(_replace))
        router.add_delete(one, self._changing(_remove))
        router.add_get(f"{one}/rules", self._rules)
        router.add_put(f"{one}/rules", self._changing(_watch))

    def _changing(
        self, change: Change, status: int = 200
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def changed(request: web.Request) -> web.Response:
            deployer = self._deployer()
            if deployer is None:
                return _nobody()
            try:
                said = await change(deployer, request)
            except LookupError as error:
                return _refused(404, error.args[0])
            except (ValueError, SourceError, SinkError) as error:
                return _refused(422, str(error))
            return web.json_response(text=said.model_dump_json(), status=500 if said.failed else status)

        return changed

    async def _rules(self, request: web.Request) -> web.Response:
        deployer = self._deployer()
        if deployer is None:
            return _nobody()
        try:
            return web.json_response(dict(deployer.rules(request.match_info["camera"])))
        except LookupError as error:
            return _refused(404, error.args[0])


async def _add(deployer: Deployer, request: web.Request) -> ChangedMessage:
    stream = await _said(request)
    if "name" not in stream:
        raise ValueError("name: is required: what the stream is to be called")
    return await deployer.add(str(stream.pop("name")), stream)


async def _replace(deployer: Deployer, request: web.Request) -> ChangedMessage:
    return await deployer.replace(request.match_info["camera"], await _said(request))


async def _remove(deployer: Deployer, request: web.Request) -> ChangedMessage:
    return await deployer.remove(request.match_info["camera"])


async def _watch(deployer: Deployer, request: web.Request) -> ChangedMessage:
    return await deployer.watch(request.match_info["camera"], await _said(request))


async def _said(request: web.Request) -> dict[str, Any]:
    """Raises ValueError for what is no JSON object."""
    try:
        return _OBJECT.validate_json(await request.read())
    except ValidationError:
        raise ValueError("say a JSON object") from None


def _nobody() -> web.Response:
    return _refused(404, "which streams run cannot be changed here")


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response(text=ErrorMessage(error=reason).model_dump_json(), status=status)
