"""SDP offers as strangers send them over HTTP."""

from __future__ import annotations

from aiohttp import web

from ..bodies import read_body
from .peer import MOST_SDP, SDP


async def read_offer(request: web.Request) -> str:
    """The SDP offer in a request's body. Raises the HTTP error to answer with."""
    if request.content_type != SDP:
        raise web.HTTPUnsupportedMediaType(text=f"the offer must be {SDP}\n")
    try:
        offer = (await read_body(request.content, MOST_SDP)).decode("utf-8", "replace")
    except ValueError:
        raise web.HTTPRequestEntityTooLarge(MOST_SDP, MOST_SDP + 1) from None
    if not offer.startswith("v=0"):
        raise web.HTTPBadRequest(text="not an SDP offer\n")
    if "m=video" not in offer:
        raise web.HTTPNotAcceptable(text="the offer has no video\n")
    return offer
