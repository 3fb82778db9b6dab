"""What may be said of a stream over the network: nothing that reaches this machine's files or secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from keepsight.streams.base import redact
from keepsight.streams.sinks.mqtt_target import SCHEMES, broker

from .config import Stream
from .validation import ConfigError

SOURCES = frozenset(
    (
        *("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp"),
        *("whep", "wheps", "whip-server", "test"),
    )
)
OUTPUTS = frozenset((*SCHEMES, "rtsp", "rtsps", "rtmp", "rtmps", "rtsp-server", "whip", "whips", "web"))
CAMERA = re.compile(r"/dev/video\d+")
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
"""Where servers listen unless a URL says otherwise."""
FILE_KEYS = ("prompts", "prompt_mask", "record")
"""Keys of a stream whose values are files."""
FILE_PARAMETERS = frozenset({"ca", "cert", "key", "spool"})
"""Parameters of a URL whose values are files."""


def check_remote(name: str, stream: Mapping[str, Any]) -> None:
    """Raises ConfigError for what reaches the files or the environment of this machine."""
    refuse_variables(stream)
    if file_key := next((key for key in FILE_KEYS if stream.get(key)), None):
        raise ConfigError(f"{file_key}: names files: write it into the deployment file")
    if not isinstance(stream.get("rules") or {}, dict):
        raise ConfigError("rules: give the zones and lines themselves, not a file")
    if "detector" in str(stream.get("auto")):
        raise ConfigError("auto: a detector is a file: write it into the deployment file")
    if "source" in stream:
        check_url(name, stream["source"], SOURCES)
    for url in outputs_of(stream):
        check_url(name, url, OUTPUTS)


def check_url(name: str, url: object, schemes: frozenset[str]) -> None:
    text = str(url)
    scheme, on_network, _ = text.partition("://")
    is_camera = schemes is SOURCES and CAMERA.fullmatch(text)
    if not is_camera and not (on_network and scheme in schemes and len(text.split()) == 1):
        raise ConfigError(
            f"{redact(text)}: {name} must be a camera or on the network, and so must its outputs: "
            "what reads or writes files belongs into the deployment file"
        )
    if files := sorted(FILE_PARAMETERS & parameters_of(text)):
        raise ConfigError(f"{redact(text)}: {files[0]}: names files: write it into the deployment file")


def check_outputs(said: Iterable[str], used: Iterable[str]) -> None:
    """Raises ConfigError for a broker or page that is not among those in use: brokers are told the user and
    password in our environment, and pages let in whoever knows the password that is theirs."""
    used = tuple(used)
    brokers = {broker(url) for url in used if is_broker(url)}
    for url in said:
        if is_broker(url) and broker(url) not in brokers:
            raise ConfigError(
                f"{redact(url)}: is not a broker of this deployment: write it into the deployment file"
            )
        if url.startswith("web:") and url not in used:
            raise ConfigError(
                f"{redact(url)}: is not a page of this deployment: write it into the deployment file"
            )


def is_broker(url: str) -> bool:
    return url.partition(":")[0] in SCHEMES


def outputs_of(stream: Mapping[str, Any]) -> list[Any]:
    outputs = stream.get("output") or []
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def parameters_of(url: str) -> set[str]:
    try:
        return {key for key, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    except ValueError:
        return set()


def refuse_variables(value: object) -> None:
    """Raises ConfigError where a text would be filled in from our environment."""
    match value:
        case str() if "${" in value:
            raise ConfigError("${…} is filled in from the environment in the deployment file only")
        case Mapping():
            for one in (*value.keys(), *value.values()):
                refuse_variables(one)
        case list():
            for one in value:
                refuse_variables(one)


def check_covers(name: str, stream: Stream, others: Mapping[str, Stream]) -> None:
    """Raises ConfigError where a source that is covered in one of the other streams would be shown bare."""
    for other, known in others.items():
        if other == name or camera_of(known.source) != camera_of(stream.source):
            continue
        if missing := [cover for cover in known.privacy if cover not in stream.privacy]:
            raise ConfigError(
                f"{name}: its source is covered in {other}: say privacy {missing[0]!r} here, too, or write "
                "it into the deployment file"
            )


def check_stays(name: str, stream: Stream) -> None:
    """Raises ConfigError for a stream with covers, which is to be removed or given another source: then its
    camera could be shown without them."""
    if stream.privacy:
        raise ConfigError(f"{name}: has privacy: only the deployment file takes it away from its source")


def camera_of(url: str) -> str:
    """The same for two spellings of a URL: without user, password and the scheme's usual port."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return url
    if not parts.hostname:
        return url
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}?{parts.query}"


def put_over(name: str, old: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """A stream of the file with what is said of it; null leaves a key out. Raises ConfigError where a cover
    of its pictures would be taken away."""
    for cover in listed(old.get("privacy")):
        if "privacy" in said and cover not in listed(said["privacy"]):
            raise ConfigError(
                f"{name}: privacy {cover!r} can be added to here; only the deployment file takes it away"
            )
    return {key: value for key, value in {**old, **said}.items() if value is not None}


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]
