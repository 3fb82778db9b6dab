"""Where the page is served, and to whom: read from a sink's URL and the environment."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..base import SinkError, redact
from ..listening import LOOPBACK, MIN_PASSWORD, is_loopback
from ..tls import server_tls

PASSWORD_VARIABLE = "KEEPSIGHT_WEB_PASSWORD"
_PARAMETERS = ("cert", "key")


@dataclass(frozen=True, slots=True)
class WebTarget:
    """An address to listen on, and what guards it. `certificate` and `key` are PEM files; both or none.

    Without a password everybody who reaches the port is let in, so the port is then this machine's alone.
    The password is in no `repr`, and `url` has it masked.
    """

    url: str
    host: str
    port: int
    password: str | None = field(repr=False)
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_local(self) -> bool:
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        """What to type into a browser."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"

    def tls(self) -> ssl.SSLContext | None:
        """What encrypts the connections; None where nothing does. Raises SinkError for unusable files."""
        if self.certificate is None or self.key is None:
            return None
        try:
            return server_tls(self.url, self.certificate, self.key)
        except ValueError as error:
            raise SinkError(str(error)) from None


def parse_target(url: str, *, environment: Mapping[str, str] = os.environ) -> WebTarget:
    """The target that a URL names: `web://[:password@][host]:port[?cert=FILE&key=FILE]`.

    Without a host it is this machine alone (127.0.0.1); `web://0.0.0.0:8080` listens to all that can reach
    it, and needs a password. That comes from KEEPSIGHT_WEB_PASSWORD where the URL has none; in the URL,
    special characters are percent-encoded. Raises SinkError for anything that is not as described.
    """
    parts, host, port = _split(url)
    shown = redact(url)
    given = _parameters(shown, parts)
    if parts.username:
        raise SinkError(f"{shown}: there are no user names here: write web://:PASSWORD@{host}:{port}")
    if ("cert" in given) != ("key" in given):
        raise SinkError(f"{shown}: for TLS give both, ?cert=FILE.pem&key=FILE.pem")
    password = unquote(parts.password) if parts.password else environment.get(PASSWORD_VARIABLE) or None
    files = {name: Path(file) for name, file in given.items()}
    target = WebTarget(shown, host, port, password, files.get("cert"), files.get("key"))
    _check_guarded(target)
    return target


def _check_guarded(target: WebTarget) -> None:
    """Raises SinkError where strangers could come in."""
    if target.is_local:
        return
    if target.password is None:
        raise SinkError(
            f"{target.url}: this would be open to the network without a password: set {PASSWORD_VARIABLE}, "
            f"or write web://:{target.port} for this machine alone"
        )
    if len(target.password) < MIN_PASSWORD:
        raise SinkError(
            f"{target.url}: the password is too short for the network: it needs {MIN_PASSWORD} characters"
        )


def _split(url: str) -> tuple[SplitResult, str, int]:
    """The URL's parts, host and port. What cannot be read is not shown: a password may be in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or LOOPBACK, parts.port
    except ValueError:
        port = None
    if port is None or parts.path.strip("/") or parts.fragment:
        raise SinkError(
            "web://: the address cannot be read; write web://:8080, or web://:PASSWORD@HOST:PORT with "
            "special characters percent-encoded"
        )
    return parts, host, port


def _parameters(shown: str, parts: SplitResult) -> dict[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - set(_PARAMETERS))
    if unknown:
        raise SinkError(f"web://: no parameter {unknown[0]!r}; there are {', '.join(_PARAMETERS)}")
    if empty := sorted(name for name, value in given.items() if not value):
        raise SinkError(f"{shown}: {empty[0]}= is empty: name a file")
    return given
