"""Everything real at once: an RTSP camera, `keepsight run`, and a broker that asks for TLS and passwords."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.peers.mosquitto import needs_mosquitto
from tests.peers.rtsp import why_no_rtsp_server
from tests.soak_mqtt_live import live

MISSING = why_no_rtsp_server()


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
async def test_a_box_is_prompted_answered_seen_and_forgotten_on_a_live_stream(tmp_path: Path) -> None:
    found = await live(tmp_path, count=2, model="test", size=(120, 160))
    assert found["round trips"] == 2
    assert found["frames with an object"] >= 2
