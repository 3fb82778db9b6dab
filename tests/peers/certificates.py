"""A certificate for this machine, made by openssl."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files; `options` as a URL of ours takes them."""

    certificate: Path
    key: Path

    @property
    def options(self) -> str:
        return f"?cert={self.certificate}&key={self.key}"

    def trusted(self) -> ssl.SSLContext:
        """What a client that trusts it connects with."""
        return ssl.create_default_context(cafile=self.certificate)


async def make_certificate(openssl: str, folder: Path) -> Certificate:
    """For 127.0.0.1 and localhost, signed by itself."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    process = await asyncio.create_subprocess_exec(
        *(
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ),
        *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return made
