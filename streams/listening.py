"""Where a server of ours listens and whom it lets in, read from a URL."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from .base import redact
from .tls import server_tls

LOOPBACK = "127.0.0.1"
MIN_PASSWORD = 8
"""Characters of a password that protects what is reached from elsewhere."""


@dataclass(frozen=True, slots=True)
class Listening:
    """An address to listen on. Without a password everybody who reaches the port is let in, so the port is
    then this machine's alone. `url` has the password masked; `name` is the path without its first slash;
    `certificate` and `key` are PEM files for TLS, both or none."""

    url: str
    host: str
    port: int
    name: str
    user: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None

    def tls(self) -> ssl.SSLContext | None:
        """What encrypts the connections; None where nothing does. Raises ValueError for unusable files."""
        if self.certificate is None or self.key is None:
            return None
        return server_tls(self.url, self.certificate, self.key)

    def shares_port_with(self, other: Listening) -> bool:
        """Whether one server can serve both: it shows one certificate, or none."""
        return (self.certificate, self.key) == (other.certificate, other.key)

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
    """`scheme://[[user]:password@][host][:port]/name[?cert=FILE&key=FILE]`; without a host, this machine's
    own address.

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
    files = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.fragment or files.keys() - {"cert", "key"}:
        raise ValueError(f"{shown}: takes no options but ?cert=FILE.pem&key=FILE.pem")
    if files and not (files.get("cert") and files.get("key")):
        raise ValueError(f"{shown}: for TLS give both, ?cert=FILE.pem&key=FILE.pem")
    path = unquote(parts.path).strip("/") or name
    if not path or "/" in path:
        raise ValueError(f"{shown}: needs one name after the port, for example {parts.scheme}://:{at}/door")
    password = unquote(parts.password) if parts.password else None
    if len(password or "") < MIN_PASSWORD and not is_loopback(host):
        raise ValueError(
            f"{shown}: {host} can be reached from elsewhere, so it needs a password of {MIN_PASSWORD} "
            f"characters: {parts.scheme}://user:PASSWORD@{host}:{at}/{path}"
        )
    certificate, key = (Path(files[name]) if files else None for name in ("cert", "key"))
    return Listening(shown, host, at, path, unquote(parts.username or ""), password, certificate, key)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reached from nowhere else."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_from_here(host: str, origin: str | None, site: str | None) -> bool:
    """Whether a request comes from our own page or from no page at all, as browsers tell.

    `origin`: the Origin header (RFC 6454), of which scheme and port may differ behind a proxy that ends
    TLS only in the scheme; `site`: Sec-Fetch-Site (W3C Fetch Metadata).
    """
    if site is not None and site not in ("same-origin", "none"):
        return False
    try:
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
