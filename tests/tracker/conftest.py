"""The command line, as it would be typed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from keepsight.tracker.cli.main import execute
from tests.tracker.command_line import BOX, Keepsight, Said


@pytest.fixture
def keepsight(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Keepsight:
    """`keepsight("run", …)` as it would be typed, in an empty folder. However slow the machine, stderr tells
    what went wrong and not how far a run is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("keepsight.tracker.cli.progress.LINE_SECONDS", math.inf)

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def track(keepsight: Keepsight) -> Keepsight:
    """`track(source, …)` runs the test model with a box prompt."""
    return lambda source, *more: keepsight("run", source, "--model", "test", *BOX, *more)
