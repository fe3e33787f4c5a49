"""`mcn scan` and `mcn plan`: scan tiles into a catalogue, and estimate what that takes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, CatalogUri, ClassifierName, Prompts, SegmenterName


def scan(
    tiles: Annotated[str, typer.Argument(metavar="TILES", help="Folder or URI of tiles.")],
    catalog: CatalogUri,
    pattern: Annotated[
        str | None, typer.Option(help="Where well and depth are in a tile's path.")
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(help="CSV or Parquet list of tiles, or an S3 Inventory's manifest.json."),
    ] = None,
    segmenter: SegmenterName = "compact",
    prompts: Prompts = None,
    classifier: ClassifierName = "nsr",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Scan failed tiles again.")
    ] = False,
    depth_bin_m: Annotated[
        float | None,
        typer.Option(
            "--depth-bin", help="Length of a new catalogue's depth bins, metres; 500 by default."
        ),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Run as job I of N parallel jobs.")
    ] = "1/1",
    config: Annotated[
        str | None, typer.Option(help="TOML file with the workers of each stage.")
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="STAGE.SETTING=VALUE",
            help="Overrides the file, such as segment.batch=32.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on this port.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address for it; 0.0.0.0 if Prometheus runs on another machine.")
    ] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Scan tiles into a catalogue; tiles that it already has are skipped.

    Ctrl-C finishes and commits the tiles in progress; a second one ends the scan at once.
    """
    import logging
    from dataclasses import asdict

    from mcn.segment import with_prompts
    from mcn.sources.path_pattern import DEFAULT_PATTERN
    from pipelines.scan import ScanSettings, run_scan

    settings = ScanSettings(
        pattern=pattern or DEFAULT_PATTERN,
        manifest=manifest,
        segmenter=with_prompts(segmenter, prompts),
        classifier=classifier,
        retry_failed=retry_failed,
        depth_bin_m=depth_bin_m,
        shard=shard,
        config=config,
        stages=tuple(stages or ()),
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
    if not sys.stderr.isatty():
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("pipelines.scan").setLevel(logging.INFO)
    summary = run_scan(tiles, catalog, settings)
    say(
        f"{summary.tiles_ok} tiles scanned, {summary.tiles_failed} failed, "
        f"{summary.tiles_skipped} skipped; {summary.crystals} crystals in "
        f"{summary.seconds:.1f} s ({summary.tiles_per_second:.2f} tiles/s)"
    )
    if summary.first_error:
        say(f"first failure: {summary.first_error}")
    if as_json:
        print_json(asdict(summary))
    if summary.tiles_left:
        say(f"stopped with {summary.tiles_left} tiles left; run it again to continue")
        raise typer.Exit(1)


def plan(
    tiles: Annotated[
        int | None, typer.Option(min=1, help="Number of tiles; by default those of --source.")
    ] = None,
    tiles_per_second: Annotated[
        float | None, typer.Option(help="Rate of one worker, if known.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of GPUs, or of cores.")] = 1,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Price of one worker, in any currency.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="TILES", help="Measure the rate on tiles of this folder or URI."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of tiles to measure.")] = 16,
    pattern: Annotated[
        str | None, typer.Option(help="Where well and depth are in a tile's path.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(help="List of the tiles instead of a pattern.")
    ] = None,
    segmenter: SegmenterName = "compact",
    prompts: Prompts = None,
    classifier: ClassifierName = "nsr",
    as_json: AsJson = False,
) -> None:
    """Estimate the time and cost of a scan, with the assumptions."""
    from dataclasses import asdict

    from mcn.segment import with_prompts
    from mcn.sources.path_pattern import DEFAULT_PATTERN
    from pipelines.estimate import ScanRate, calibrate, estimate
    from pipelines.scan import ScanSettings

    if (tiles_per_second is None) == (source is None):
        raise typer.BadParameter("give --tiles-per-second, or --source to measure it on")
    if source is not None:
        settings = ScanSettings(
            pattern=pattern or DEFAULT_PATTERN,
            manifest=manifest,
            segmenter=with_prompts(segmenter, prompts),
            classifier=classifier,
        )
        rate, tile_count = calibrate(source, settings, sample)
        tiles = tiles or tile_count
    else:
        rate = ScanRate(tiles_per_second or 0.0, "as given")
    if tiles is None:
        raise typer.BadParameter("give --tiles, or --source to count them in")
    result = estimate(tiles, rate, workers, price_per_hour)
    if as_json:
        print_json(asdict(result))
        return
    money = "" if result.cost is None else f", {result.cost:,.2f} in total"
    print(
        f"{result.tiles:,} tiles on {result.workers} workers: {result.hours:,.2f} hours at "
        f"{result.tiles_per_second:g} tiles/s ({result.worker_hours:,.2f} worker hours{money})"
    )
    for assumption in result.assumptions:
        print(f"  assuming {assumption}")
