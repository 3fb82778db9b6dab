"""Certificates: what our servers show, from files that others renew while we run, and what others show us."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.parse import unquote

import structlog

log = structlog.get_logger(__name__)

_CA = re.compile(r"(?<=[?&])ca=([^&#]*)&?")


def checking_with(url: str) -> tuple[str, dict[str, str]]:
    """An `rtsps://` or `https://` URL without its `ca=FILE`, and what FFmpeg is then told: to check the
    server's certificate against that PEM file. A URL without one is changed in nothing but its scheme, which
    FFmpeg knows only in lower case. Raises ValueError where the file is not there, and for other schemes,
    where nothing would be checked."""
    scheme, mark, place = url.partition("://")
    url = f"{scheme.lower()}{mark}{place}"
    found = _CA.search(url)
    if found is None:
        return url, {}
    if not url.startswith(("rtsps://", "https://")):
        raise ValueError("ca= is for rtsps:// and https:// alone: nothing else would be checked")
    file = unquote(found[1])
    if not Path(file).is_file():
        raise ValueError(f"ca={file}: no such file")
    rest = url[: found.start()] + url[found.end() :]
    return rest.rstrip("?&"), {"tls_verify": "1", "ca_file": file}


def server_tls(url: str, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for the server that `url` names; `certificate` and `key` are PEM files.

    Files that have changed are read again when the next client comes; where they cannot be used, that is a
    warning, and clients go on to get what was read before. Raises ValueError where they cannot be used now.
    """
    files = _Files(certificate, key)
    try:
        context = files.context()
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"{url}: the certificate {certificate} with its key cannot be used: {_reason(error)}"
        ) from None
    newest = context

    def renew(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        """Called as a client says hello, before it is shown a certificate."""
        nonlocal newest
        if files.have_changed():
            try:
                newest = files.context()
                log.info("certificate renewed", server=url, certificate=str(certificate))
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate not renewed", server=url, reason=_reason(error))
        connection.context = newest

    context.sni_callback = renew
    return context


class _Files:
    """A certificate with its key, and when they were changed last."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self._read: tuple[int, ...] = ()

    def have_changed(self) -> bool:
        """Whether they are not as when they were read last, well or not. Files that are away have not."""
        try:
            return self._changed() != self._read
        except OSError:
            return False

    def context(self) -> ssl.SSLContext:
        """Reads them. Raises OSError and ssl.SSLError."""
        self._read = self._changed()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._paths, password=_refuse)
        return context

    def _changed(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._paths)


def _refuse() -> str:
    """Asked for a passphrase, which else OpenSSL would ask the terminal for, and wait."""
    raise ssl.SSLError(1, "the key has a passphrase: give one without (openssl pkey -in KEY -out NEW)")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
