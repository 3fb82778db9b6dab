"""`keepsight schema`: the JSON Schema of what Keepsight reads and writes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

CONFIGURATION = "config"
PROMPT_LOG = "prompts"


def schema(
    name: Annotated[str | None, typer.Argument(help="One of the names listed without it")] = None,
) -> None:
    """Print the JSON Schema of a message, of a deployment file, or of a line of a prompt log."""
    import orjson
    from rich.json import JSON

    from keepsight.streams.messages import SCHEMAS

    from .console import out

    if name is None:
        out.print("\n".join((CONFIGURATION, PROMPT_LOG, *SCHEMAS)))
        return
    out.print(JSON(orjson.dumps(find(name)).decode()), soft_wrap=True)


def find(name: str) -> dict[str, Any]:
    """Raises ConfigError, listing the names there are, for a name that is none of them."""
    from keepsight.streams.messages import SCHEMAS
    from keepsight.streams.messages import schema as of_message
    from keepsight.streams.wording import unknown

    from ..config import Deployment, RunConfig
    from ..prompts import LOG_LINE
    from ..validation import ConfigError

    if name == CONFIGURATION:
        return {"anyOf": [RunConfig.model_json_schema(), Deployment.model_json_schema()]}
    if name == PROMPT_LOG:
        return LOG_LINE.json_schema()
    if name not in SCHEMAS:
        raise ConfigError(unknown(name, "schema", (CONFIGURATION, PROMPT_LOG, *SCHEMAS)))
    return of_message(name)
