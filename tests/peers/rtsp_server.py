"""An independent RTSP server for tests: plays files over and over to every client, over TCP or UDP.

Runs under the system's Python, which has GStreamer's bindings: `/usr/bin/python3 rtsp_server.py FILE…`. It
writes the URL to stdout once it listens; port 0 lets the system choose one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


@dataclass(frozen=True)
class Codec:
    """How GStreamer calls it: what makes its coded pictures, how they are described, and how they travel."""

    parser: str
    caps: str
    payload: str


CODECS = {
    "h264": Codec(
        "h264parse",
        "video/x-h264,stream-format=byte-stream,alignment=au",
        "h264parse config-interval=-1 ! rtph264pay",
    ),
    "h265": Codec(
        "h265parse",
        "video/x-h265,stream-format=byte-stream,alignment=au",
        "h265parse config-interval=-1 ! rtph265pay",
    ),
    "mjpeg": Codec("jpegparse", "image/jpeg,parsed=true", "jpegparse ! rtpjpegpay"),
}


@dataclass(frozen=True)
class Unit:
    """One coded picture: its bytes and its decoding and presentation times in nanoseconds."""

    data: bytes
    pts: int
    dts: int


def read_units(path: Path, codec: Codec) -> list[Unit]:
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! parsebin ! {codec.parser} ! {codec.caps}'
        " ! appsink name=units sync=false"
    )
    pipeline.set_state(Gst.State.PLAYING)
    units = []
    while sample := pipeline.get_by_name("units").emit("pull-sample"):
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        dts = buffer.pts if buffer.dts == Gst.CLOCK_TIME_NONE else buffer.dts
        units.append(Unit(data, buffer.pts, dts))
    pipeline.set_state(Gst.State.NULL)
    return units


def joined(clips: list[list[Unit]]) -> list[Unit]:
    """The units of all clips, one clip after the other, from 0 on."""
    units: list[Unit] = []
    for clip in clips:
        shift = (2 * units[-1].dts - units[-2].dts if units else 0) - clip[0].dts
        units += [Unit(unit.data, unit.pts + shift, unit.dts + shift) for unit in clip]
    return units


class Player:
    """Feeds one client's pipeline with the units, again and again."""

    def __init__(self, units: list[Unit]) -> None:
        self._units = units
        self._sent = 0
        self._length = units[-1].dts - units[0].dts + (units[-1].dts - units[-2].dts)

    def feed(self, source: Gst.Element, _wanted: int) -> None:
        rounds, at = divmod(self._sent, len(self._units))
        unit = self._units[at]
        buffer = Gst.Buffer.new_wrapped(unit.data)
        shift = rounds * self._length - self._units[0].dts
        buffer.pts, buffer.dts = unit.pts + shift, unit.dts + shift
        self._sent += 1
        source.emit("push-buffer", buffer)


def serve(paths: list[Path], port: int, codec: Codec, login: str, over: str) -> None:
    Gst.init(None)
    units = joined([read_units(path, codec) for path in paths])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=units format=time max-bytes=100000 caps={codec.caps}"
        f" ! {codec.payload} name=pay0 pt=96 )"
    )
    factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP if over == "tcp" else GstRtsp.RTSPLowerTrans.UDP)
    factory.connect("media-configure", lambda _, media: play_units(media, units))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    if login:
        ask_for(login, server, factory)
    server.get_mount_points().add_factory("/clip", factory)
    server.attach(None)
    sys.stdout.write(f"rtsp://127.0.0.1:{server.get_bound_port()}/clip\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def play_units(media: GstRtspServer.RTSPMedia, units: list[Unit]) -> None:
    source = media.get_element().get_by_name_recurse_up("units")
    source.connect("need-data", Player(units).feed)


def ask_for(login: str, server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory) -> None:
    """Whoever wants to watch says user and password (HTTP Basic, RFC 7617)."""
    guest = GstRtspServer.RTSPToken()
    guest.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "guest")
    user, _, password = login.partition(":")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), guest)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("guest", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    permissions.add_permission_for_role("guest", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path, nargs="+")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--codec", choices=CODECS, default="h264")
    parser.add_argument("--login", default="", help="user:password")
    parser.add_argument("--over", choices=["tcp", "udp"], default="tcp", help="how pictures travel")
    given = parser.parse_args()
    serve(given.clip, given.port, CODECS[given.codec], given.login, given.over)


if __name__ == "__main__":
    main()
