"""What to run, as typed or as written in YAML: read once into frozen models."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from keepsight.streams.base import HARDWARE
from keepsight.streams.privacy import parse_cover
from keepsight.streams.wording import first_error

from .auto import checked_auto
from .rules import Rules, known_in_rules
from .validation import ConfigError

MemoryPolicy = Literal["recent", "selective"]

VARIABLE = re.compile(r"\$\{(\w+)\}")


def as_list(value: object) -> object:
    """`output: x.mp4` means `output: [x.mp4]`."""
    return [value] if isinstance(value, str) else value


def from_file(value: object) -> object:
    """`rules: FILE.yaml` means what is in the file."""
    return read_yaml(Path(value)) if isinstance(value, str | Path) else value


def one_of(*here: str, later: tuple[str, ...] = ()) -> AfterValidator:
    """Refuse what this release cannot do by saying so, and everything else as unknown."""

    def check(value: str) -> str:
        if value in here:
            return value
        if value.split("=")[0] in later:
            raise ValueError(f"{value!r} is not part of this release; use {' or '.join(here)}")
        raise ValueError(f"{value!r} is not one of {', '.join(here)}")

    return AfterValidator(check)


def like(pattern: str, allowed: str) -> AfterValidator:
    """Refuse what does not match, by saying what is allowed."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {allowed}")
        return value

    return AfterValidator(check)


def each(parse: Callable[[str], object]) -> AfterValidator:
    """Refuse strings that cannot be read, by saying why."""

    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            parse(value)
        return values

    return AfterValidator(check)


StreamName = Annotated[str, like("[a-z0-9][a-z0-9_-]*", "a name of lower-case letters, digits, - and _")]
Strings = Annotated[tuple[str, ...], BeforeValidator(as_list)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


C = TypeVar("C", bound=BaseModel)


class Engine(_Frozen):
    """Which model runs, and on what."""

    model: str = "nano"
    weights: Path | None = None
    device: Annotated[str, like(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")] = "auto"
    dtype: Annotated[str, one_of("auto", "float32", "bfloat16", "int8")] = "auto"
    backend: Annotated[str, one_of("auto", "torch", "openvino", later=("compile",))] = "auto"
    size: Annotated[int, Field(ge=64, le=4096)] | None = None


class Stream(_Frozen):
    """What is watched, for what, and where the results go."""

    source: str
    realtime: bool = False
    loop: bool = False
    hwaccel: Annotated[str, one_of("off", *HARDWARE)] = "off"
    max_objects: Annotated[int, Field(ge=1, le=255)] = 16
    memory: MemoryPolicy = "recent"
    noise: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    prompt: Strings = ()
    prompt_mask: Strings = ()
    prompts: Path | None = None
    auto: Annotated[str, AfterValidator(checked_auto)] = "off"
    rules: Annotated[Rules, BeforeValidator(from_file)] = Rules()
    privacy: Annotated[Strings, each(parse_cover)] = ()
    output: Strings = ()
    record: Path | None = None


class RunConfig(Engine, Stream):
    """One stream, with the names of `keepsight run`'s options."""

    def deployment(self, name: str = "main") -> Deployment:
        return Deployment(
            **self.model_dump(include=set(Engine.model_fields)),
            streams={name: Stream(**self.model_dump(include=set(Stream.model_fields)))},
        )


class Deployment(Engine):
    """Several streams that share one model."""

    streams: dict[StreamName, Stream] = Field(min_length=1)


def run_config(options: Mapping[str, object]) -> RunConfig:
    """The options of one stream, checked. Raises ConfigError naming the option."""
    return _checked(RunConfig, options)


def engine(options: Mapping[str, object]) -> Engine:
    """The options of a model, checked. Raises ConfigError naming the option."""
    return _checked(Engine, options)


def _checked(kind: type[C], options: Mapping[str, object]) -> C:
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        known = known_keys(error) if error.errors()[0]["loc"][:1] == ("rules",) else kind.model_fields
        key, _, rest = first_error(error, known).partition(": ")
        raise ConfigError(f"--{key.replace('_', '-')}: {rest}") from None


def read_deployment(path: Path) -> Deployment:
    """A YAML file of one stream (`source: …`) or several (`streams: …`).

    `${NAME}` is replaced by the environment variable NAME. Raises ConfigError naming file, key and what is
    allowed.
    """
    content = read_yaml(path)
    if {"data", "stages"} <= content.keys():
        raise ConfigError(f"{path}: is a recipe for training, no deployment: keepsight train {path}")
    try:
        return parse_deployment(content)
    except ContentError as error:
        raise ConfigError(f"{path}: {error}") from None


class ContentError(ConfigError):
    """What a deployment file says cannot be meant; the message does not name the file."""


def parse_deployment(content: Mapping[str, Any]) -> Deployment:
    """What a deployment file says, checked. Raises ContentError."""
    try:
        expanded = expand(dict(content), os.environ)
        if "streams" in expanded:
            return Deployment.model_validate(expanded)
        return RunConfig.model_validate(expanded).deployment()
    except ValidationError as error:
        raise ContentError(first_error(error, known_keys(error))) from None
    except ConfigError as error:
        raise ContentError(str(error)) from None


def known_keys(error: ValidationError) -> list[str]:
    """The keys that were possible where the complaint points to."""
    for complaint in error.errors():
        if complaint["type"] == "extra_forbidden":
            path = complaint["loc"]
            if "rules" in path:
                return known_in_rules(path[path.index("rules") + 1 :])
            inside = path[:1] == ("streams",)
            return list(Stream.model_fields if inside else KNOWN[error.title])
    return []


KNOWN: dict[str, Mapping[str, object]] = {
    "RunConfig": {**RunConfig.model_fields, "streams": ...},
    "Deployment": Deployment.model_fields,
}


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file") from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: is not valid YAML{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must map keys to values, for example `source: street.mp4`")
    return {str(key): value for key, value in content.items()}


def writable(text: str, where: str) -> str:
    """`text`, unless no file name, URL or message can hold it. Raises ConfigError."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"{where}: {text!r} holds a NUL or half a character")
    return text


def expand(value: Any, environment: Mapping[str, str], where: str = "") -> Any:
    """`value` with every `${NAME}` in its strings replaced. Raises ConfigError where NAME is not set."""

    def replace(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigError(f"{where}: the environment variable {found[1]} is not set")
        return environment[found[1]]

    match value:
        case str():
            return VARIABLE.sub(replace, writable(value, where))
        case dict():
            return {key: expand(one, environment, f"{where}.{key}".strip(".")) for key, one in value.items()}
        case list():
            return [expand(one, environment, f"{where}.{index}") for index, one in enumerate(value)]
    return value
