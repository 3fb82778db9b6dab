from __future__ import annotations

import pytest

from keepsight.streams.base import redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://me:secret@host:554/main", "rtsp://me:***@host:554/main"),
        ("rtsp://me:se:cr@t@host/main", "rtsp://me:***@host/main"),
        ("rtsp://me:se/cr/et@host/main", "rtsp://me:***@host/main"),
        ("rtsp://:secret@[::1]:554/main", "rtsp://:***@[::1]:554/main"),
        (
            "http://host/x?user=me&password=secret&api_key=secret",
            "http://host/x?user=me&password=***&api_key=***",
        ),
        ("http://host:8080/@me/live", "http://host:8080/@me/live"),
        ("rtsp://[::1]:554/@me", "rtsp://[::1]:554/@me"),
        ("street.mp4", "street.mp4"),
    ],
)
def test_what_is_secret_in_a_url_is_not_shown_and_everything_else_is(url: str, shown: str) -> None:
    assert redact(url) == shown
