"""Commands that run an endpoint: `mcn serve`, `mcn token`."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mcn.cli.console import say
from mcn.cli.online.running import running_endpoint
from mcn.cli.options import Prompts

token_app = typer.Typer(help="Create and revoke tokens of the endpoint.", no_args_is_help=True)

TokenFileArg = Annotated[Path, typer.Argument(metavar="FILE", help="File of tokens (JSON).")]


def serve(
    catalog: Annotated[
        str | None, typer.Option(help="Folder or URI of the catalogue to serve.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not given.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on; 8000 if not given."),
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="compact (default), vit_b, vit_l, vit_h, or a file.")
    ] = None,
    prompts: Prompts = None,
    classifier: Annotated[
        str | None, typer.Option(help="nsr (default), published, or a weights file.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of tokens, made by `mcn token add`.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate with its chain, PEM; then it speaks HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the certificate, PEM.")] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Accept requests without a token; on this machine only."),
    ] = False,
    config: Annotated[
        str | None, typer.Option(help="TOML file of settings; see docs/serving.md.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the replicas' logs, including the audit log.")
    ] = False,
) -> None:
    """Serve the models over HTTP until Ctrl-C; requests need MCN_TOKEN or a token of a file."""
    from mcn.catalog.storage import normalise
    from serve.settings import SettingsError, read_settings
    from serve.start_checks import check_start

    if prompts is not None and segmenter is None:
        raise typer.BadParameter("--prompts is for a full-size SAM; add --segmenter vit_b")
    if segmenter is not None:
        from mcn.segment import with_prompts

        segmenter = with_prompts(segmenter, prompts)
    options: dict[str, Any] = {
        "catalog": None if catalog is None else normalise(catalog),
        "segmenter": segmenter,
        "classifier": classifier,
        "tokens": None if tokens is None else str(tokens.resolve()),
        "host": host,
        "port": port,
        "tls_cert": None if tls_cert is None else str(tls_cert.resolve()),
        "tls_key": None if tls_key is None else str(tls_key.resolve()),
        "insecure": insecure or None,
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    try:
        settings = read_settings(overrides, config)
        # The head of a cluster may be another machine, with other files and ports.
        if "RAY_ADDRESS" not in os.environ:
            settings = check_start(settings)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from None
    if settings.catalog is not None:
        _warn_without_catalog(settings.catalog)
    with running_endpoint(settings, verbose) as stopped:
        if not stopped.is_set():
            url = f"{'http' if settings.tls_cert is None else 'https'}://{settings.host}:{settings.port}"
            say(f"ready at {url}, described at {url}/docs")
        stopped.wait()
        say("finishing requests in progress, then stopping")


def _warn_without_catalog(uri: str) -> None:
    """The endpoint starts without it: the first scan may come later."""
    from mcn.catalog.storage import CatalogError
    from mcn.catalog.store import Catalog

    try:
        Catalog.open(uri)
    except CatalogError as error:
        say(f"warning: {error}; until then, requests for it are refused")


@token_app.command("add")
def token_add(
    file: TokenFileArg,
    name: Annotated[str, typer.Argument(help="Who uses it; written to the audit log.")],
    scope: Annotated[
        list[str], typer.Option(help="read, analyze, correct or admin; may be repeated.")
    ],
    expires: Annotated[
        datetime | None, typer.Option(help="Expiry date, UTC.", formats=["%Y-%m-%d"])
    ] = None,
) -> None:
    """Create a token and print it once; only its hash is stored."""
    from serve.tokens import add_token

    typer.echo(add_token(file, name, scope, expires))
    say(f"{file}: {name} may {', '.join(scope)}")


@token_app.command("remove")
def token_remove(file: TokenFileArg, name: Annotated[str, typer.Argument()]) -> None:
    """Revoke a token; running endpoints reject it within a second."""
    from serve.tokens import remove_token

    remove_token(file, name)
    say(f"{file}: removed {name}")


@token_app.command("list")
def token_list(file: TokenFileArg) -> None:
    """List the tokens and their scopes."""
    from serve.tokens import read_tokens

    for token in read_tokens(file).tokens:
        until = f", until {token.expires:%Y-%m-%d}" if token.expires else ""
        typer.echo(f"{token.name}: {', '.join(token.scopes)}{until}")
