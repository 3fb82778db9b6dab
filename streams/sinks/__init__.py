"""Where results go, chosen by URL: `open_sink("out.mp4")`, `open_sink("mqtt://broker", camera="door")`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..base import Sink, SinkError, redact
from .jsonl import JsonLinesWriter
from .masks import MasksWriter
from .mqtt import MqttSink
from .mqtt_target import SCHEMES, parse_target
from .video import VideoWriter
from .writer import Writer, WriterSink

_FILES: dict[str, Callable[[Path], Writer]] = {
    ".mp4": VideoWriter,
    ".mkv": VideoWriter,
    ".jsonl": JsonLinesWriter,
}
_FOLDERS: dict[str, Callable[[Path], Writer]] = {"masks": MasksWriter}

KNOWN_SINKS = (
    *(f"FILE{ending}" for ending in _FILES),
    *(f"{scheme}:DIR" for scheme in _FOLDERS),
    *(f"{scheme}://HOST/PREFIX" for scheme in SCHEMES),
)


def open_sink(url: str, *, node: str = "", camera: str = "", run: str = "") -> Sink:
    """The sink that `url` names, not yet entered.

    `node`, `camera` and `run` name this machine, the stream and the run in MQTT topics and event ids; the
    URL's own `node` and `camera` win. Empty: the host name, "camera", and a new name for each sink. Raises
    SinkError, listing the sinks there are, where the URL names none of them.
    """
    scheme, _, rest = url.partition(":")
    ending = Path(url).suffix.lower()
    if scheme in SCHEMES:
        return MqttSink(parse_target(url, node=node, camera=camera, run=run))
    if scheme in _FOLDERS and rest:
        return WriterSink(url, _FOLDERS[scheme](Path(rest)))
    if "://" not in url and ending in _FILES:
        return WriterSink(url, _FILES[ending](Path(url)))
    raise SinkError(f"{redact(url)}: no such sink; there are {', '.join(KNOWN_SINKS)}")
