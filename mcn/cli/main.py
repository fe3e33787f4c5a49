"""The command line, `mcn`.

Every command imports what it needs itself, so that `mcn --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mcn.cli.catalog import CatalogUri, catalog_app, export, log, query
from mcn.cli.console import possible_size, print_json, progress_bar, say
from mcn.cli.endpoint import remote_app, serve, token_app
from mcn.cli.models import (
    AsJson,
    ClassifierName,
    SegmenterName,
    evaluate_app,
    train_app,
    weights_app,
)
from mcn.errors import McnError

app = typer.Typer(
    name="mcn",
    help="Reads microcrystals out of scanning electron micrographs of rock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog_app, name="catalog")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(weights_app, name="weights")
app.add_typer(token_app, name="token")
app.add_typer(remote_app, name="remote")


def main() -> NoReturn:
    """Run the command line: exit 0 on success, 1 when something failed, 2 on bad usage."""
    words = sys.argv[1:]
    try:
        app([word for word in words if word != "--debug"])
    except BrokenPipeError:
        sys.stderr.close()
    except Exception as error:
        if "--debug" in words:
            raise
        if isinstance(error, McnError):
            say(f"error: {error}")
        else:
            reason = " ".join(str(error).split()) or "no reason given"
            say(f"error: {type(error).__name__}: {reason} (--debug shows where)")
    sys.exit(1)


@app.callback()
def _everywhere(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something fails.")
    ] = False,
) -> None:
    """Reads microcrystals out of scanning electron micrographs of rock."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
) -> None:
    """Render a core, scan it, query it and draw it; no arguments needed."""
    from mcn.cli.demo import run_demo
    from pipelines.scan import run_scan

    run_demo(out, run_scan, progress_bar)


@app.command()
def core(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    wells: Annotated[int, typer.Option(min=1, help="Wells.")] = 3,
    tiles: Annotated[int, typer.Option(min=1, help="Tiles over all wells.")] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same core.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes to render with.")] = 1,
    varied: Annotated[
        bool,
        typer.Option(
            "--varied",
            help="No wells: images/ and masks/ of every mix, size and fault, to train with.",
        ),
    ] = False,
) -> None:
    """Render a synthetic core repository with its truth."""
    from mcn.synthetic.core import render_core
    from mcn.synthetic.dataset import write_dataset

    if varied:
        with progress_bar("rendering", tiles) as advance:
            write_dataset(out, tiles, seed, workers=workers, on_tile=lambda *_: advance())
        say(f"{tiles} tiles in {out / 'images'}, their truth in {out / 'masks'}")
        return
    with progress_bar("rendering", tiles) as advance:
        render_core(out, wells, tiles, seed, workers=workers, on_tile=lambda *_: advance())
    say(f"{tiles} tiles of {wells} wells in {out}, their truth in {out / 'truth'}")


@app.command()
def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Micrographs.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays and crystals.json.")],
    segmenter: SegmenterName = "compact",
    classifier: ClassifierName = "nsr",
    pixel_size_um: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", help="Micrometres a pixel, if known better.", callback=possible_size
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also draw what each shape was named for.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find, name and measure the crystals of single micrographs."""
    from mcn.cli.analyze import analyze_files
    from mcn.io.output_names import one_line_name
    from mcn.micrograph import page_note

    with progress_bar("analysing", len(images)) as advance:
        report, failed = analyze_files(
            images, out, segmenter, classifier, pixel_size_um, advance, explain=explain
        )
    for image in report["images"]:
        name = one_line_name(image["image"])
        say(f"{name}: {len(image['crystals'])} crystals, {image['overlay']}")
        if note := page_note(image["pages"]):
            say(f"warning: {name}: {note}")
    if explain and report["images"]:
        say(f"heat maps of their shapes: {out / '*.explain.png'}")
    for message in failed:
        say(f"error: {one_line_name(message)}")
    if as_json:
        print_json(report)
    if failed:
        raise typer.Exit(1)


@app.command()
def scan(
    tiles: Annotated[str, typer.Argument(metavar="TILES", help="Folder or URI of tiles.")],
    catalog: CatalogUri,
    pattern: Annotated[
        str | None, typer.Option(help="Where well and depth stand in a tile's path.")
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(help="CSV or Parquet list of tiles, or an S3 Inventory's manifest.json."),
    ] = None,
    segmenter: SegmenterName = "compact",
    classifier: ClassifierName = "nsr",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Scan tiles again that failed before.")
    ] = False,
    depth_bin_m: Annotated[
        float | None, typer.Option("--depth-bin", help="Metres a depth bin of a new catalogue.")
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="This is job I of N side by side.")
    ] = "1/1",
    config: Annotated[
        str | None, typer.Option(help="TOML file with the workers of each stage.")
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="STAGE.SETTING=VALUE", help="Over the file, such as segment.batch=32."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on this port.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Scan tiles into a catalogue; tiles it has already are skipped.

    Ctrl-C finishes and commits what is begun; a second one ends the scan at once.
    """
    import logging
    from dataclasses import asdict

    from mcn.sources.path_pattern import DEFAULT_PATTERN
    from pipelines.scan import ScanSettings, run_scan

    settings = ScanSettings(
        pattern=pattern or DEFAULT_PATTERN,
        manifest=manifest,
        segmenter=segmenter,
        classifier=classifier,
        retry_failed=retry_failed,
        depth_bin_m=depth_bin_m,
        shard=shard,
        config=config,
        stages=tuple(stages or ()),
        metrics_port=metrics_port,
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
        say(f"stopped with {summary.tiles_left} tiles left; run it again to go on")
        raise typer.Exit(1)


@app.command()
def plan(
    tiles: Annotated[
        int | None, typer.Option(min=1, help="Tiles to scan; those of --source if not given.")
    ] = None,
    tiles_per_second: Annotated[
        float | None, typer.Option(help="Of one worker, if it is known.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="GPUs, or cores, side by side.")] = 1,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Of one worker, in any currency.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="TILES", help="Measure the rate on tiles of this folder or URI."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Tiles to measure on.")] = 16,
    pattern: Annotated[
        str | None, typer.Option(help="Where well and depth stand in a tile's path.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(help="List of the tiles instead of a pattern.")
    ] = None,
    segmenter: SegmenterName = "compact",
    classifier: ClassifierName = "nsr",
    as_json: AsJson = False,
) -> None:
    """Time and cost of a scan, with the assumptions they rest on."""
    from dataclasses import asdict

    from mcn.sources.path_pattern import DEFAULT_PATTERN
    from pipelines.estimate import ScanRate, calibrate, estimate
    from pipelines.scan import ScanSettings

    if (tiles_per_second is None) == (source is None):
        raise typer.BadParameter("give --tiles-per-second, or --source to measure it on")
    if source is not None:
        settings = ScanSettings(
            pattern=pattern or DEFAULT_PATTERN,
            manifest=manifest,
            segmenter=segmenter,
            classifier=classifier,
        )
        pace, there = calibrate(source, settings, sample)
        tiles = tiles or there
    else:
        pace = ScanRate(tiles_per_second or 0.0, "as given")
    if tiles is None:
        raise typer.BadParameter("give --tiles, or --source to count them in")
    told = estimate(tiles, pace, workers, price_per_hour)
    if as_json:
        print_json(asdict(told))
        return
    money = "" if told.cost is None else f", {told.cost:,.2f} in all"
    print(
        f"{told.tiles:,} tiles on {told.workers} workers: {told.hours:,.2f} hours at "
        f"{told.tiles_per_second:g} tiles/s ({told.worker_hours:,.2f} worker hours{money})"
    )
    for assumption in told.assumptions:
        print(f"  assuming {assumption}")


for command in (query, log, export, serve):
    app.command()(command)

if __name__ == "__main__":
    main()
