"""A broker with certificates on both sides, an access list, and WebSockets, as mosquitto has them."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from keepsight.streams.base import SinkError
from keepsight.streams.sinks import open_sink
from tests.logs import Log
from tests.peers.mosquitto import Mosquitto, Subscriber, needs_mosquitto
from tests.peers.websocket import websocket_door

from .results import result

pytestmark = [
    needs_mosquitto,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
CAMERA = "keepsight/n/cam/c"


async def openssl(*arguments: str) -> None:
    making = await asyncio.create_subprocess_exec(
        "openssl", *arguments, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    assert await making.wait() == 0


@dataclass(frozen=True)
class Certificates:
    """An authority, and what it signed for the broker and for a client called ann."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    async def make(self) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        await openssl(
            *("req", "-x509", *key, "-days", "1", "-subj", "/CN=Test CA"),
            *("-out", str(self.ca), "-keyout", str(self.folder / "ca.key")),
        )
        for name, extension in (
            ("localhost", "subjectAltName=DNS:localhost"),
            ("ann", "keyUsage=digitalSignature"),
        ):
            request, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
            extra.write_text(extension)
            await openssl(
                *("req", *key, "-subj", f"/CN={name}", "-out", str(request)),
                *("-keyout", str(self.folder / f"{name}.key")),
            )
            await openssl(
                *("x509", "-req", "-days", "1", "-in", str(request), "-CA", str(self.ca)),
                *("-CAkey", str(self.folder / "ca.key"), "-CAcreateserial", "-extfile", str(extra)),
                *("-out", str(self.folder / f"{name}.crt")),
            )

    def broker(self) -> tuple[str, ...]:
        """Settings of a broker that asks its clients for certificates and takes their names for users'."""
        return (
            f"cafile {self.ca}",
            f"certfile {self.folder / 'localhost.crt'}",
            f"keyfile {self.folder / 'localhost.key'}",
            "require_certificate true",
            "use_identity_as_username true",
        )

    def url(self, port: int, scheme: str = "mqtts") -> str:
        cert, key = (self.folder / f"ann.{ending}" for ending in ("crt", "key"))
        return f"{scheme}://localhost:{port}/?node=n&camera=c&ca={self.ca}&cert={cert}&key={key}"

    def subscriber(self) -> tuple[str, ...]:
        cert, key = (str(self.folder / f"ann.{ending}") for ending in ("crt", "key"))
        return ("-h", "localhost", "--cafile", str(self.ca), "--cert", cert, "--key", key)


async def test_certificates_say_who_both_sides_are_and_the_access_list_what_each_may(
    tmp_path: Path, log: Log
) -> None:
    certificates = Certificates(tmp_path)
    await certificates.make()
    rules = tmp_path / "acl"
    rules.write_text(
        f"user ann\ntopic read #\ntopic write keepsight/n/availability\ntopic write {CAMERA}/#\n"
    )
    settings = (*certificates.broker(), "allow_anonymous false", f"acl_file {rules}")
    async with Mosquitto(tmp_path, *settings) as broker:
        async with (
            Subscriber(broker.port, "#", *certificates.subscriber()) as subscriber,
            open_sink(certificates.url(broker.port)) as sink,
        ):
            await sink.write(result(0, events=("new",)))
            await subscriber.until("/events")
        refused = {entry["topic"] for entry in log.entries if "refuses" in entry["event"]}
        assert "Not authorized" in str(log.entries)
        assert refused == {"keepsight/n/info", "homeassistant/device/keepsight_n/config"}

        without = f"mqtts://localhost:{broker.port}/?node=n&camera=c&ca={certificates.ca}&spool=off"
        log.entries.clear()
        async with open_sink(without):
            await log.warned()
        assert log.warnings == ["mqtt broker away, trying on"]


async def test_a_broker_is_spoken_to_over_websockets_also_with_certificates(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    await certificates.make()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    tls.load_cert_chain(tmp_path / "localhost.crt", tmp_path / "localhost.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with (
        Mosquitto(tmp_path) as broker,
        websocket_door(broker.port, "/mqtt") as plain,
        websocket_door(broker.port, "/broker", tls) as secured,
    ):
        for url in (
            f"mqtt+ws://127.0.0.1:{plain}/?node=n",
            f"{certificates.url(secured, 'mqtt+wss')}&path=/broker",
        ):
            async with Subscriber(broker.port, "#") as subscriber, open_sink(url, camera="c") as sink:
                await sink.write(result(0, events=("new",)))
                await subscriber.until("/events")


async def test_certificates_that_cannot_be_used_are_named_in_a_line(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    await certificates.make()
    (tmp_path / "text.pem").write_text("no certificate")
    other = tmp_path / "ca.key"
    good = certificates.url(1)
    ca, key = f"ca={certificates.ca}", f"key={tmp_path / 'ann.key'}"
    for url, reason in (
        (good.replace(ca, "ca=none.pem"), "ca: there is no file none.pem"),
        (good.replace(ca, f"ca={tmp_path / 'text.pem'}"), "holds no certificate in PEM form"),
        (good.replace(key, f"key={other}"), "KEY_VALUES_MISMATCH"),
        (good.replace("ann.crt", "text.pem"), "both must be PEM"),
    ):
        with pytest.raises(SinkError) as caught:
            async with open_sink(url):
                pass
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
