"""What FFmpeg has to be told to read cameras and network streams as they happen."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from ..base import SourceError, redact
from ..tls import checking_with
from .container import UNCHECKED, Access, ContainerSource

RECORDING = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"}
"""A URL that ends like this is a recording, which waits and ends; any other is live."""
REORDER_SECONDS = 0.1
"""How long a packet is waited for that others have overtaken. Over TCP none has."""


def rtsp(url: str, timeout_seconds: float) -> ContainerSource:
    """A camera over RTSP (RFC 2326), interleaved in TCP, or over UDP where it knows no other way. Its
    sound is not asked for. Silence is noticed after `timeout_seconds`.

    FFmpeg's `nobuffer` flag stays away: it throws away what was read to find the codec, and with it the
    key frame, so that the first picture comes a key frame interval later.
    """
    url, checks = _checking(url)
    options = {
        "rtsp_transport": "tcp+udp",
        "rtsp_flags": "prefer_tcp",
        "allowed_media_types": "video",
        "analyzeduration": "200000",
        "probesize": "100000",
        "max_delay": str(int(REORDER_SECONDS * 1e6)),
        "timeout": str(int(timeout_seconds * 1e6)),
        **checks,
    }
    access = Access(options=options, timeout_seconds=timeout_seconds, holds_back=True)
    return ContainerSource(url, live=True, access=access)


def http(url: str, timeout_seconds: float) -> ContainerSource:
    """A recording, an MJPEG stream (timed as it arrives) or an HLS play list (played at its own speed)."""
    url, checks = _checking(url)
    ending = PurePosixPath(urlsplit(url).path).suffix.lower()
    live, playlist = ending not in RECORDING, ending == ".m3u8"
    if playlist and checks:
        raise SourceError(f"{redact(url)}: {UNCHECKED}")
    options = {"timeout": str(int(timeout_seconds * 1e6)), **checks}
    if live and not playlist:
        options["use_wallclock_as_timestamps"] = "1"
    return ContainerSource(
        url, live=live, access=Access(options=options, timeout_seconds=timeout_seconds, pace=playlist)
    )


def _checking(url: str) -> tuple[str, dict[str, str]]:
    try:
        return checking_with(url)
    except ValueError as error:
        raise SourceError(f"{redact(url)}: {error}") from None


def rtmp(url: str, timeout_seconds: float) -> ContainerSource:
    """A stream of an RTMP server. FLV may promise sound that never comes, so it is not waited for long."""
    url, _ = _checking(url)
    options = {"rtmp_live": "live", "analyzeduration": "1000000", "probesize": "500000"}
    return ContainerSource(url, live=True, access=Access("flv", options, timeout_seconds))


def udp(url: str, timeout_seconds: float) -> ContainerSource:
    """MPEG-TS over UDP, to an address of ours or a multicast group: `udp://@239.0.0.1:1234`."""
    options = {"overrun_nonfatal": "1", "fifo_size": "20000", "analyzeduration": "1000000"}
    return ContainerSource(url, live=True, access=Access("mpegts", options, timeout_seconds))


def video4linux(path: str, timeout_seconds: float) -> ContainerSource:
    """A camera of this machine, `/dev/video0`."""
    return ContainerSource(
        path, live=True, access=Access(format="video4linux2", timeout_seconds=timeout_seconds)
    )
