"""`mcn view`: look at a catalogue in a browser, for one person on this machine."""

from __future__ import annotations

import getpass
import re
import socket
import tempfile
import webbrowser
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer

from mcn.cli.console import say
from mcn.cli.online.running import running_endpoint
from mcn.errors import McnError

_HOST: Final = "127.0.0.1"
_PORT: Final = 8000
_REQUESTS_A_MINUTE: Final = 1_000_000


class PageMissingError(McnError):
    """The page is not part of this installation."""


def view(
    catalog: Annotated[str, typer.Argument(help="Folder or URI of the catalogue.")],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; by default 8000, or another if that is taken."),
    ] = None,
    browser: Annotated[
        bool, typer.Option(help="Open the page in the browser of this machine.")
    ] = True,
    segmenter: Annotated[
        str | None, typer.Option(help="compact (default), vit_b, vit_l, vit_h, or a file.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="nsr (default), published, or a weights file.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the replicas' logs, including the audit log.")
    ] = False,
) -> None:
    """Look at a catalogue, and correct it, in a browser on this machine, until Ctrl-C.

    The page is served to this machine only. The address has a token that is valid until then;
    corrections are stored under your user name.
    """
    from mcn.catalog.storage import normalise
    from mcn.catalog.store import Catalog

    uri = normalise(catalog)
    Catalog.open(uri)
    if not resources.files("serve").joinpath("viewer/dist/index.html").is_file():
        raise PageMissingError(
            "the page was not built; run `make page` where npm can be reached, or install a wheel"
        )
    from serve.settings import read_settings
    from serve.tokens import SCOPES, add_token

    chosen = port or free_port()
    models = {"segmenter": segmenter, "classifier": classifier}
    with tempfile.TemporaryDirectory(prefix="mcn-view-") as folder:
        tokens = Path(folder, "tokens.json")
        token = add_token(tokens, token_name(), SCOPES)
        settings = read_settings(
            {
                "catalog": uri,
                "host": _HOST,
                "port": chosen,
                "tokens": str(tokens),
                "requests_a_minute": _REQUESTS_A_MINUTE,
                "requests_a_day": _REQUESTS_A_MINUTE,
                **{name: model for name, model in models.items() if model is not None},
            }
        )
        say(f"{uri}: loading the models …")
        with running_endpoint(settings, verbose) as stopped:
            if not stopped.is_set():
                # Behind the #, the token reaches neither a server's log nor another site.
                address = f"http://{_HOST}:{chosen}/#token={token}"
                say(f"ready at {address} (Ctrl-C ends it)")
                if browser:
                    webbrowser.open(address)
            stopped.wait()
            say("stopping")


def free_port(preferred: int = _PORT) -> int:
    """The preferred port, or another one if that is taken."""
    for port in (preferred, 0):
        with socket.socket() as listener:
            # As servers do: a port in TIME_WAIT is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((_HOST, port))
            except OSError:
                continue
            number: int = listener.getsockname()[1]
            return number
    raise AssertionError("the system gives no port")


def token_name() -> str:
    """The user's name as a token may have it: what corrections are stored under."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A user without an entry, as in some containers.
        user = ""
    return re.sub(r"[^\w.@-]", "_", user)[:64] or "me"
