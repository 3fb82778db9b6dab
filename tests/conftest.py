"""Clips that the tests make for themselves, and the peers that they talk to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from tests.clips import write_clip
from tests.logs import Log
from tests.peers.rtsp import RtspServer, why_no_rtsp_server

os.environ["COLUMNS"] = "200"  # tables are as wide, whichever test has rich make its consoles


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept between runs is kept in the test's folder."""
    monkeypatch.setenv("KEEPSIGHT_STATE", str(tmp_path / "state"))


@pytest.fixture
def log() -> Iterator[Log]:
    captured = Log()
    before = structlog.get_config()
    everything = structlog.make_filtering_bound_logger(0)  # a test of the command line may have left less
    structlog.configure(processors=[captured], wrapper_class=everything)
    yield captured
    structlog.configure(**before)


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """`make_clip(name="clip.mp4", **options of write_clip)` writes a clip and gives its path."""

    def make(name: str = "clip.mp4", **options: object) -> Path:
        path = tmp_path / name
        write_clip(path, **options)  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """`rtsp_server(clip, port=0)` plays the clip over and over. Skips without GStreamer."""
    reason = why_no_rtsp_server()
    if reason:
        pytest.skip(reason)
    with ExitStack() as servers:
        yield lambda clip, port=0, **options: servers.enter_context(RtspServer(clip, port=port, **options))


@pytest.fixture
def need_program() -> Callable[[str], str]:
    """`need_program("mosquitto")` gives its path. Skips where it is not installed."""

    def need(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return need
