"""Where frames come from: one file per kind of source, opened by URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ..base import Source, SourceError, redact
from ..retry import reconnecting
from ..types import SourceStatus
from .container import ContainerSource
from .image_folder import ImageFolderSource
from .live import http, rtmp, rtsp, udp, video4linux
from .played import Played
from .synthetic import SyntheticSource
from .webrtc import WhepSource, WhipSource, whip_listener

Make = Callable[[str, float], Source]
SCHEMES: dict[str, Make] = {
    "rtsp": rtsp,
    "rtsps": rtsp,
    "rtmp": rtmp,
    "rtmps": rtmp,
    "udp": udp,
    "http": http,
    "https": http,
    "whep": WhepSource,
    "wheps": WhepSource,
    "test": lambda url, timeout_seconds: SyntheticSource(url),
}
"""From a URL's scheme to the source it names, given the URL and a time-out in seconds."""
PUBLISHED = "whip-server"
"""The scheme of what does not wait for us: others come and publish."""


def open_source(
    url: str,
    *,
    timeout_seconds: float = 10.0,
    on_status: Callable[[SourceStatus], None] | None = None,
    realtime: bool = False,
    loop: bool = False,
    after: float = 0.0,
    hwaccel: str = "off",
) -> Source:
    """The source that a URL or a path names; nothing is opened before `async with`.

    A file, a folder of images, `/dev/video0`, or a URL with one of `SCHEMES`. What is live and can fail is
    opened again for ever, the first time `after` so many seconds, and `on_status` is told how it does. A
    recording is played at its own rate with `realtime`, and over and over with `loop`. `SourceError` for what
    does not exist or is not known.

    `hwaccel`: what is to decode, one of `base.HARDWARE`; with `off`, and where it is not there, software.
    """
    if realtime or loop:
        return _played(url, timeout_seconds, realtime, loop, hwaccel)
    if url.startswith(f"{PUBLISHED}://"):
        listener = whip_listener(url)
        return reconnecting(lambda: WhipSource(url, listener), on_status=on_status, around=listener)
    make = _decoding(_constructor(url), hwaccel)
    source = make(url, timeout_seconds)
    if source.live and not isinstance(source, SyntheticSource):
        return reconnecting(lambda: make(url, timeout_seconds), on_status=on_status, after=after)
    return source


def _decoding(make: Make, hwaccel: str) -> Make:
    """The constructor of a source that decodes as `hwaccel` says, where it is FFmpeg that does, until that
    has failed for one that it made."""
    last: ContainerSource | None = None

    def made(url: str, timeout_seconds: float) -> Source:
        nonlocal last
        source = make(url, timeout_seconds)
        if not isinstance(source, ContainerSource) or (last is not None and last.hardware_failed):
            return source
        last = source.decoded_by(hwaccel)
        return last

    return make if hwaccel == "off" else made


def _played(url: str, timeout_seconds: float, realtime: bool, loop: bool, hwaccel: str) -> Source:
    make = _constructor(url)
    if make is not _on_disk:
        raise SourceError(f"{redact(url)}: only files and folders of images can be looped or in real time")
    make = _decoding(make, hwaccel)
    return Played(lambda: make(url, timeout_seconds), realtime=realtime, loop=loop)


def _constructor(url: str) -> Make:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        scheme = _scheme(url)
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in (*SCHEMES, PUBLISHED))
            raise SourceError(
                f"{redact(url)}: unknown scheme {scheme}; "
                f"known: {known}, a file, a folder of images, /dev/video*"
            )
        return SCHEMES[scheme]
    return video4linux if url.startswith("/dev/video") else _on_disk


def _scheme(url: str) -> str:
    """The scheme of a URL that can be read. What cannot be is not shown: a password may be in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise SourceError(
            f"{url.partition(':')[0]}://: the host or port cannot be read; write scheme://[user:password@]"
            "host[:port]/path with special characters percent-encoded"
        ) from None
    return parts.scheme


def _on_disk(url: str, timeout_seconds: float) -> Source:
    path = Path(url)
    try:
        if path.is_dir():
            return ImageFolderSource(path)
        if not path.exists():
            raise SourceError(f"{url}: no such file")
    except OSError as error:
        raise SourceError(f"{url}: {error.strerror}") from None
    return ContainerSource(url, live=False)


__all__ = ["SCHEMES", "SourceStatus", "SyntheticSource", "open_source"]
