"""The scan: tiles in object storage → crystals in a catalogue."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mcn.analyzer import Classifier, Segmenter
from mcn.catalog.schema import FAILED
from mcn.catalog.store import Catalog
from mcn.errors import McnError
from mcn.manifest import read_manifest
from mcn.micrograph import Limits
from mcn.source import DEFAULT_PATTERN, SourceError, find_tiles
from mcn.taxonomy import SHAPES
from pipelines.cluster import cores_and_gpus, quiet_data, ray_cluster
from pipelines.commit import Committer
from pipelines.plan import Plan
from pipelines.progress import ScanProgress
from pipelines.stages import ClassifyTiles, Pool, ReadTiles, SegmentTiles, Stamp

if TYPE_CHECKING:
    from ray.data import Dataset


class ScanError(McnError):
    """A scan that stopped; the message says why. What it committed stays."""


@dataclass(frozen=True)
class ScanSettings:
    """How to scan.

    Parameters
    ----------
    pattern : str
        Where well and depth stand in a tile's path; see `mcn.source.find_tiles`.
    manifest : str, optional
        List of the tiles, instead of the pattern; see `mcn.manifest.read_manifest`.
    segmenter, classifier : str
        Names or paths of the models.
    retry_failed : bool
        Scan tiles again that failed before.
    depth_bin_m : float, optional
        Width of the depth bins of a catalogue that is made now, in metres.
    commit_tiles, commit_seconds : int, float
        Commit after so many tiles, or so many seconds, whichever is first.
    limits : Limits
        What a tile may be at most.
    progress : bool
        Show a progress line where standard error is a terminal.
    verbose : bool
        Let through what Ray prints.
    """

    pattern: str = DEFAULT_PATTERN
    manifest: str | None = None
    segmenter: str = "compact"
    classifier: str = "nsr"
    retry_failed: bool = False
    depth_bin_m: float | None = None
    commit_tiles: int = 512
    commit_seconds: float = 30.0
    limits: Limits = field(default_factory=Limits)
    progress: bool = True
    verbose: bool = False


@dataclass(frozen=True)
class Models:
    """The two models of a scan: names and shapes, known at once, and how a worker loads them."""

    segmenter: str
    classifier: str
    load_segmenter: Callable[[], Segmenter]
    load_classifier: Callable[[], Classifier]
    shapes: tuple[str, ...] = SHAPES

    @classmethod
    def named(cls, segmenter: str, classifier: str) -> Models:
        """Models by name or path, as `mcn.segment` and `mcn.classify` know them."""
        from mcn.classify import load_classifier
        from mcn.segment import load_segmenter, segmenter_name

        # Workers have working folders of their own.
        segmenter, classifier = (
            str(Path(model).resolve()) if Path(model).is_file() else model
            for model in (segmenter, classifier)
        )
        namer = load_classifier(classifier)
        return cls(
            segmenter_name(segmenter),
            namer.name,
            partial(load_segmenter, segmenter),
            partial(load_classifier, classifier),
            namer.taxonomy.shapes,
        )


@dataclass(frozen=True)
class ScanSummary:
    """What a scan did.

    Parameters
    ----------
    tiles_ok, tiles_failed, tiles_skipped : int
        Tiles scanned, tiles written as failed, tiles the catalogue had already.
    crystals : int
        Crystals of the tiles scanned.
    seconds, tiles_per_second : float
        From the first look at the source to the last commit, starting of Ray included.
    first_error : str or None
        Why the first failed tile failed.
    """

    scan_id: str
    catalog: str
    segmenter: str
    classifier: str
    tiles_ok: int
    tiles_failed: int
    tiles_skipped: int
    crystals: int
    seconds: float
    tiles_per_second: float
    first_error: str | None = None


def run_scan(
    tiles: str,
    catalog: str,
    settings: ScanSettings = ScanSettings(),
    models: Models | None = None,
) -> ScanSummary:
    """Scan the tiles of a source that a catalogue does not have yet.

    Rows are committed while the scan runs. Whatever stops it, what is committed stays and
    the same call goes on from there.

    Parameters
    ----------
    tiles, catalog : str
        Folder of tiles and folder of the catalogue: local paths or fsspec URIs. For S3 the
        endpoint and credentials come from the environment (`AWS_ENDPOINT_URL`, …). The
        catalogue is made if it is not there.
    settings : ScanSettings
    models : Models, optional
        Models to use instead of those that `settings` names.

    Raises
    ------
    McnError
        When source, catalogue or models cannot be used (nothing is written), or the scan
        stopped (`ScanError`).
    """
    started = perf_counter()
    models = models or Models.named(settings.segmenter, settings.classifier)
    listed = _list(tiles, settings)
    store = Catalog.open_or_create(catalog, settings.depth_bin_m, models.shapes)
    scanned = store.scanned(models.segmenter, models.classifier)
    plan = Plan(listed, scanned, settings.retry_failed)
    scan_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    stamp = Stamp(models.segmenter, models.classifier, scan_id, store.depth_bin_m)
    committer = Committer(store, settings.commit_tiles, settings.commit_seconds)
    tally = _Tally()

    to_scan = iter(plan)
    first = next(to_scan, None)
    if first is not None:
        with ExitStack() as stack:
            progress = stack.enter_context(ScanProgress(settings.progress))
            stack.enter_context(ray_cluster(settings.verbose))
            stack.enter_context(quiet_data(settings.verbose))
            dataset = _dataset(chain([first], to_scan), models, stamp, settings.limits)
            progress.of(plan.to_scan)
            begun = perf_counter()
            try:
                for rows in _stream(dataset):
                    committer.add(rows)
                    tally.add(rows)
                    progress.show(tally.done, tally.failed, tally.crystals, perf_counter() - begun)
            finally:
                # Also on Ctrl-C and when a worker brings the scan down: it is done work.
                committer.flush()

    seconds = perf_counter() - started
    return ScanSummary(
        scan_id=scan_id,
        catalog=store.uri,
        segmenter=models.segmenter,
        classifier=models.classifier,
        tiles_ok=tally.done - tally.failed,
        tiles_failed=tally.failed,
        tiles_skipped=plan.skipped,
        crystals=tally.crystals,
        seconds=round(seconds, 3),
        tiles_per_second=round(tally.done / seconds, 3),
        first_error=tally.first_error,
    )


def _list(tiles: str, settings: ScanSettings) -> Iterator[pa.RecordBatch]:
    """The source's tiles; its first ones are found now, so that a bad source stops here."""
    if tiles.startswith("memory://"):
        raise SourceError(f"{tiles}: other processes cannot see it; use a local folder or s3://")
    if settings.manifest is None:
        listed = find_tiles(tiles, settings.pattern)
    else:
        listed = read_manifest(settings.manifest, tiles)
    return chain([next(listed)], listed)


def _dataset(to_scan: Iterable[pa.Table], models: Models, stamp: Stamp, limits: Limits) -> Dataset:
    """The stages of a scan, one after the other; nothing runs before it is iterated."""
    import ray
    import ray.data

    from pipelines.listed import ListedTiles

    cores, gpus = cores_and_gpus()
    read, segment = ReadTiles.pool(cores, gpus), SegmentTiles.pool(cores, gpus)
    classify = ClassifyTiles.pool(cores, gpus)
    # The list lies in Ray's object store, which spills to disk, and not in this process.
    batches = [(ray.put(batch), batch.num_rows) for batch in to_scan]
    # Small pieces keep every worker busy to the end of a small scan, large ones are cheaper.
    share = sum(rows for _, rows in batches) // (4 * segment.workers)
    piece = min(max(segment.batch_size, share), read.batch_size)
    tiles = ListedTiles(batches, ReadTiles(limits), piece)
    dataset: Dataset = (
        ray.data.read_datasource(
            tiles,
            override_num_blocks=len(tiles),
            num_cpus=read.num_cpus,
            concurrency=min(read.workers, len(tiles)),
        )
        .map_batches(
            SegmentTiles,
            fn_constructor_args=(models.load_segmenter, segment.threads, stamp),
            **_actors(segment, len(tiles)),
        )
        .map_batches(
            ClassifyTiles,
            fn_constructor_args=(models.load_classifier, classify.threads, stamp),
            **_actors(classify, len(tiles)),
        )
    )
    return dataset


def _actors(pool: Pool, most: int) -> dict[str, Any]:
    from ray.data import ActorPoolStrategy

    return {
        "batch_format": "pyarrow",
        "batch_size": pool.batch_size,
        "compute": ActorPoolStrategy(size=min(pool.workers, most)),
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
    }


def _stream(dataset: Dataset) -> Iterator[pa.Table]:
    """Classified rows as they come; a stop of Ray's as one line."""
    import ray.exceptions

    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        raise ScanError(
            f"the scan stopped ({_innermost(error)}); what is committed stays, "
            "run it again to go on"
        ) from error


def _innermost(error: Exception) -> str:
    """The words of the error in a worker that ended a scan, out of Ray's report of it."""
    lines = str(error).splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[A-Za-z_][\w.]*: ", line)]
    words = lines[starts[-1] :] if starts else lines
    return " ".join(" ".join(words).split())[:300]


@dataclass
class _Tally:
    done: int = 0
    failed: int = 0
    crystals: int = 0
    first_error: str | None = None

    def add(self, rows: pa.Table) -> None:
        failures = rows["error"].filter(pc.equal(rows["status"], FAILED))
        self.done += rows.num_rows
        self.failed += len(failures)
        self.crystals += pc.sum(rows["n_crystals"]).as_py() or 0
        if self.first_error is None and len(failures):
            self.first_error = failures[0].as_py()
