"""Cameras for browsers: WHEP (draft-ietf-wish-whep) handlers for an aiohttp application.

    whep.mount(application, {"door": encoder})        # encoder: streams.encoder.SharedEncoder

    POST   /whep/{camera}             an SDP offer (application/sdp): 201, the SDP answer, `Location`
    DELETE /whep/{camera}/{session}   the viewer leaves: 200

`encoders` is looked up at each request, so that cameras may come and go; one that is not among them is 404.
Beyond `viewers` at once it is 503 with `Retry-After`; an offer without H.264 is 406, one that is no SDP
400. There is no trickle ICE (PATCH is 405): the offer must hold its candidates, as it does once the
browser's `iceGatheringState` is "complete". Who may ask at all is for the application's middlewares.

A viewer that opens a data channel named `frames` in its offer is told which frame each picture is, as JSON:
`{"rtp": 123456, "epoch": 0, "index": 592, "captured": 1795406053.05}`, where `rtp` is the picture's RTP
timestamp as `requestVideoFrameCallback` gives it (`metadata.rtpTimestamp`); a little before the picture is
shown.

Viewers that are gone are noticed (ICE consent, RFC 7675, some 30 s) and closed; all are, when the
application is.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from ..encoder import SharedEncoder

VIEWERS = 32
"""So many viewers of all cameras together."""


def mount(
    application: web.Application, encoders: Mapping[str, SharedEncoder], *, viewers: int = VIEWERS
) -> None:
    """Add the handlers of `/whep/…`, and the closing of viewers, to an application that has not started."""
    raise NotImplementedError
