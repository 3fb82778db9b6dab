"""Chromium without a window, told what to do over its debugging protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
_BLANK = "about:blank"


def why_no_chromium() -> str | None:
    return None if shutil.which("chromium") else "chromium is not installed"


class Chromium:
    """A browser with one tab, which shows `url`, and a test picture as its camera, or a film (Y4M) in a loop.

    `await chromium.run("1 + 1")` gives 2.
    """

    def __init__(self, url: str, film: Path | None = None) -> None:
        self._url = url
        self._film = () if film is None else (f"--use-file-for-fake-video-capture={film}",)
        self._folder = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        self._asked = 0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "chromium",
            *_FLAGS,
            *self._film,
            f"--user-data-dir={self._folder.name}",
            self._url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(await self._tab(), max_msg_size=2**26)
        async with asyncio.timeout(30):
            while not await self.run(f"document.readyState === 'complete' && location.href !== '{_BLANK}'"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()
        await self._http.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._folder.cleanup()

    async def run(self, script: str) -> Any:
        """The value of a script, waited for where it is a promise. AssertionError where it throws."""
        answer = await self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def screenshot(self) -> bytes:
        """The tab as PNG."""
        return base64.b64decode((await self._ask("Page.captureScreenshot"))["data"])

    def kill(self) -> None:
        self._process.kill()

    async def _ask(self, method: str, **params: object) -> dict[str, Any]:
        self._asked += 1
        await self._socket.send_json({"id": self._asked, "method": method, "params": params})
        while True:
            said = await self._socket.receive_json()
            if said.get("id") == self._asked:
                assert "error" not in said, said
                return dict(said["result"])

    async def _tab(self) -> str:
        """The tab's WebSocket, once the browser is up."""
        port_file = Path(self._folder.name) / "DevToolsActivePort"
        async with asyncio.timeout(30):
            while True:
                await asyncio.sleep(0.1)
                if not port_file.exists() or not (lines := port_file.read_text().splitlines()):
                    continue
                async with self._http.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                    tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
                if tabs:
                    return str(tabs[0]["webSocketDebuggerUrl"])
