"""`keepsight run --rules`: zones and lines in what a run writes, and refusals in a line."""

from __future__ import annotations

from pathlib import Path

from tests.tracker.command_line import SCENE, Keepsight, lines

EVERYWHERE = """
zones:
  all:
    points: [[0, 0], [1, 0], [1, 1], [0, 1]]
    settle_seconds: 0
lines:
  edge: {points: [[0, 0], [0, 1]]}
"""


def test_a_run_tells_of_zones_and_counts_what_is_in_them(track: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(EVERYWHERE)
    said = track(SCENE, "--rules", "rules.yaml", "-o", "r.jsonl", "-o", "o.mp4")
    assert (said.code, said.err) == (0, "")
    results = lines(tmp_path / "r.jsonl")
    told = [(event["kind"], event["rule"]) for line in results for event in line["events"]]  # type: ignore[attr-defined]
    assert told == [("new", None), ("zone_enter", "all"), ("zone_leave", "all"), ("end", None)]
    assert [one["name"] for one in results[0]["watched"]] == ["all", "edge"]  # type: ignore[attr-defined]


def test_a_rule_that_cannot_be_meant_is_refused_in_a_line(track: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(EVERYWHERE.replace("[1, 1], [0, 1]", "[0, 1], [1, 1]"))
    said = track(SCENE, "--rules", "rules.yaml", "-o", "r.jsonl")
    assert said.code == 2
    assert "zones.all.points: the polygon crosses itself: sides 2 and 4 meet" in said.err
    assert len(said.err.splitlines()) == 1
