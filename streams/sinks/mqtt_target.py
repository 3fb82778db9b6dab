"""Where MQTT messages go and what they are called: read from a sink's URL and the environment."""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..base import SinkError, redact

USERNAME_VARIABLE = "KEEPSIGHT_MQTT_USERNAME"
PASSWORD_VARIABLE = "KEEPSIGHT_MQTT_PASSWORD"
"""With `_FILE` behind them both name a file to read them from, as containers give secrets."""

_PORTS = {"mqtt": 1883, "mqtts": 8883, "mqtt+ws": 80, "mqtt+wss": 443}
SCHEMES = tuple(_PORTS)
_PARAMETERS = (
    *("node", "camera", "masks", "frames_per_second", "spool", "discovery"),
    *("ca", "cert", "key", "path"),
)
PROCESS = secrets.token_hex(6)
"""Tells this process from others that may have the same names."""
STATE_VARIABLE = "KEEPSIGHT_STATE"
_FLAGS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
_NAME_BYTES = 128
MOST_LEVELS = 100
"""Of a topic that others chose: brokers hang up on who publishes to one that is too deep for them."""
_UNFIT = re.compile(r"[+#\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class MqttTarget:
    """A broker, the names in the topics, and how much is sent.

    `run` tells one run's events from another's, `process` one process from another. `masks`: send masks too.
    `frames_per_second`: at most so many frames messages (and as many masks messages) a second; None sends as
    many as the broker takes. `spool`: the file that events wait in, one for each camera of each broker; None
    keeps them in memory only.
    `discovery`: tell Home Assistant of the node. `path`: of the WebSocket, None for plain TCP. `ca`: whom to
    trust instead of the system's authorities; `cert`, `key`: how we prove who we are. The password is in no
    `repr`, and `url` has it masked.
    """

    url: str
    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None = field(repr=False)
    prefix: str
    node: str
    camera: str
    run: str
    masks: bool
    frames_per_second: float | None
    spool: Path | None
    process: str = PROCESS
    discovery: bool = True
    path: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def info_topic(self) -> str:
        return f"{self.prefix}/{self.node}/info"

    @property
    def stats_topic(self) -> str:
        return f"{self.prefix}/{self.node}/stats"

    @property
    def availability_topic(self) -> str:
        return f"{self.prefix}/{self.node}/availability"

    def camera_topic(self, name: str) -> str:
        return f"{self.prefix}/{self.node}/cam/{self.camera}/{name}"


def parse_target(
    url: str, *, node: str = "", camera: str = "", run: str = "", environment: Mapping[str, str] = os.environ
) -> MqttTarget:
    """The target that a URL names: `mqtt[s]://[user[:password]@]host[:port][/prefix][?parameters]`, and
    `mqtt+ws://`, `mqtt+wss://` for WebSockets without and with TLS.

    The parameters are node, camera, masks (1 or 0), frames_per_second, discovery (1 or 0), spool (a folder,
    or off; by default in KEEPSIGHT_STATE, or else the user's folder for state); with TLS ca, cert and key
    (PEM files); with WebSockets path ("/mqtt" by default). User and password come from
    KEEPSIGHT_MQTT_USERNAME and KEEPSIGHT_MQTT_PASSWORD, or from the files that these with _FILE name, where
    the URL has none; in the URL, special characters are percent-encoded. Raises SinkError for anything that
    is not as described.
    """
    parts, host, port = _split(url)
    given = _parameters(parts)
    shown = redact(url)
    prefix = "/".join(_name(shown, "prefix", level) for level in _levels(parts))
    node = _name(shown, "node", given.get("node") or node or _host_name())
    camera = _name(shown, "camera", given.get("camera") or camera or "camera")
    tls, sockets = parts.scheme in ("mqtts", "mqtt+wss"), "+ws" in parts.scheme
    _check_parameters(shown, given, tls, sockets)
    folder = _spool_folder(shown, given.get("spool"), environment)
    return MqttTarget(
        url=shown,
        host=host,
        port=port,
        tls=tls,
        username=_secret(parts.username, environment, USERNAME_VARIABLE),
        password=_secret(parts.password, environment, PASSWORD_VARIABLE),
        prefix=prefix,
        node=node,
        camera=camera,
        run=run or secrets.token_hex(6),
        masks=_flag(shown, "masks", given.get("masks", "0")),
        frames_per_second=_rate(shown, given.get("frames_per_second")),
        spool=folder and folder / _spool_name(f"{host}:{port}/{prefix}/{node}", camera),
        discovery=_flag(shown, "discovery", given.get("discovery", "1")),
        path=given.get("path", "/mqtt") if sockets else None,
        ca=_file(given, "ca"),
        cert=_file(given, "cert"),
        key=_file(given, "key"),
    )


def broker(url: str) -> tuple[str, str, int]:
    """Whom messages are sent to, and how: scheme, host and port. Raises SinkError where it cannot be read."""
    parts, host, port = _split(url)
    return parts.scheme, host, port


def _check_parameters(shown: str, given: Mapping[str, str], tls: bool, sockets: bool) -> None:
    """Raises SinkError for what is given but has no use, and for half of what is needed."""
    for name in ("ca", "cert", "key"):
        if name in given and not tls:
            raise SinkError(f"{shown}: {name} is for TLS: write mqtts:// or mqtt+wss://")
    if "path" in given and not sockets:
        raise SinkError(f"{shown}: path is for WebSockets: write mqtt+ws:// or mqtt+wss://")
    if "key" in given and "cert" not in given:
        raise SinkError(f"{shown}: key without cert: name the certificate, too")


def _file(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]) if given.get(name) else None


def _split(url: str) -> tuple[SplitResult, str, int]:
    """The URL's parts, host and port. What cannot be read is not shown: a password may be in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        host.encode("idna")
    except ValueError:
        host = ""
    if not host or "@" in parts.path:
        raise SinkError(
            "mqtt://: the host or port cannot be read; write mqtt://[user:password@]host[:port]/prefix "
            "with special characters percent-encoded"
        )
    return parts, host, port


def _parameters(parts: SplitResult) -> dict[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - set(_PARAMETERS))
    if unknown:
        raise SinkError(f"{parts.scheme}://: no parameter {unknown[0]!r}; there are {', '.join(_PARAMETERS)}")
    return given


def _secret(from_url: str | None, environment: Mapping[str, str], name: str) -> str | None:
    if from_url is not None:
        return unquote(from_url)
    if environment.get(name):
        return environment[name]
    file = environment.get(f"{name}_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n") or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise SinkError(f"{name}_FILE: {file}: {reason}") from None


def _levels(parts: SplitResult) -> list[str]:
    return unquote(parts.path).strip("/").split("/") if parts.path.strip("/") else ["keepsight"]


def publishable(topic: str) -> bool:
    """Whether a message can be published to a topic that others chose (MQTT 5.0, section 4.7)."""
    levels = topic.count("/") + 1
    return (
        0 < len(topic.encode(errors="replace")) < 2**16 and levels <= MOST_LEVELS and not _UNFIT.search(topic)
    )


def _name(url: str, what: str, name: str) -> str:
    """`name` where it can be one level of a topic to publish to (MQTT 5.0, section 4.7), else a SinkError."""
    if (
        not name
        or "/" in name
        or name.startswith("$")
        or _UNFIT.search(name)
        or len(name.encode()) > _NAME_BYTES
    ):
        raise SinkError(
            f"{url}: {what} {name!r} cannot be part of a topic: it may not be empty, start with $, "
            f"hold / + # or control characters, or be longer than {_NAME_BYTES} bytes"
        )
    return name


def _host_name() -> str:
    return _plain(socket.gethostname()) or "keepsight"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def _spool_folder(url: str, given: str | None, environment: Mapping[str, str]) -> Path | None:
    if given == "":
        raise SinkError(f"{url}: spool= is empty: name a folder, or off")
    if given is not None:
        return None if given == "off" else Path(given)
    if state := environment.get(STATE_VARIABLE):
        return Path(state) / "mqtt"
    return Path(environment.get("XDG_STATE_HOME") or "~/.local/state") / "keepsight" / "mqtt"


def _spool_name(place: str, camera: str) -> str:
    """A file name that no camera of another broker, prefix or node has."""
    digest = hashlib.sha256(f"{place}/{camera}".encode()).hexdigest()
    return f"{_plain(camera)[:40]}-{digest[:12]}.sqlite"


def _flag(url: str, name: str, text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise SinkError(f"{url}: {name}={text} is neither 1 nor 0")
    return _FLAGS[text.lower()]


def _rate(url: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise SinkError(f"{url}: frames_per_second={text} is not a number above 0")
    return rate
