"""Decoding video in hardware where the machine can, and in software where it cannot."""

from __future__ import annotations

import functools

import av
import structlog
from av.codec.hwaccel import HWAccel, hwdevices_available

log = structlog.get_logger(__name__)


def decoder(wanted: str) -> HWAccel | None:
    """What decodes, where `wanted` is one of `base.HARDWARE`; None where there is no such device."""
    kind = device(wanted)
    return None if kind is None else HWAccel(kind, allow_software_fallback=True)


@functools.cache
def device(wanted: str) -> str | None:
    """The kind of device that is `wanted` and there; None where there is none. Said once."""
    kinds = hwdevices_available() if wanted == "auto" else [wanted]
    reasons = {kind: why_not(kind) for kind in kinds}
    for kind, reason in reasons.items():
        if reason is None:
            log.info("decoding in hardware", device=kind)
            return kind
    why = "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())
    log.warning("decoding in software", wanted=wanted, reason=why)
    return None


def why_not(kind: str) -> str | None:
    """Why H.264 cannot be decoded by a device of that kind; None where it can."""
    try:
        codec = av.CodecContext.create("h264", "r", hwaccel=HWAccel(kind, allow_software_fallback=False))
    except (av.FFmpegError, RuntimeError, ValueError):
        return "there is no such device"
    return None if codec.is_hwaccel else "this build of FFmpeg cannot use it"
