"""What the program asks of glibc's heap, seen from what stays resident."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from keepsight.tracker.heap import SET_BY_THE_USER

FREED = 64
"""MiB that are taken and freed."""
CODE = f"""
import resource, sys
from pathlib import Path
from keepsight.tracker.heap import keep_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

asked = sys.argv[1] == "keep" and keep_heap()
before = resident()
blocks = [bytearray(b"x" * (1 << 20)) for _ in range({FREED})]
del blocks
print(asked, resident() - before)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def seen(*arguments: str, **environment: str) -> list[str]:
    """Whether the heap was asked to keep what is freed, and the MiB it kept."""
    clean = {name: value for name, value in os.environ.items() if name not in SET_BY_THE_USER}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_what_was_freed_is_kept_for_the_next_frame() -> None:
    asked, kept = seen("keep")
    assert asked == "True"
    assert int(kept) > 0.9 * FREED


def test_without_being_asked_glibc_gives_it_back() -> None:
    """Else the test above says nothing."""
    asked, kept = seen("leave")
    assert asked == "False"
    assert int(kept) < 0.5 * FREED


def test_what_the_user_set_stays() -> None:
    asked, kept = seen("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert asked == "False"
    assert int(kept) < 0.5 * FREED
