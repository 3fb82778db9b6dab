"""`keepsight bench`: what it prints."""

from __future__ import annotations

from tests.tracker.command_line import Keepsight


def test_bench_tells_the_speed_of_each_way(keepsight: Keepsight) -> None:
    done = keepsight("bench", "--model", "test", "--objects", "1", "--video", "64x64", "--frames", "10")
    assert done.code == 0
    assert "model only" in done.out
    assert "1: with overlay" in done.out


def test_bench_compares_dtypes(keepsight: Keepsight) -> None:
    asked = ("--model", "test", "--video", "64x64", "--frames", "10", "--device", "cpu")
    done = keepsight("bench", "--dtypes", *asked)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["float32", "bfloat16", "int8"]
    assert rows[0][3:] == ["1.00", "1.0000", "0", "0"]
