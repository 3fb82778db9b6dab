"""Changes values in a YAML text and leaves the rest of it, comments included, as its author wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WIDTH = 110
GONE = object()
"""In place of a value: the key is to be removed."""

COMMENT = re.compile(r"[ \t]*#[^\n]*")

Path = tuple[str, ...]


class _Dumper(yaml.SafeDumper):
    """Lists of numbers on one line, everything else in blocks."""


def _list(dumper: yaml.SafeDumper, items: list[object]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=_holds_numbers(items))


_Dumper.add_representer(list, _list)


def _holds_numbers(value: object) -> bool:
    if isinstance(value, list):
        return all(_holds_numbers(one) for one in value)
    return isinstance(value, int | float)


def dump(content: Mapping[str, Any]) -> str:
    """A mapping as YAML, one key a line."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


def rewritten(text: str, content: Mapping[str, Any]) -> tuple[str, bool]:
    """The text changed so that it says `content`, and whether all its comments are still there.

    The comment on a line that is written anew goes with it; those on further lines of its value are lost, and
    so are those on what is removed. Where values cannot be changed in place (flow style, anchors), all of it
    is written anew, without comments.
    """
    try:
        edited, kept = text, True
        for path, value in differences(yaml.safe_load(text), content):
            edited, all_there = _with(edited, path, value)
            kept = kept and all_there
        if yaml.safe_load(edited) == content:
            return edited, kept
    except (yaml.YAMLError, LookupError):
        pass
    return dump(content), False


def differences(old: object, new: object, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The keys whose values differ, as deep inside as possible, each with its new value."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping) and (old and new)):
        if old != new:
            yield path, new
        return
    for key in (*old, *(key for key in new if key not in old)):
        if key not in new:
            yield (*path, key), GONE
        elif key not in old:
            yield (*path, key), new[key]
        else:
            yield from differences(old[key], new[key], (*path, key))


def _with(text: str, path: Path, value: Any) -> tuple[str, bool]:
    """The text with one key set or removed, and whether all its comments are still there. Raises LookupError
    where its place cannot be edited."""
    *parents, key = path
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for parent in parents:
        node = _block(node)[parent][1]
    entries = _block(node)
    first, last = next(iter(entries.values()))[0], list(entries.values())[-1][1]
    column = first.start_mark.column
    lines = "" if value is GONE else _indented(dump({key: value}), column)
    if key in entries:
        name, old = entries[key]
        start = text.rfind("\n", 0, name.start_mark.index) + 1
        if text[start : name.start_mark.index].strip():
            raise LookupError("something else is on its line")
        end = _end_of_line(text, old)
        lines, kept = _with_comment(lines, text[start:end], isinstance(value, str))
        return text[:start] + lines + text[end:], kept
    end = _end_of_line(text, last)
    return text[:end] + ("" if text[:end].endswith("\n") else "\n") + lines + text[end:], True


def _with_comment(lines: str, old: str, is_text: bool) -> tuple[str, bool]:
    """The lines of a value with the comment on the first of the old ones, and whether there was no other.
    Inside of a long text (`is_text`) there can be none."""
    comments = _comments(old)
    first, _, rest = lines.partition("\n")
    if not comments or not first or (is_text and rest):
        return lines, not comments
    at, comment = comments[0]
    if at > old.find("\n") >= 0:
        return lines, False
    return f"{first}{comment}\n{rest}", len(comments) == 1


def _comments(text: str) -> list[tuple[int, str]]:
    """The comments between the tokens of a YAML text, each with the space before it, and where they begin."""
    found, end = [], 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        gap = text[end : token.start_mark.index]
        found += [(end + one.start(), one[0]) for one in COMMENT.finditer(gap)]
        end = max(end, token.end_mark.index)
    return found


def _block(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The entries of a mapping in block style: keys and values by name."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise LookupError("not a mapping in block style")
    return {key.value: (key, value) for key, value in node.value}


def _end_of_line(text: str, node: yaml.Node) -> int:
    """Where the line after a value begins. The end that PyYAML tells of a block is that of the comments and
    empty lines after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end: int = node.end_mark.index
    if end and text[end - 1] == "\n":
        return end
    line = text.find("\n", end)
    return len(text) if line < 0 else line + 1


def _indented(block: str, column: int) -> str:
    return "".join(" " * column + line for line in block.splitlines(keepends=True))
