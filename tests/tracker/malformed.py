"""Commands that cannot be meant: those whose schemas tell that one property is broken, and worse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from keepsight.streams import control

SOUND: dict[str, dict[str, Any]] = {
    "prompt": {"box": [0.1, 0.1, 0.2, 0.2]},
    "correct": {"box": [0.1, 0.1, 0.2, 0.2], "object_id": 1},
    "forget": {"object_id": 1},
    "reset": {},
}
VALUES: dict[str, list[Any]] = {
    "string": ["", "x"],
    "integer": [7],
    "number": [0.5],
    "array": [[], [0.5]],
    "object": [{}, {"a": 1}],
    "boolean": [True],
    "null": [None],
}
Schema = Mapping[str, Any]


def broken(name: str) -> list[dict[str, Any]]:
    """Every way that the schema of a command tells to break a sound one in one place."""
    schema = control.schema(name)
    lacking = [
        {key: SOUND[name][key] for key in SOUND[name] if key != need} for need in schema.get("required", ())
    ]
    kinds = {key: tuple(_kinds(of, schema)) for key, of in schema["properties"].items()}
    wrong = [{**SOUND[name], key: bad} for key, of in kinds.items() for bad in _bad(of, schema)]
    return [*lacking, *wrong, {**SOUND[name], "unknown": 1}]


def _kinds(of: Schema, root: Schema) -> Iterator[Schema]:
    """The schemas of which a value has to fit one; references are followed."""
    if "$ref" in of:
        yield from _kinds(root["$defs"][of["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in of:
        for one in of["anyOf"]:
            yield from _kinds(one, root)
    else:
        yield of


def _bad(kinds: tuple[Schema, ...], root: Schema) -> Iterator[Any]:
    """Values that fit none: of a wrong type, out of range, too short or too long, or broken inside."""
    types = {kind["type"] for kind in kinds if "type" in kind}
    if types:
        known = types | {"integer"} if "number" in types else types
        yield from (bad for kind, values in VALUES.items() if kind not in known for bad in values)
    for kind in kinds:
        if "const" in kind:
            yield from (kind["const"] + 1, str(kind["const"]))
        if "minimum" in kind:
            yield kind["minimum"] - 1
        if "maximum" in kind:
            yield kind["maximum"] + 1
        if kind.get("minLength"):
            yield ""
        if "maxLength" in kind:
            yield "x" * (kind["maxLength"] + 1)
        if kind.get("minItems"):
            yield []
        if "maxItems" in kind:
            yield [next(_fitting(kind, root))] * (kind["maxItems"] + 1)
        yield from _bad_inside(kind, root)


def _bad_inside(kind: Schema, root: Schema) -> Iterator[Any]:
    """Lists and objects of which one part is broken."""
    for place, part in enumerate(kind.get("prefixItems", ())):
        fitting = [next(_fitting(one, root)) for one in kind["prefixItems"]]
        for bad in _bad(tuple(_kinds(part, root)), root):
            yield [*fitting[:place], bad, *fitting[place + 1 :]]
    if isinstance(kind.get("items"), Mapping):
        for bad in _bad(tuple(_kinds(kind["items"], root)), root):
            yield [bad]
    parts = kind.get("properties", {})
    for key, part in parts.items():
        fitting_parts = {name: next(_fitting(of, root)) for name, of in parts.items()}
        for bad in _bad(tuple(_kinds(part, root)), root):
            yield {**fitting_parts, key: bad}
        yield {name: value for name, value in fitting_parts.items() if name != key}


def _fitting(of: Schema, root: Schema) -> Iterator[Any]:
    """A value that fits."""
    kind = next(_kinds(of, root))
    match kind.get("type"):
        case "integer" | "number":
            yield max(1, kind.get("minimum", 0))
        case "string":
            yield "x"
        case "array":
            yield [next(_fitting(one, root)) for one in kind.get("prefixItems", ())]
        case _:
            yield kind.get("enum", [None])[0]


BROKEN = [(name, json.dumps(said).encode()) for name in control.COMMANDS for said in broken(name)]
MALFORMED = st.one_of(
    st.sampled_from(BROKEN),
    st.tuples(st.sampled_from(("prompt", "correct", "forget")), st.binary(max_size=300)),
    st.tuples(st.sampled_from(control.COMMANDS), st.just(b"[" * 5000) | st.just(b'{"a":' * 5000)),
    st.tuples(st.sampled_from(control.COMMANDS), st.just(b"x" * 300_000)),
    st.tuples(
        st.sampled_from(control.COMMANDS),
        st.text(min_size=9).map(lambda key: json.dumps({f"?{key}": 1}).encode()),
    ),
    st.tuples(st.text("abcdef/", max_size=20), st.just(b'{"object_id": 1}')),
)
"""The name in the topic and the payload."""
