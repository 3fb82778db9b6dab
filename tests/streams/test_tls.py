"""What we listen on, over TLS: RTSP players and WHIP publishers, who trusts whom, and what is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from ssl import SSLCertVerificationError, create_default_context

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession, web
from aiohttp.test_utils import TestServer

from keepsight.streams.base import SinkError, SourceError
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.rtsp import server as rtsp
from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import open_source
from keepsight.streams.tls import checking_with
from keepsight.streams.types import SourceStatus
from tests.logs import Log
from tests.peers.certificates import Certificate, make_certificate

from .filming import eventually, filming
from .test_rtsp_server import run
from .test_webrtc_sources import Publisher, Reading

NeedProgram = Callable[[str], str]


@pytest.fixture
async def certificate(need_program: NeedProgram, tmp_path: Path) -> Certificate:
    return await make_certificate(need_program("openssl"), tmp_path)


async def test_ffprobe_and_our_own_source_play_over_tls(
    need_program: NeedProgram, certificate: Certificate, unused_tcp_port: int
) -> None:
    probe, at = need_program("ffprobe"), f"me:secret@127.0.0.1:{unused_tcp_port}/door"
    asked = ("-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json")
    trusting = ("-tls_verify", "1", "-ca_file", str(certificate.certificate))
    async with open_sink(f"rtsp-server://{at}{certificate.options}") as sink, filming(sink):
        said = json.loads(await run(probe, *asked, *trusting, f"rtsps://{at}"))
        async with asyncio.timeout(20), open_source(f"rtsps://{at}") as source:
            frame = await anext(aiter(source))
        with pytest.raises(AssertionError, match=r"Invalid data|refused|reset|End of file"):
            await run(probe, *asked, f"rtsp://{at}")
    (stream,) = said["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 160, 120)
    assert frame.size == (120, 160)


@pytest.mark.parametrize("way", ["rtsps source", "RTSPS source", "https source", "rtsps sink"])
async def test_a_server_is_checked_against_the_certificate_in_the_url(
    way: str, certificate: Certificate, need_program: NeedProgram, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = await make_certificate(need_program("openssl"), tmp_path / "other")
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(certificate.certificate, certificate.key)
    scheme, _, kind = way.partition(" ")
    for file, is_trusted in ((certificate.certificate, True), (other.certificate, False), (None, True)):
        async with asyncio.timeout(20), greeting(shown) as (port, trusted):
            url = f"{scheme}://127.0.0.1:{port}/door?user=me&" + (f"ca={file}&x=1" if file else "x=1")
            opened = asyncio.create_task(opening(url) if kind == "source" else pushing(url))
            assert await trusted.get() == is_trusted
            opened.cancel()
            await asyncio.gather(opened, return_exceptions=True)


@asynccontextmanager
async def greeting(shown: ssl.SSLContext) -> AsyncIterator[tuple[int, asyncio.Queue[bool]]]:
    """A port, and whether each who comes there trusts what is shown: those ask for something then."""
    trusted: asyncio.Queue[bool] = asyncio.Queue()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.start_tls(shown)
            asked = await reader.read(1)
        except OSError:
            asked = b""
        trusted.put_nowait(asked != b"")
        writer.transport.abort()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], trusted


async def opening(url: str, on_status: Callable[[SourceStatus], None] | None = None) -> None:
    async with open_source(url, on_status=on_status):
        pass


async def pushing(url: str) -> None:
    async with open_sink(url) as sink, filming(sink):
        await asyncio.Event().wait()


def test_the_certificate_to_check_with_is_taken_off_the_url(tmp_path: Path) -> None:
    file = tmp_path / "of mine.pem"
    file.touch()
    told = {"tls_verify": "1", "ca_file": str(file)}
    ca = f"ca={str(file).replace(' ', '%20')}"
    assert checking_with(f"rtsps://me:a%20b@cam/x?{ca}") == ("rtsps://me:a%20b@cam/x", told)
    assert checking_with(f"https://cam/x?a=%2F&{ca}&b") == ("https://cam/x?a=%2F&b", told)
    assert checking_with(f"RTSPs://Cam/x?{ca}") == ("rtsps://Cam/x", told)
    assert checking_with("rtsp://cam/x?a=1") == ("rtsp://cam/x?a=1", {})
    assert checking_with("rtsps://cam/x?cab=1") == ("rtsps://cam/x?cab=1", {})
    for make, error in ((open_source, SourceError), (open_sink, SinkError)):
        with pytest.raises(error, match=r"rtsps://me:\*\*\*@cam/x\?ca=gone.pem: ca=gone.pem: no such file"):
            make("rtsps://me:hush@cam/x?ca=gone.pem")
        for scheme in ("rtsp", "rtmps"):
            with pytest.raises(error, match="ca= is for rtsps:// and https:// alone"):
                make(f"{scheme}://cam/live/x?{ca}")
    with pytest.raises(SourceError, match="ca= is for rtsps:// and https:// alone"):
        open_source(f"http://cam/x?{ca}")
    with pytest.raises(SourceError, match="takes no ca="):
        open_source(f"https://cam/x.m3u8?{ca}")


async def test_a_play_list_by_another_name_is_not_played_where_it_was_to_be_checked(
    certificate: Certificate, make_clip: Callable[..., Path]
) -> None:
    """FFmpeg would fetch the segments from anybody."""
    segment = make_clip("clip.ts", frames=30)
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nclip.ts\n#EXT-X-ENDLIST\n"
    application, kind = web.Application(), "application/vnd.apple.mpegurl"

    async def play_list(request: web.Request) -> web.Response:
        return web.Response(text=listed, content_type=kind)

    application.router.add_get("/live", play_list)
    application.router.add_static("/", segment.parent)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(certificate.certificate, certificate.key)
    server, statuses = TestServer(application, scheme="https"), []
    await server.start_server(ssl=shown)
    async with asyncio.timeout(30), server:
        url = str(server.make_url("/live"))
        opened = asyncio.create_task(
            opening(f"{url}?ca={certificate.certificate}", on_status=statuses.append)
        )
        await eventually(lambda: bool(statuses))
        opened.cancel()
        await asyncio.gather(opened, return_exceptions=True)
        async with open_source(url) as source:  # who does not ask for the check gets pictures
            await anext(aiter(source))
    assert "a play list takes no ca=" in statuses[0].reason


async def test_a_file_to_check_with_that_goes_away_is_waited_for(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    statuses: list[SourceStatus] = []
    url = f"rtsps://127.0.0.1:{unused_tcp_port}/door?ca={certificate.certificate}"
    opened = asyncio.create_task(opening(url, on_status=statuses.append))
    async with asyncio.timeout(20):
        await eventually(lambda: bool(statuses))
        certificate.certificate.unlink()
        await eventually(lambda: statuses[-1].reason.endswith("no such file"))
        certificate.certificate.touch()
        await eventually(lambda: not statuses[-1].reason.endswith("no such file"))
    assert not opened.done()
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)


async def test_what_is_asked_for_over_tls_is_not_sent_in_the_open(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    trusted = create_default_context(cafile=str(certificate.certificate))
    async with (
        asyncio.timeout(20),
        open_sink(f"rtsp-server://{at}{certificate.options}") as sink,
        filming(sink),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port, ssl=trusted)
        how = "RTP/AVP;unicast;client_port=50000-50001"
        writer.write(f"SETUP rtsps://{at} RTSP/1.0\r\nCSeq: 1\r\nTransport: {how}\r\n\r\n".encode())
        assert await reader.readline() == b"RTSP/1.0 461 Unsupported Transport\r\n"
        writer.close()


def has_tls() -> bool:
    return any(Path("/usr/lib").glob("*/gio/modules/libgiognutls.so"))


async def test_gstreamer_checks_the_certificate_and_plays_over_tls(
    need_program: NeedProgram, certificate: Certificate, unused_tcp_port: int, tmp_path: Path
) -> None:
    launch, at = need_program("gst-launch-1.0"), f"127.0.0.1:{unused_tcp_port}/door"
    if not has_tls():
        pytest.skip("glib-networking, which GStreamer's TLS needs, is not installed")
    # the certificate is its own authority, which GStreamer is told not to check; the name it checks
    source = f"rtspsrc location=rtsps://{at} protocols=tcp latency=0 tls-validation-flags=bad-identity"
    chain = (
        f"{source} ! rtph264depay ! h264parse ! identity eos-after=20 ! filesink location={tmp_path}/x.264"
    )
    async with open_sink(f"rtsp-server://{at}{certificate.options}") as sink, filming(sink):
        with pytest.raises(AssertionError, match="Failed to connect"):
            await run(launch, "-q", "-e", *chain.replace("=bad-identity", "=validate-all").split())
        await run(launch, "-q", "-e", *chain.split())
    assert (tmp_path / "x.264").stat().st_size > 1000


async def test_a_player_that_stops_reading_over_tls_is_let_go(
    certificate: Certificate, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(rtsp, "_MOST_BUFFERED", 5000)
    encoder, at = SharedEncoder("door"), f"127.0.0.1:{unused_tcp_port}/door"
    async with (
        asyncio.timeout(60),
        open_sink(f"rtsp-server://{at}{certificate.options}", encoder=encoder) as sink,
        filming(sink, size=(480, 640), noisy=True),
    ):
        connected = socket.socket()
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", unused_tcp_port))
        reader, writer = await asyncio.open_connection(
            sock=connected, ssl=certificate.trusted(), server_hostname="127.0.0.1", limit=5000
        )
        url = f"rtsps://{at}"
        writer.write(f"SETUP {url}/track0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n".encode())
        said = (await reader.readuntil(b"\r\n\r\n")).decode()
        session = said.partition("Session: ")[2].partition(";")[0]
        writer.write(f"PLAY {url} RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n".encode())
        await eventually(lambda: encoder.readers == 1)
        await eventually(lambda: encoder.readers == 0)
        writer.transport.abort()


async def test_a_publisher_comes_over_https_and_one_without_trust_does_not(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    url, source = f"https://{at}", open_source(f"whip-server://:secret@{at}{certificate.options}")
    async with asyncio.timeout(30), Reading(source) as reading, ClientSession() as stranger:
        with pytest.raises(ClientConnectorCertificateError):
            await stranger.post(url)
        async with Publisher(url, "secret", certificate.trusted()):
            (frame,) = await reading.take(1)
    assert frame.size == (120, 160)


async def test_outputs_of_one_port_have_one_certificate(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    at = f"rtsp-server://:{unused_tcp_port}"
    async with open_sink(f"{at}/one{certificate.options}"), open_sink(f"{at}/two{certificate.options}"):
        with pytest.raises(SinkError, match="another certificate, or none"):
            async with open_sink(f"{at}/three"):
                pass


async def test_a_certificate_that_cannot_be_used_is_said(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    at = f"rtsp-server://:{unused_tcp_port}/door"
    for files, reason in (
        (f"?cert=nowhere.pem&key={certificate.key}", "nowhere.pem with its key cannot be used: No such file"),
        (f"?cert={certificate.key}&key={certificate.key}", "with its key cannot be used: "),
    ):
        with pytest.raises(SinkError, match=reason) as refused:
            async with open_sink(f"{at}{files}"):
                pass
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["rtsp-server", "whip-server"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("?cert=a.pem", "for TLS give both"),
        ("?cert=&key=", "for TLS give both"),
        ("?ca=a.pem", "takes no options but"),
    ],
)
def test_half_of_what_tls_needs_is_refused(scheme: str, options: str, reason: str) -> None:
    opened: Callable[[str], object] = open_sink if scheme == "rtsp-server" else open_source
    with pytest.raises((SinkError, SourceError), match=reason):
        opened(f"{scheme}://:8554/door{options}")


async def shown_to(port: int, certificate: Certificate) -> bool:
    """Whether who trusts this certificate alone can connect."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=certificate.trusted())
    except SSLCertVerificationError:
        return False
    writer.transport.abort()
    return True


async def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    need_program: NeedProgram, certificate: Certificate, tmp_path: Path
) -> None:
    locked, made = tmp_path / "locked.pem", certificate.key
    await run(
        need_program("openssl"), "ec", *f"-in {made} -out {locked} -aes256 -passout pass:secret".split()
    )
    program = (
        "from pathlib import Path\nfrom keepsight.streams.tls import server_tls\n"
        f"server_tls('web://:1', Path({str(certificate.certificate)!r}), Path({str(locked)!r}))"
    )
    asked = await asyncio.create_subprocess_exec(  # apart, since OpenSSL asks at the terminal and waits
        sys.executable, "-c", program, stdin=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        said = (await asyncio.wait_for(asked.communicate(), 20))[1].decode().splitlines()[-1]
    finally:
        with suppress(ProcessLookupError):
            asked.kill()
    assert said.startswith("ValueError: web://:1: the certificate ")
    assert said.endswith("the key has a passphrase: give one without (openssl pkey -in KEY -out NEW)")


async def test_a_certificate_is_renewed_while_the_server_runs(
    need_program: NeedProgram, certificate: Certificate, unused_tcp_port: int, tmp_path: Path, log: Log
) -> None:
    (tmp_path / "other").mkdir()
    other = await make_certificate(need_program("openssl"), tmp_path / "other")
    async with open_sink(f"rtsp-server://:{unused_tcp_port}/door{certificate.options}"):
        trusted = Certificate(shutil.copy(certificate.certificate, tmp_path / "old.pem"), certificate.key)
        assert await shown_to(unused_tcp_port, trusted)
        shutil.copy(other.certificate, certificate.certificate)  # the key is still the old one's
        for _ in range(2):
            assert await shown_to(unused_tcp_port, trusted)
        assert log.warnings == ["certificate not renewed"]
        shutil.copy(other.key, certificate.key)
        assert await shown_to(unused_tcp_port, other)
        assert not await shown_to(unused_tcp_port, trusted)
