"""Live video as a sink: results go to the shared encoder, and a service takes its packets from there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ..base import SinkError, redact
from ..encoder import SharedEncoder
from ..listening import parse_listening
from ..rtsp.server import RtspService
from ..tls import checking_with
from ..types import Result
from .services import Hls, Push, WhipPush


class Service(AbstractAsyncContextManager[object], Protocol):
    """Reads the encoder's units while it is entered. Entering may raise SinkError."""

    def check(self) -> None:
        """Raises what it has ended with, where it reads no more."""
        ...


class LiveVideoSink:
    """Shows what `encoder` makes of the results through a service."""

    def __init__(self, url: str, encoder: SharedEncoder, service: Service) -> None:
        self.url = redact(url)
        self._encoder = encoder
        self._service = service
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._encoder)
            await exits.enter_async_context(self._service)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.__aexit__(kind, error, trace)

    async def write(self, result: Result) -> None:
        self._service.check()
        await self._encoder.write(result)


def rtsp_server(url: str, encoder: SharedEncoder) -> Service:
    """`rtsp-server://[user:password@][host]:8554/name`. Raises SinkError for what cannot be meant."""
    try:
        return RtspService(parse_listening(url, port=8554, name=encoder.camera), encoder)
    except ValueError as error:
        raise SinkError(str(error)) from None


def push(format_: str, options: dict[str, str]) -> Callable[[str, SharedEncoder], Service]:
    """Publishing to a server that speaks one of FFmpeg's protocols."""

    def made(url: str, encoder: SharedEncoder) -> Service:
        try:
            plain, checks = checking_with(url)
        except ValueError as error:
            raise SinkError(f"{redact(url)}: {error}") from None
        return Push(plain, encoder, format_, options | checks)

    return made


def hls(url: str, encoder: SharedEncoder) -> Service:
    """`hls:DIR`."""
    return Hls(Path(url.partition(":")[2]), encoder)


_RTSP = push("rtsp", {"rtsp_transport": "tcp"})
_RTMP = push("flv", {"flvflags": "no_duration_filesize"})
LIVE: dict[str, Callable[[str, SharedEncoder], Service]] = {
    "rtsp-server": rtsp_server,
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": _RTMP,
    "rtmps": _RTMP,
    "whip": WhipPush,
    "whips": WhipPush,
    "hls": hls,
}
"""From a URL's scheme to the service it names."""
KNOWN_LIVE = (
    "rtsp-server://[HOST]:PORT/NAME",
    *(f"{scheme}://HOST/PATH" for scheme in ("rtsp", "rtmp", "whip")),
    "hls:DIR",
)
