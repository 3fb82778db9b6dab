"""Where results go, chosen by URL: `open_sink("out.mp4")`, `open_sink("mqtt://broker", camera="door")`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import Sink, SinkError, redact
from ..encoder import SharedEncoder
from .clips import ClipsSink
from .clips_target import parse_clips
from .coco import CocoWriter
from .jsonl import JsonLinesWriter
from .live import KNOWN_LIVE, LIVE, LiveVideoSink
from .masks import MasksWriter
from .mot import MotWriter
from .mqtt import MqttSink
from .mqtt_target import SCHEMES, parse_target
from .video import VideoWriter
from .writer import Writer, WriterSink

if TYPE_CHECKING:
    from ..web.server import WebServer
    from ..web.target import WebTarget

_FILES: dict[str, Callable[[Path], Writer]] = {
    ".mp4": VideoWriter,
    ".mkv": VideoWriter,
    ".jsonl": JsonLinesWriter,
}
_FOLDERS: dict[str, Callable[[Path], Writer]] = {"masks": MasksWriter}
_TABLES: dict[str, tuple[str, Callable[[Path], Writer]]] = {
    "coco": (".json", CocoWriter),
    "mot": (".txt", MotWriter),
}
_PAGE = "web"
_CLIPS = "clips"

LOCAL_SCHEMES = (*_FOLDERS, *_TABLES, _CLIPS, "hls")
"""Of outputs that are folders or files of this machine, `scheme:DIR` or `scheme:FILE`."""

KNOWN_SINKS = (
    *(f"FILE{ending}" for ending in _FILES),
    *(f"{scheme}:DIR" for scheme in _FOLDERS),
    *(f"{scheme}:FILE{ending}" for scheme, (ending, _) in _TABLES.items()),
    f"{_CLIPS}:DIR",
    *(f"{scheme}://HOST/PREFIX" for scheme in SCHEMES),
    f"{_PAGE}://:PORT",
    *KNOWN_LIVE,
)


def open_sink(
    url: str,
    *,
    node: str = "",
    camera: str = "",
    run: str = "",
    encoder: SharedEncoder | None = None,
    servers: dict[WebTarget, WebServer] | None = None,
) -> Sink:
    """The sink that `url` names, not yet entered.

    Live video comes from `encoder`, which all sinks of one stream share; without it, from one of its own.

    `node`, `camera` and `run` name this machine, the stream and the run in MQTT topics and event ids; the
    URL's own `node` and `camera` win. Empty: the host name, "camera", and a new name for each sink. Cameras
    whose sinks are given the same `servers` are on one page where their URLs say the same. Raises SinkError,
    listing the sinks there are, where the URL names none of them.
    """
    scheme, _, rest = url.partition(":")
    if scheme in LOCAL_SCHEMES and rest.startswith("//"):
        kind, place = ("file", f"FILE{_TABLES[scheme][0]}") if scheme in _TABLES else ("folder", "DIR")
        raise SinkError(f"{scheme}://: is a {kind} of this machine: write {scheme}:{place}")
    if scheme in SCHEMES:
        return MqttSink(parse_target(url, node=node, camera=camera, run=run))
    if scheme == _PAGE:
        return _page(url, encoder or SharedEncoder(camera or "camera"), {} if servers is None else servers)
    if scheme in LIVE and rest.strip("/"):
        shared = encoder or SharedEncoder(camera or "camera")
        return LiveVideoSink(url, shared, LIVE[scheme](url, shared))
    if scheme == _CLIPS and rest:
        return ClipsSink(parse_clips(url), encoder or SharedEncoder(camera or "camera"))
    if writer := _writer(url):
        return WriterSink(url, writer)
    raise SinkError(f"{redact(url)}: no such output; there are {', '.join(KNOWN_SINKS)}")


def _writer(url: str) -> Writer | None:
    """What writes the file or folder that `url` names; None where it names none."""
    scheme, _, rest = url.partition(":")
    ending = Path(url).suffix.lower()
    if scheme in _FOLDERS and rest:
        return _FOLDERS[scheme](Path(rest))
    if scheme in _TABLES and rest:
        wanted, table = _TABLES[scheme]
        if ending != wanted:
            raise SinkError(f"{redact(url)}: is written as {wanted}: write {scheme}:FILE{wanted}")
        return table(Path(rest))
    if "://" not in url and ending in _FILES:
        return _FILES[ending](Path(url))
    return None


def _page(url: str, encoder: SharedEncoder, servers: dict[WebTarget, WebServer]) -> Sink:
    """One camera on its page, whose server is made for the first. It is imported here: other runs do not wait
    for that."""
    from ..web.server import WebServer
    from ..web.sink import WebSink
    from ..web.target import parse_target as parse_page

    target = parse_page(url)
    return WebSink(servers.setdefault(target, WebServer(target)), encoder)
