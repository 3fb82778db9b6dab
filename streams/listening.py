"""Where a server of ours listens and whom it lets in, read from a URL."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from .base import redact

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listening:
    """An address to listen on. Without a password everybody who reaches the port is let in, so the port is
    then this machine's alone. `url` has the password masked; `name` is the path without its first slash."""

    url: str
    host: str
    port: int
    name: str
    user: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)

    def lets_in(self, authorization: str | None) -> bool:
        """Whether the `Authorization` header of a request will do: `Basic` with user and password, or
        `Bearer` with the password (RFC 7617, RFC 6750)."""
        if self.password is None:
            return True
        kind, _, value = (authorization or "").partition(" ")
        match kind.lower():
            case "bearer":
                return _same(value.strip(), self.password)
            case "basic":
                return _same(_decoded(value), f"{self.user}:{self.password}")
        return False


def parse_listening(url: str, *, port: int, name: str) -> Listening:
    """`scheme://[[user]:password@][host][:port]/name`; without a host, this machine's own address.

    `port` and `name` stand in where the URL has none. Raises ValueError, in a line without the password, for
    what cannot be read and for what would be open to everybody.
    """
    shown = redact(url)
    try:
        parts = urlsplit(url)
        host, at = parts.hostname or LOOPBACK, port if parts.port is None else parts.port
    except ValueError:
        scheme = url.partition(":")[0]
        raise ValueError(
            f"{scheme}://: the host or port cannot be read; write {scheme}://:{port}/name"
        ) from None
    if parts.query or parts.fragment:
        raise ValueError(f"{shown}: takes no ?options")
    path = unquote(parts.path).strip("/") or name
    if not path or "/" in path:
        raise ValueError(f"{shown}: needs one name after the port, for example {parts.scheme}://:{at}/door")
    password = unquote(parts.password) if parts.password else None
    if password is None and not _is_loopback(host):
        raise ValueError(
            f"{shown}: {host} can be reached from elsewhere, so it needs a password: "
            f"{parts.scheme}://user:PASSWORD@{host}:{at}/{path}"
        )
    return Listening(shown, host, at, path, unquote(parts.username or ""), password)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
