"""An independent RTSP server for tests: plays one H.264 file over and over to every client, over TCP.

Runs under the system's Python, which has GStreamer's bindings: `/usr/bin/python3 rtsp_server.py FILE [PORT]`.
It writes the URL to stdout once it listens; port 0 lets the system choose one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

AS_ACCESS_UNITS = "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au"


@dataclass(frozen=True)
class Unit:
    """One coded picture: its bytes and its decoding and presentation times in nanoseconds."""

    data: bytes
    pts: int
    dts: int


def read_units(path: Path) -> list[Unit]:
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! parsebin ! {AS_ACCESS_UNITS} ! appsink name=units sync=false'
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


def serve(path: Path, port: int) -> None:
    Gst.init(None)
    units = read_units(path)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=units format=time max-bytes=100000"
        " caps=video/x-h264,stream-format=byte-stream,alignment=au"
        " ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
    )
    factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    factory.connect("media-configure", lambda _, media: play_units(media, units))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    server.get_mount_points().add_factory("/clip", factory)
    server.attach(None)
    sys.stdout.write(f"rtsp://127.0.0.1:{server.get_bound_port()}/clip\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def play_units(media: GstRtspServer.RTSPMedia, units: list[Unit]) -> None:
    source = media.get_element().get_by_name_recurse_up("units")
    source.connect("need-data", Player(units).feed)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
