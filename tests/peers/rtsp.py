"""Starts and stops the independent RTSP server of `rtsp_server.py`."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SYSTEM_PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).with_name("rtsp_server.py")


def why_no_rtsp_server() -> str | None:
    """What is missing for the server, None where all is there."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", check], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "GStreamer's RTSP server and its Python bindings are not installed"
    return None


class RtspServer:
    """A process that plays clips, one after the other and over and over, as coded by `codec`: h264, h265 or
    mjpeg. `port` 0 takes a free one; with `login`, "user:password", it asks for that; pictures travel `over`
    tcp or udp, and in no other way; `with` stops it."""

    def __init__(
        self, *clips: Path, port: int = 0, codec: str = "h264", login: str = "", over: str = "tcp"
    ) -> None:
        self._clips, self._port, self._codec, self._login, self._over = clips, port, codec, login, over

    def __enter__(self) -> Self:
        login = ["--login", self._login] if self._login else []
        options = ["--port", str(self._port), "--codec", self._codec, "--over", self._over, *login]
        command = [SYSTEM_PYTHON, str(PROGRAM), *map(str, self._clips), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the RTSP server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self, *clips: Path, codec: str | None = None) -> None:
        """On the same port, with other clips where some are given. Returns when it listens."""
        port = self.port
        self.__exit__(None, None, None)
        self._clips, self._port, self._codec = clips or self._clips, port, codec or self._codec
        self.__enter__()

    def freeze(self) -> None:
        """The process lives and its connections stay open, but it says nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
