"""Commands about the endpoint: `mcn serve`, `mcn token`, `mcn remote`."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mcn.cli.console import possible_size, print_json, say
from mcn.cli.options import Prompts

token_app = typer.Typer(help="Create and revoke tokens of the endpoint.", no_args_is_help=True)
remote_app = typer.Typer(help="Use an endpoint that runs elsewhere.", no_args_is_help=True)

TokenFileArg = Annotated[Path, typer.Argument(metavar="FILE", help="File of tokens (JSON).")]
Url = Annotated[str, typer.Option(help="Address of the endpoint, such as http://127.0.0.1:8000.")]


def serve(
    catalog: Annotated[
        str | None, typer.Option(help="Folder or URI of the catalogue to serve.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
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
    from pipelines.cluster import ray_cluster
    from serve.settings import read_settings

    if prompts is not None and segmenter is None:
        raise typer.BadParameter("--prompts is for a full-size SAM; add --segmenter vit_b")
    if segmenter is not None:
        from mcn.segment import with_prompts

        segmenter = with_prompts(segmenter, prompts)
    if insecure and host not in ("127.0.0.1", "localhost", "::1"):
        raise typer.BadParameter(f"--insecure needs --host 127.0.0.1, not {host}")
    options: dict[str, Any] = {
        "catalog": None if catalog is None else normalise(catalog),
        "segmenter": segmenter,
        "classifier": classifier,
        "tokens": None if tokens is None else str(tokens.resolve()),
        "insecure": insecure or None,
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    settings = read_settings(overrides, config)
    from serve import app

    with ray_cluster(verbose):
        app.start(settings, host, port)
        with app.until_stopped() as stopped:
            say(f"ready at http://{host}:{port}, described at http://{host}:{port}/docs")
            stopped.wait()
            say("finishing requests in progress, then stopping")


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


@remote_app.command("analyze")
def remote_analyze(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Micrographs.")],
    url: Url = "http://127.0.0.1:8000",
    out: Annotated[Path | None, typer.Option(help="Folder for an overlay of each picture.")] = None,
    pixel_size_um: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", help="Micrometres per pixel, if known.", callback=possible_size
        ),
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find, name and measure crystals through an endpoint; the token comes from MCN_TOKEN."""
    from mcn.io.output_names import one_line_name, output_names
    from mcn.micrograph import page_note
    from serve.client import Client, ClientError

    report: list[dict[str, Any]] = []
    failed = 0
    with Client(url, os.environ.get("MCN_TOKEN")) as client:
        for image, name in zip(images, output_names(list(map(str, images))), strict=True):
            shown = one_line_name(str(image))
            try:
                analysis = client.analyze(
                    image, pixel_size_um=pixel_size_um, min_confidence=min_confidence
                )
                if out is not None:
                    out.mkdir(parents=True, exist_ok=True)
                    picture = client.overlay(image, min_confidence=min_confidence)
                    (out / f"{name}.overlay.png").write_bytes(picture)
            except ClientError as error:
                failed += 1
                say(f"error: {shown}: {one_line_name(str(error))}")
                continue
            report.append(analysis.model_dump())
            say(
                f"{shown}: {len(analysis.crystals)} crystals by {analysis.segmenter}, "
                f"{analysis.classifier}"
            )
            if note := page_note(analysis.pages):
                say(f"warning: {shown}: {note}")
    if as_json:
        print_json({"images": report})
    if failed:
        raise typer.Exit(1)
