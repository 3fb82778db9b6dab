"""The process that publishes to one server: `python -m keepsight.streams.pushing`, told what to do on stdin.

FFmpeg hangs for ever in a server that is frozen, and nothing can interrupt it. So it publishes in a process
of its own that an alarm ends where a call takes longer than it may, whether or not somebody watches it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import av

from .encoder import Unit
from .muxing import Muxer

PATIENCE_SECONDS = 10
"""How long the server may take for one picture, or for the connection."""
CONNECTED = b"connected\n"
"""What the process says once the server has taken the first picture."""
_SEND_BUFFER = 2**18
_HEAD = struct.Struct("!IqB")


def greeting(url: str, format_: str, options: dict[str, str]) -> bytes:
    """What the process is told first. Not an argument: those everybody on the machine can read."""
    return json.dumps([url, format_, options]).encode() + b"\n"


def record(unit: Unit) -> bytes:
    """A unit on its way to the process; the first must be a key frame."""
    return _HEAD.pack(len(unit.data), unit.pts, unit.key) + unit.data


def main() -> int:
    """Publish until stdin ends. What goes wrong is said in one line on stderr."""
    told, said = sys.stdin.buffer, sys.stdout.buffer
    try:
        _publish(told, said)
    except (OSError, av.FFmpegError) as error:
        sys.stderr.write((error.strerror or type(error).__name__).splitlines()[0])
        return 1
    return 0


def _publish(told: BinaryIO, said: BinaryIO) -> None:
    url, format_, options = json.loads(told.readline())
    unit = _read(told)
    if unit is None:
        return
    signal.alarm(PATIENCE_SECONDS)
    with Muxer(url, format_, options, unit[0]) as muxer:
        _bound_sockets()
        muxer.write(*unit)
        said.write(CONNECTED)
        said.flush()
        signal.alarm(0)
        while (unit := _read(told)) is not None:
            signal.alarm(PATIENCE_SECONDS)
            muxer.write(*unit)
            signal.alarm(0)
        signal.alarm(PATIENCE_SECONDS)


def _bound_sockets() -> None:
    """Make the kernel keep little for a server that takes nothing, else it seems to take megabytes, and give
    it up in time (RFC 5482). What FFmpeg opened is found among all that is open, which Linux lists."""
    for entry in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * PATIENCE_SECONDS)


def _read(told: BinaryIO) -> tuple[bytes, int, bool] | None:
    head = told.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, pts, key = _HEAD.unpack(head)
    data = told.read(length)
    return (data, pts, bool(key)) if len(data) == length else None


if __name__ == "__main__":
    sys.exit(main())
