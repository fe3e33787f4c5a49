"""Scan tiles in object storage and write their crystals to a catalogue."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from time import perf_counter

import pyarrow as pa

from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.recovery import delete_unnamed, finish, recover
from mcn.catalog.upkeep.scan_lease import LostScanError, ScanLease, folder_of, release
from mcn.cluster_resources import cores_and_gpus
from mcn.micrograph import Limits
from mcn.sources.listing import find_tiles
from mcn.sources.manifest import read_manifest
from mcn.sources.path_pattern import DEFAULT_PATTERN, SourceError
from mcn.sources.s3_inventory import is_inventory, read_inventory
from pipelines.batch import Count, WrittenBatch
from pipelines.cluster import LOOPBACK, quiet_data, ray_cluster
from pipelines.commit import Committer
from pipelines.fault_isolation.attempts import start_attempt_log
from pipelines.models import ScanModels
from pipelines.monitoring.metrics import ScanMetrics, serve_metrics
from pipelines.monitoring.monitor import drained_on_interrupt, stage_metrics
from pipelines.monitoring.progress import ScanProgress
from pipelines.pipeline import (
    ScanError,
    ScanResources,
    build_pipeline,
    iter_written,
    stage_resources,
)
from pipelines.planning import Plan, Shard, make_plan
from pipelines.resources import STAGES, Overrides, read_overrides

logger = logging.getLogger("pipelines.scan")


@dataclass(frozen=True)
class ScanSettings:
    """Options of a scan.

    Parameters
    ----------
    pattern : str
        Where well and depth are in the path of a tile; see `mcn.sources.listing.find_tiles`.
    manifest : str, optional
        List of the tiles, instead of the pattern; see `mcn.sources.manifest.read_manifest`. An S3
        Inventory's `manifest.json` goes with the pattern; see `mcn.sources.s3_inventory`.
    segmenter, classifier : str
        Names or paths of the models.
    shard : str
        Which of several parallel jobs this is, `I/N`.
    retry_failed : bool
        Scan tiles again that failed in earlier scans.
    depth_bin_m : float, optional
        Width of the depth bins in metres, if the catalogue is new.
    commit_tiles, commit_seconds : int, float
        Commit after this many tiles or seconds, whichever comes first.
    config : str, optional
        File with the workers of each stage; see `pipelines.resources.read_overrides`.
    stages : tuple of str
        Settings of stages, `STAGE.SETTING=VALUE`; they override the file.
    metrics_port : int, optional
        Port of this machine that serves metrics while the scan runs.
    metrics_host : str
        Address for it; by default, only this machine reaches it.
    limits : Limits
        Largest tile that is read.
    progress : bool
        Show progress if standard error is a terminal.
    verbose : bool
        Print the messages of Ray.
    """

    pattern: str = DEFAULT_PATTERN
    manifest: str | None = None
    segmenter: str = "compact"
    classifier: str = "nsr"
    shard: str = "1/1"
    retry_failed: bool = False
    depth_bin_m: float | None = None
    commit_tiles: int = 512
    commit_seconds: float = 30.0
    config: str | None = None
    stages: tuple[str, ...] = ()
    metrics_port: int | None = None
    metrics_host: str = LOOPBACK
    limits: Limits = field(default_factory=Limits)
    progress: bool = True
    verbose: bool = False


@dataclass(frozen=True)
class ScanSummary:
    """Result of a scan.

    Parameters
    ----------
    tiles_ok, tiles_failed, tiles_skipped : int
        Tiles scanned, tiles that failed, and tiles that the catalogue had already.
    tiles_left : int
        Tiles that were not scanned because the scan was interrupted.
    crystals : int
        Crystals in the scanned tiles.
    seconds, tiles_per_second : float
        From listing the source to the last commit, including the start of Ray.
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
    tiles_left: int = 0
    first_error: str | None = None


def run_scan(
    tiles: str,
    catalog: str,
    settings: ScanSettings = ScanSettings(),
    models: ScanModels | None = None,
) -> ScanSummary:
    """Scan the tiles of a source that a catalogue does not have yet.

    Rows are committed while the scan runs. If the scan stops early, committed rows stay and the
    same call continues from there.

    Parameters
    ----------
    tiles, catalog : str
        Folder of tiles and folder of the catalogue: local paths or fsspec URIs. For S3 the
        endpoint and credentials come from the environment (`AWS_ENDPOINT_URL`, …). The
        catalogue is created if it does not exist.
    settings : ScanSettings
    models : ScanModels, optional
        Models to use instead of those that `settings` names.

    Raises
    ------
    McnError
        If source, catalogue or models cannot be used (nothing is written), or the scan
        stopped (`ScanError`).
    """
    started = perf_counter()
    models = models or ScanModels.named(settings.segmenter, settings.classifier)
    overrides = read_overrides(settings.config, settings.stages)
    shard = Shard.read(settings.shard)
    listed = list_tiles(tiles, settings)
    store = Catalog.open_or_create(catalog, settings.depth_bin_m, models.shapes)
    scan_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    plan, totals = _Scan(store, models, settings, overrides, scan_id).run(listed, shard)
    seconds = perf_counter() - started
    return ScanSummary(
        scan_id=scan_id,
        catalog=store.uri,
        segmenter=models.segmenter,
        classifier=models.classifier,
        tiles_ok=totals.count.ok,
        tiles_failed=totals.count.failed,
        tiles_skipped=plan.skipped,
        crystals=totals.count.crystals,
        seconds=round(seconds, 3),
        tiles_per_second=round(totals.count.tiles / seconds, 3),
        tiles_left=plan.to_scan - totals.count.tiles,
        first_error=totals.first_error,
    )


@dataclass(frozen=True)
class ScanTotals:
    """Tiles and commits of a scan, and why the first failed tile failed."""

    count: Count = field(default_factory=Count)
    commits: int = 0
    first_error: str | None = None


@dataclass(frozen=True)
class _Scan:
    """One scan, from its plan to its last commit."""

    store: Catalog
    models: ScanModels
    settings: ScanSettings
    overrides: Overrides
    scan_id: str

    def run(self, listed: Iterator[pa.RecordBatch], shard: Shard) -> tuple[Plan, ScanTotals]:
        """Plan and scan under a lease, and clean up after this scan and earlier dead ones."""
        with ScanLease(self.store, self.scan_id) as lease:
            version = self.store.snapshot().tiles.version
            if recovered := recover(self.store, self.scan_id):
                logger.info("scan %s: recovered %s", self.scan_id, ", ".join(recovered))
            try:
                plan, totals = self._plan_and_scan(listed, shard, lease)
            except LostScanError:
                raise
            except Exception:
                # If this cleanup fails too, the next scan repeats it.
                with suppress(Exception):
                    finish(self.store, lease.entry)
                raise

            recovered += recover(self.store, self.scan_id)
            if recovered:
                delete_unnamed(self.store, recovered)
            # If others committed meanwhile, their rows may be of the same tiles.
            alone = (
                not plan.again and self.store.snapshot().tiles.version == version + totals.commits
            )
            if plan.to_scan:
                finish(self.store, lease.entry, alone=alone)
            else:
                release(self.store, self.scan_id)
        return plan, totals

    def _plan_and_scan(
        self, listed: Iterator[pa.RecordBatch], shard: Shard, lease: ScanLease
    ) -> tuple[Plan, ScanTotals]:
        plan = make_plan(
            listed,
            self.store,
            (self.models.segmenter, self.models.classifier),
            folder_of(self.store, self.scan_id),
            shard=shard,
            retry_failed=self.settings.retry_failed,
        )
        logger.info(
            "scan %s: %d tiles of %d wells to scan, %d of them again; %d skipped",
            self.scan_id,
            plan.to_scan,
            len(plan.wells),
            plan.again,
            plan.skipped,
        )
        if not plan.to_scan:
            return plan, ScanTotals()
        with ExitStack() as stack:
            progress = stack.enter_context(
                ScanProgress(self.scan_id, plan.wells, self.settings.progress)
            )
            stack.enter_context(ray_cluster(self.settings.verbose))
            stack.enter_context(quiet_data(self.settings.verbose))
            return plan, self._scan(plan, lease, progress)

    def _scan(self, plan: Plan, lease: ScanLease, progress: ScanProgress) -> ScanTotals:
        import ray

        cluster = ray.cluster_resources()  # type: ignore[no-untyped-call]
        pools = stage_resources(*cores_and_gpus(cluster), plan.to_scan, self.overrides)
        metrics = ScanMetrics(self.scan_id, {stage: pools[stage].most for stage in STAGES})
        attempt_log = start_attempt_log()
        first_error: str | None = None
        commits = 0

        def committed(batches: Sequence[WrittenBatch], seconds: float) -> None:
            nonlocal commits
            commits += 1
            metrics.add_commit(seconds)
            for batch in batches:
                metrics.add_batch(batch)

        with ExitStack() as stack:
            if self.settings.metrics_port is not None:
                server = serve_metrics(
                    metrics, self.settings.metrics_host, self.settings.metrics_port
                )
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
            stack.enter_context(stage_metrics(attempt_log, metrics, pools["segment"].gpus > 0))
            stopping = stack.enter_context(drained_on_interrupt(attempt_log, self.scan_id))
            committer = stack.enter_context(
                Committer(
                    self.store,
                    lease,
                    self.settings.commit_tiles,
                    self.settings.commit_seconds,
                    committed,
                )
            )
            manifest = self.settings.manifest
            # A listing has all sidecars; a manifest only those that it names.
            seeks_sidecars = manifest is not None and not is_inventory(manifest)
            resources = ScanResources(pools, self.settings.limits, seeks_sidecars)
            dataset = build_pipeline(
                plan, self.store, self.models, self.scan_id, resources, attempt_log
            )
            for batch in iter_written(dataset):
                committer.add(batch)
                progress.add(batch)
                first_error = first_error or batch.first_error
        if progress.done.tiles < plan.to_scan and not stopping.is_set():
            raise ScanError(
                f"{plan.to_scan - progress.done.tiles} of {plan.to_scan} tiles were "
                "lost; run the scan again to scan them"
            )
        return ScanTotals(progress.done, commits, first_error)


def list_tiles(tiles: str, settings: ScanSettings) -> Iterator[pa.RecordBatch]:
    """Tiles of the source. Lists the first ones now, so that a bad source fails here."""
    if tiles.startswith("memory://"):
        raise SourceError(
            f"{tiles}: workers cannot read the memory of this process; use a local folder or s3://"
        )
    if settings.manifest is None:
        listed = find_tiles(tiles, settings.pattern)
    elif is_inventory(settings.manifest):
        listed = read_inventory(settings.manifest, tiles, settings.pattern)
    else:
        listed = read_manifest(settings.manifest, tiles)
    return chain([next(listed)], listed)
