"""The server of the page: one for all cameras of a process, open while any of them runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from aiohttp import web

from ..base import SinkError
from ..control import MAX_BYTES
from ..encoder import SharedEncoder
from ..threads import Worker
from ..webrtc import whep
from .access import Guard
from .api import Api
from .camera import Camera
from .deployer import Deployer, DeployerApi
from .door import Door
from .news import News
from .target import WebTarget

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"
CLOSE_SECONDS = 0.3
"""How long leaving waits for answers that are on their way."""


class WebServer:
    """Entered once by each camera's sink: the first opens the port, the last to leave closes it.

    `cameras` by name, in their order, from when they run: one that has ended stays until it is removed;
    `worker` draws and encodes for all of them; `news` tells viewers that something changed; `deployer`, where
    there is one, changes which streams run; `port` is the one that was bound, where 0 was asked for.
    """

    def __init__(self, target: WebTarget) -> None:
        self.target = target
        self.cameras: dict[str, Camera] = {}
        self.news = News()
        self.deployer: Deployer | None = None
        self.port = target.port
        self.worker = Worker("page")
        self._encoders: dict[str, SharedEncoder] = {}
        self._order: dict[str, int] = {}
        self._entered = 0
        self._opening = asyncio.Lock()
        self._exits = AsyncExitStack()

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return self.target.address.removesuffix(f":{self.target.port}/") + f":{self.port}/"

    def add(self, camera: Camera, encoder: SharedEncoder) -> None:
        """Show one more camera, in the place of one of its name that has ended. Raises SinkError where one
        of its name runs."""
        before = self.cameras.get(camera.name)
        if before is not None and not before.has_ended:
            raise SinkError(f"{self.target.url}: given twice for {camera.name}")
        self.cameras[camera.name] = camera
        self._encoders[camera.name] = encoder
        if before is not None:
            before.close()
        self._sort()

    def remove(self, camera: Camera) -> None:
        """Show a camera no more, where it is here. Who looks at it sees what else is here."""
        if self.cameras.get(camera.name) is camera:
            del self.cameras[camera.name], self._encoders[camera.name]
            camera.close()
            self.news.tell()

    def arrange(self, names: Iterable[str]) -> None:
        """Show the cameras in this order, also those to come; those without a place stay at the end."""
        self._order = {name: place for place, name in enumerate(names)}
        self._sort()

    def _sort(self) -> None:
        for name in sorted(self.cameras, key=lambda name: self._order.get(name, len(self._order))):
            self.cameras[name] = self.cameras.pop(name)
        self.news.tell()

    @property
    def is_open(self) -> bool:
        return self._entered > 0

    async def __aenter__(self) -> Self:
        async with self._opening:
            if self._entered == 0:
                async with AsyncExitStack() as exits:
                    await exits.enter_async_context(self.worker)
                    exits.push_async_callback((await self._listen()).cleanup)
                    self._exits = exits.pop_all()
            self._entered += 1
        self.news.tell()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._opening:
            self._entered -= 1
            if self._entered == 0:
                for camera in self.cameras.values():
                    camera.close()
                await self._exits.aclose()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BYTES + 1)
        Door(Guard(self.target.password)).add_to(application)
        Api(self.cameras, self.news, self._schemas).add_to(application)
        DeployerApi(lambda: self.deployer).add_to(application)
        whep.mount(application, self._encoders)
        application.router.add_get("/", _index)
        application.router.add_static("/static/", STATIC)
        return application

    def _schemas(self) -> Mapping[str, Any]:
        return self.deployer.schemas() if self.deployer else {}

    async def _listen(self) -> web.AppRunner:
        target = self.target
        tls = target.tls()
        runner = web.AppRunner(
            self.application(), access_log=None, shutdown_timeout=CLOSE_SECONDS, handler_cancellation=True
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, target.host, target.port, ssl_context=tls).start()
        except OSError as error:
            await runner.cleanup()
            reason = (error.strerror or str(error)).lower()
            raise SinkError(f"{target.url}: cannot listen on {target.host}:{target.port}: {reason}") from None
        self.port = runner.addresses[0][1]
        if not target.is_local and tls is None:
            log.warning("the password travels unencrypted: give ?cert=FILE&key=FILE", url=target.url)
        log.info("the page is open", address=self.address)
        return runner


async def _index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")
