"""`keepsight`: reads the command, answers mistakes in one line, and ends with the promised exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any, cast

import typer

from ..heap import keep_heap
from .bench import bench
from .check import check
from .console import complain, configure_logging, is_debugging, out
from .demo import demo
from .evaluate import EvalCommand, evaluate
from .export import export
from .models import models
from .replay import replay
from .run import EXAMPLES, run
from .schema import schema
from .segment import EXAMPLES as SEGMENT_EXAMPLES
from .segment import segment
from .train import EXAMPLES as TRAIN_EXAMPLES
from .train import train

EPILOG = (
    "Exit codes: 0 done, 1 failed while running, 2 what was typed or configured is wrong, "
    "130 interrupted by Ctrl-C. Environment: KEEPSIGHT_CACHE is the folder for weights, "
    "HF_HUB_OFFLINE=1 forbids to fetch them, KEEPSIGHT_STATE is the folder for events that wait for a "
    "broker, KEEPSIGHT_DEBUG=1 shows traces."
)
INTERRUPTED = (130, 143)

# typer brings its own copy of click, and where that lies differs between versions
UsageError = cast(type[Any], typer.BadParameter.__mro__[2])

app = typer.Typer(
    name="keepsight",
    help="Keep sight of anything, on any stream: promptable object tracking in live video and recordings.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command(epilog=EXAMPLES)(run)
app.command()(replay)
app.command(epilog=SEGMENT_EXAMPLES)(segment)
app.command()(models)
app.command()(check)
app.command("eval", cls=EvalCommand)(evaluate)
app.command()(bench)
app.command()(export)
app.command(epilog=TRAIN_EXAMPLES)(train)
app.command()(schema)


def tell_version(asked: bool) -> None:
    if asked:
        from keepsight.streams.node_messages import keepsight_version

        out.print(f"keepsight {keepsight_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show traces and all log lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=tell_version)
    ] = False,
) -> None:
    if debug:
        os.environ["KEEPSIGHT_DEBUG"] = "1"
    configure_logging()


def main() -> None:
    """The console script."""
    keep_heap()
    code = execute(sys.argv[1:])
    if code in INTERRUPTED:
        # a thread that is still inside PyTorch or FFmpeg must not keep an interrupted process alive
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def execute(arguments: list[str]) -> int:
    """Run one command; its exit code. Exceptions are told in one line."""
    try:
        code = app(arguments, prog_name="keepsight", standalone_mode=False)
    except UsageError as error:
        return refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        return explain(innermost(error))
    return code if isinstance(code, int) else 0


def refuse(error: Any) -> int:
    """What typer thinks of the command line, in one line."""
    message = error.format_message()
    if message:
        command = error.ctx.command_path if error.ctx else "keepsight"
        complain(f"{message} (see {command} --help)")
    return int(error.exit_code)


def explain(error: Exception) -> int:
    """One line for an exception, and its exit code: 2 where what was typed cannot work, else 1."""
    from keepsight.streams.base import SinkError, SourceError

    from ..validation import ConfigError
    from ..writing import WriteError

    if is_debugging():
        traceback.print_exception(error)
    if isinstance(error, ConfigError | SourceError | SinkError):
        complain(str(error))
        return 2
    if isinstance(error, WriteError):
        complain(str(error))
        return 1
    complain(f"{type(error).__name__}: {error} (this is a mistake in Keepsight; --debug shows where)")
    return 1


def innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
