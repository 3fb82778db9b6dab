"""Streams and rules changed from the page: first in the deployment's file, then in what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from keepsight.streams.web.words import ChangedMessage

from .config import Engine, RunConfig, Stream, parse_deployment, read_yaml
from .config_file import written
from .fleet import Fleet
from .remote import (
    camera_of,
    check_covers,
    check_outputs,
    check_remote,
    check_stays,
    outputs_of,
    put_over,
    refuse_variables,
)
from .rules import Rules
from .validation import ConfigError

Content = dict[str, Any]
Edit = Callable[[Content], Content]


class Changes:
    """A `Deployer` for the page. Without a file, what is changed lasts as long as the run.

    Who may use the page shall not thereby reach the files of this machine, nor the secrets in its
    environment: `remote` says what may come from there.
    """

    def __init__(self, fleet: Fleet, file: Path | None) -> None:
        self._fleet = fleet
        self._file = file
        self._turn = asyncio.Lock()

    def schemas(self) -> Mapping[str, Any]:
        _, said = models_json_schema(
            [(Stream, "validation"), (Rules, "validation")], ref_template="#/components/schemas/{model}"
        )
        return dict(said["$defs"])

    async def add(self, name: str, stream: Mapping[str, Any]) -> ChangedMessage:
        def edit(content: Content) -> Content:
            check_outputs(outputs_of(stream), used_by(content))
            content = with_streams(content)
            if name in content["streams"]:
                raise ConfigError(f"{name}: there is a stream of this name")
            added = {"output": page_of(content), **stream}
            changed = content | {"streams": content["streams"] | {name: added}}
            streams = parse_deployment(changed).streams
            check_covers(name, streams[name], streams)
            return changed

        check_remote(name, stream)
        if "source" not in stream:
            raise ConfigError("source: is required")
        return await self._change(edit)

    async def replace(self, name: str, stream: Mapping[str, Any]) -> ChangedMessage:
        def edit(content: Content) -> Content:
            check_outputs(outputs_of(stream), used_by(content))
            content = with_streams(content)
            replaced = put_over(name, stream_of(content, name), stream)
            changed = content | {"streams": content["streams"] | {name: replaced}}
            before, after = parse_deployment(content).streams, parse_deployment(changed).streams
            if camera_of(before[name].source) != camera_of(after[name].source):
                check_stays(name, before[name])
                check_covers(name, after[name], before)
            return changed

        check_remote(name, stream)
        return await self._change(edit)

    async def remove(self, name: str) -> ChangedMessage:
        def edit(content: Content) -> Content:
            content = with_streams(content)
            stream_of(content, name)
            check_stays(name, parse_deployment(content).streams[name])
            left = {other: stream for other, stream in content["streams"].items() if other != name}
            if not any(pages_of(stream) for stream in left.values()):
                raise ConfigError(f"{name}: is the last camera of this page, which would close")
            return content | {"streams": left}

        return await self._change(edit)

    def rules(self, name: str) -> Mapping[str, Any]:
        streams = self._fleet.deployment.streams
        if name not in streams:
            raise missing(name, streams)
        return streams[name].rules.model_dump(mode="json", exclude_defaults=True)

    async def watch(self, name: str, rules: Mapping[str, Any]) -> ChangedMessage:
        def edit(content: Content) -> Content:
            stream = stream_of(content, name)
            if isinstance(stream.get("rules"), str):
                raise ConfigError(
                    f"{name}: its rules are in {stream['rules']}: move them into {self._file} to change "
                    "them here"
                )
            if "streams" not in content:
                return with_rules(content, rules)
            return content | {"streams": content["streams"] | {name: with_rules(stream, rules)}}

        refuse_variables(rules)
        return await self._change(edit)

    async def _change(self, edit: Edit) -> ChangedMessage:
        """Who asks may go away meanwhile; the change is made."""
        return await asyncio.shield(asyncio.create_task(self._carry_out(edit)))

    async def _carry_out(self, edit: Edit) -> ChangedMessage:
        async with self._turn:
            content = self._content()
            parse_deployment(content)  # or an edit would not find what it looks for
            content = edit(content)
            deployment = parse_deployment(content)
            self._fleet.check(deployment)
            if self._file is None:
                change, kept = await self._fleet.apply(deployment), True
            else:
                with written(self._file, content) as kept:
                    change = await self._fleet.apply(deployment)
        saved = None if self._file is None else self._file.name
        return ChangedMessage(change=str(change), saved=saved, comments_kept=kept, failed=list(change.failed))

    def _content(self) -> Content:
        """What the file says now, or would say if there were one."""
        if self._file is not None:
            return read_yaml(self._file)
        return self._fleet.deployment.model_dump(mode="json", exclude_defaults=True)


def with_streams(content: Content) -> Content:
    """A file of one stream as one of several."""
    if "streams" in content:
        return content
    engine = {key: value for key, value in content.items() if key in Engine.model_fields}
    stream = {key: value for key, value in content.items() if key not in engine}
    (name,) = RunConfig(source="").deployment().streams
    return {**engine, "streams": {name: stream}}


def stream_of(content: Content, name: str) -> Content:
    """What a deployment says of a stream. Raises LookupError where it is not there."""
    streams = with_streams(content)["streams"]
    if name not in streams:
        raise missing(name, streams)
    return dict(streams[name])


def with_rules(stream: Content, rules: Mapping[str, Any]) -> Content:
    """A stream watched for this; without rules, it is not said to have any."""
    kept = {key: value for key, value in rules.items() if value not in ({}, None)}
    return {key: value for key, value in stream.items() if key != "rules"} | ({"rules": kept} if kept else {})


def missing(name: str, streams: Mapping[str, object]) -> LookupError:
    return LookupError(f"no stream {name!r}; there are {', '.join(streams)}")


def used_by(content: Content) -> list[str]:
    """The outputs of all streams, with what the environment fills in."""
    return [url for stream in parse_deployment(content).streams.values() for url in stream.output]


def pages_of(stream: Content) -> list[str]:
    """The pages that a stream is on."""
    outputs = stream.get("output", [])
    return [url for url in ([outputs] if isinstance(outputs, str) else outputs) if url.startswith("web:")]


def page_of(content: Content) -> list[str]:
    """The page of the first stream that is on one."""
    return [page for stream in content["streams"].values() for page in pages_of(stream)][:1]
