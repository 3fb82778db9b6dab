"""A deployment file that is changed by the page keeps what its author wrote around the change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from keepsight.tracker.config_file import written
from keepsight.tracker.validation import ConfigError
from keepsight.tracker.yaml_edit import rewritten

FILE = """\
# Two cameras.
model: nano   # small
streams:
  porch:      # in front
    source: rtsp://viewer:${CAMERA_PASSWORD}@porch.local/main
    rules:
      zones:
        # where people walk
        yard: {points: [[0.1, 0.5], [0.6, 0.4], [0.9, 0.9]], labels: person}
        door:
          points:
            - [0.1, 0.6]
            - [0.2, 0.6]
            - [0.2, 0.8]
          dwell_seconds: 10   # long
    output: web://:8080

  # behind the house
  drive:
    source: rtsp://drive.local/main
    output:
    - web://:8080
    - drive.mkv
"""


def edited(*, kept: bool = True, **changes: object) -> tuple[str, dict]:
    content = yaml.safe_load(FILE)
    for path, value in changes.items():
        *parents, key = path.split("__")
        inside = content
        for parent in parents:
            inside = inside[parent]
        if value is None:
            del inside[key]
        else:
            inside[key] = value
    text, are_kept = rewritten(FILE, content)
    assert are_kept == kept
    assert yaml.safe_load(text) == content
    return text, content


def without(text: str, *lines: str) -> str:
    assert all(line in text for line in lines)
    return "".join(line for line in text.splitlines(keepends=True) if not any(one in line for one in lines))


def test_only_what_differs_is_written_anew() -> None:
    points = [[0.5, 0.5], [0.75, 0.5], [0.75, 1]]
    text, _ = edited(streams__porch__rules__zones__door__points=points)
    new = "          points: [[0.5, 0.5], [0.75, 0.5], [0.75, 1]]\n"
    assert text == without(FILE, "- [0.1, 0.6]", "- [0.2, 0.6]", "- [0.2, 0.8]").replace(
        "          points:\n", new
    )


def test_a_key_is_added_after_the_others_and_one_is_removed() -> None:
    text, _ = edited(streams__drive__rules={"lines": {"gate": {"points": [[0.5, 0], [0.5, 1]]}}})
    assert text == FILE + (
        "    rules:\n      lines:\n        gate:\n          points: [[0.5, 0], [0.5, 1]]\n"
    )
    text, _ = edited(streams__porch__rules__zones__yard=None)
    assert text == without(FILE, "yard:")
    text, _ = edited(kept=False, streams__porch=None)
    assert "# behind the house" in text
    text, _ = edited(streams__yard={"source": "rtsp://yard", "output": ["web://:8080"]}, device="cpu")
    assert "# behind the house" in text


def test_the_comment_on_a_line_goes_on_to_what_takes_its_place() -> None:
    text, _ = edited(streams__porch__rules__zones__door__dwell_seconds=5, model="test")
    new = FILE.replace("dwell_seconds: 10   # long", "dwell_seconds: 5   # long")
    assert text == new.replace("model: nano   # small", "model: test   # small")
    text, kept = rewritten('a: "#1"  # one\nb: 2\n', {"a": ["#2", "x"], "b": 2})
    assert (text, kept) == ("a:  # one\n- '#2'\n- x\nb: 2\n", True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a: 1\nb: 2  # two\n", {"a": 1}),
        ("a:  # list\n# one\n- 1\nb: 2\n", {"a": [1, 2], "b": 2}),
        ("a: x  # short\nb: 2\n", {"a": "word " * 60, "b": 2}),
    ],
)
def test_comments_that_are_lost_are_not_said_to_be_kept(old: str, new: dict[str, object]) -> None:
    text, kept = rewritten(old, new)
    assert not kept
    assert yaml.safe_load(text) == new


@pytest.mark.parametrize(
    "text",
    [
        "{source: a.mp4, output: b.mp4}",
        "source: &it a.mp4\noutput: b.mp4\nprompts: *it\n",
        '{"source": "a.mp4", "output": "b.mp4"}',
    ],
)
def test_what_cannot_be_changed_in_place_is_written_anew(text: str) -> None:
    content = {"source": "other.mp4", "output": "b.mp4"}
    new, kept = rewritten(text, content)
    assert not kept
    assert yaml.safe_load(new) == content


def test_a_file_is_exchanged_at_once_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(FILE)
    file.chmod(0o640)
    (tmp_path / "link.yaml").symlink_to(file)
    content = yaml.safe_load(FILE) | {"model": "test"}
    with written(tmp_path / "link.yaml", content) as kept:
        assert kept
    assert file.read_text() == FILE.replace("model: nano", "model: test")
    assert file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.yaml").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    said = r"gone\.yaml cannot be written: no such file"
    with pytest.raises(ConfigError, match=said), written(tmp_path / "gone.yaml", {}):
        pass
