"""Changes values in a YAML text and leaves the rest of it, comments included, as its author wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WIDTH = 110
GONE = object()
"""In place of a value: the key is to be removed."""

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
    """The text changed so that it says `content`, and whether the rest of it was left as it was.

    Where that cannot be done (values in flow style, anchors), all of it is written anew, without comments.
    """
    try:
        edited = text
        for path, value in differences(yaml.safe_load(text), content):
            edited = _with(edited, path, value)
        if yaml.safe_load(edited) == content:
            return edited, True
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


def _with(text: str, path: Path, value: Any) -> str:
    """The text with one key set or removed. Raises LookupError where its place cannot be edited."""
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
        return text[:start] + lines + text[_end_of_line(text, old) :]
    end = _end_of_line(text, last)
    return text[:end] + ("" if text[:end].endswith("\n") else "\n") + lines + text[end:]


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
