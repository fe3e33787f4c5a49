"""The command line, `mcn`.

Every command imports what it needs itself, so that `mcn --help` is fast.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import typer

from mcn.cli.catalog import catalog_app, export, query
from mcn.cli.console import say
from mcn.cli.core import core
from mcn.cli.demo import demo
from mcn.cli.evaluate import evaluate_app
from mcn.cli.geology.figure import figure_app
from mcn.cli.geology.log import log
from mcn.cli.geology.textures import textures
from mcn.cli.online.endpoint import serve, token_app
from mcn.cli.online.remote import remote_app
from mcn.cli.online.view import view
from mcn.cli.pages.versions import compare
from mcn.cli.scan import plan, scan
from mcn.cli.segment import segment
from mcn.cli.train import train_app
from mcn.cli.weights import weights_app
from mcn.errors import McnError

app = typer.Typer(
    name="mcn",
    help="Reads microcrystals out of scanning electron micrographs of rock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog_app, name="catalog")
app.add_typer(figure_app, name="figure")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(weights_app, name="weights")
app.add_typer(token_app, name="token")
app.add_typer(remote_app, name="remote")


def main() -> NoReturn:
    """Run the command line: exit 0 on success, 1 when something failed, 2 on bad usage."""
    arguments = sys.argv[1:]
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        app([argument for argument in arguments if argument != "--debug"])
    except BrokenPipeError:
        sys.stderr.close()
    except Exception as error:
        if "--debug" in arguments:
            raise
        if isinstance(error, McnError):
            say(f"error: {error}")
        else:
            reason = " ".join(str(error).split()) or "no reason given"
            say(f"error: {type(error).__name__}: {reason} (--debug shows where)")
    sys.exit(1)


def _show_warning(
    show: Callable[..., None], message: Warning | str, category: type[Warning], *more: Any
) -> None:
    """Show the project's own warnings as one line for people."""
    if category.__module__.startswith("mcn."):
        say(f"warning: {message}")
    else:
        show(message, category, *more)


@app.callback()
def _global_options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something fails.")
    ] = False,
) -> None:
    """Reads microcrystals out of scanning electron micrographs of rock."""


for command in (
    demo,
    core,
    segment,
    scan,
    plan,
    query,
    log,
    textures,
    compare,
    export,
    serve,
    view,
):
    app.command()(command)

if __name__ == "__main__":
    main()
