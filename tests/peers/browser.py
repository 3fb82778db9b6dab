"""A real browser, Debian's Chromium without a window, driven by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"
)
PATIENCE_SECONDS = 180
_SHIFT = 8


class Chromium:
    """One tab: `async with Chromium(folder, url) as page: await page.until("document.title")`."""

    def __init__(
        self, folder: Path, url: str, *, size: tuple[int, int] = (1280, 800), dark: bool = False
    ) -> None:
        self._folder = folder
        self._url = url
        self._size = size
        self._dark = dark
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits = AsyncExitStack()
        self._socket: ClientWebSocketResponse
        self.complaints: list[str] = []
        """What the page wrote to the console as errors, and exceptions that nobody caught."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits, asyncio.timeout(PATIENCE_SECONDS):
            await self._launch(exits)
            http = await exits.enter_async_context(ClientSession())
            async with http.get(f"http://127.0.0.1:{await self._port()}/json/list") as answer:
                (tab, *_) = [one for one in await answer.json() if one["type"] == "page"]
            self._socket = await exits.enter_async_context(
                http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=2**28)
            )
            reading = asyncio.create_task(self._read())
            exits.callback(reading.cancel)
            self._exits = exits.pop_all()
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.resize(*self._size, dark=self._dark)
        await self.call("Page.navigate", url=self._url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def _launch(self, exits: AsyncExitStack) -> None:
        assert CHROMIUM is not None
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--remote-debugging-port=0", f"--user-data-dir={self._folder}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

        async def stop() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

        exits.push_async_callback(stop)

    async def _port(self) -> int:
        file = self._folder / "DevToolsActivePort"
        while not file.exists() or not file.read_text().strip():  # noqa: ASYNC110 - no news of a file
            await asyncio.sleep(0.05)
        return int(file.read_text().split()[0])

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                answer = self._answers.pop(said["id"], None)
                if answer is not None and not answer.done():
                    answer.set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(str(said["params"]["entry"]["text"]))

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = await answer
        assert "error" not in said, said["error"]
        return dict(said["result"])

    async def value(self, script: str) -> Any:
        """What an expression of JavaScript comes to; promises are waited for."""
        said = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, script: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """The first value of an expression that is true, or something."""
        async with asyncio.timeout(seconds):
            while not (found := await self.value(script)):  # noqa: ASYNC110 - nor of a page
                await asyncio.sleep(0.05)
        return found

    async def resize(
        self, width: int, height: int, *, scale: float = 1, mobile: bool = False, dark: bool = False
    ) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def press(self, x: float, y: float, *, shift: bool = False) -> None:
        """A click at CSS pixels."""
        await self.drag((x, y), shift=shift)

    async def drag(self, *way: tuple[float, float], shift: bool = False) -> None:
        """The pointer goes down at the first point and up at the last."""
        await self.hold(*way[0], shift=shift)
        for point in way[1:]:
            await self._mouse("mouseMoved", point, 1, shift)
        await self.let_go(*way[-1], shift=shift)

    async def hold(self, x: float, y: float, *, shift: bool = False) -> None:
        """The pointer goes down, and stays so."""
        await self._mouse("mouseMoved", (x, y), 0, shift)
        await self._mouse("mousePressed", (x, y), 1, shift)

    async def let_go(self, x: float, y: float, *, shift: bool = False) -> None:
        await self._mouse("mouseReleased", (x, y), 0, shift)

    async def _mouse(self, kind: str, at: tuple[float, float], held: int, shift: bool) -> None:
        await self.call(
            "Input.dispatchMouseEvent",
            **{"type": kind, "x": at[0], "y": at[1], "modifiers": _SHIFT if shift else 0},
            **{"button": "left", "buttons": held, "clickCount": 1},
        )

    async def tap(self, x: float, y: float) -> None:
        """A finger touches at CSS pixels and leaves."""
        for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            await self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    async def key(self, name: str, *, shift: bool = False) -> None:
        """A key, as KeyboardEvent.key names it."""
        text = {"text": "\r"} if name == "Enter" else {"text": name} if len(name) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                **{"type": kind, "key": name, "code": name, "modifiers": _SHIFT if shift else 0},
                **(text if kind == "keyDown" else {}),
            )

    async def screenshot(self, file: Path) -> None:
        said = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(said["data"]))
