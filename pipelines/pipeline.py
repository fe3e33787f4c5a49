"""The Ray Data pipeline of a scan: its stages, and the batches that they write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mcn.catalog.store import Catalog
from mcn.errors import McnError
from mcn.micrograph import Limits
from pipelines.batch import WrittenBatch
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.models import ScanModels
from pipelines.planning import Plan
from pipelines.resources import STAGES, Overrides, StageResources
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.labels import ScanLabels
from pipelines.stages.read import ReadTiles
from pipelines.stages.segment import SegmentTiles
from pipelines.stages.write import WriteTiles

if TYPE_CHECKING:
    from ray.data import Dataset

_SMALLEST_WRITE: Final = 8
_WRITES: Final = 200
"""Approximate number of writes of a scan: few files, but little lost when the scan is killed."""


class ScanError(McnError):
    """The scan stopped; the message says why. Committed tiles stay."""


@dataclass(frozen=True)
class ScanResources:
    """Workers of each stage, limits of a tile, and whether to look for sidecars in storage.

    Parameters
    ----------
    pools : mapping of str to StageResources
        By stage; see `stage_resources`.
    limits : Limits
    seeks_sidecars : bool
        See `pipelines.stages.read.ReadTiles`.
    """

    pools: Mapping[str, StageResources]
    limits: Limits
    seeks_sidecars: bool = False


def stage_resources(
    cores: float, gpus: float, tiles: int, overrides: Overrides = MappingProxyType({})
) -> dict[str, StageResources]:
    """Resources of each stage on a cluster with these cores and GPUs, for this many tiles."""
    pools: dict[str, StageResources] = {
        "read": ReadTiles.pool(cores, gpus),
        "segment": SegmentTiles.pool(cores, gpus),
        "classify": ClassifyTiles.pool(cores, gpus),
        "write": WriteTiles.pool(cores, gpus),
    }
    tiles_per_write = min(pools["write"].batch, max(_SMALLEST_WRITE, tiles // _WRITES))
    pools["write"] = pools["write"].changed({"batch": tiles_per_write})
    return {name: pool.changed(overrides.get(name, {})) for name, pool in pools.items()}


def build_pipeline(
    plan: Plan,
    catalog: Catalog,
    models: ScanModels,
    scan_id: str,
    resources: ScanResources,
    attempt_log: Any,
) -> Dataset:
    """Build the stages of a scan; nothing runs until the result is iterated.

    Parameters
    ----------
    plan : Plan
        Must have at least one tile.
    catalog : Catalog
        Where the last stage writes data files; they are committed later.
    models : ScanModels
    scan_id : str
    resources : ScanResources
    attempt_log : actor handle of `pipelines.fault_isolation.attempts.AttemptLog`
    """
    import ray.data

    pools = resources.pools
    labels = ScanLabels(models.segmenter, models.classifier, scan_id)
    isolators = {name: FaultIsolator(name, attempt_log, pools[name].seconds) for name in STAGES}
    read, write = pools["read"], pools["write"]
    # Small slices keep all workers busy until the end of a small scan; large ones cost less.
    share = plan.to_scan // (4 * pools["segment"].most)
    slices = plan.slices(min(max(pools["segment"].batch, share), read.batch))
    dataset: Dataset = (
        ray.data.from_blocks([plan_slice.as_table() for plan_slice in slices])
        .map_batches(
            ReadTiles(resources.limits, isolators["read"], resources.seeks_sidecars),
            **_tasks(read, None),
        )
        .map_batches(
            SegmentTiles,
            fn_constructor_args=(
                models.load_segmenter,
                pools["segment"].threads,
                labels,
                isolators["segment"],
            ),
            **_actors(pools["segment"], len(slices)),
        )
        .map_batches(
            ClassifyTiles,
            fn_constructor_args=(
                models.load_classifier,
                pools["classify"].threads,
                labels,
                isolators["classify"],
            ),
            **_actors(pools["classify"], len(slices)),
        )
        .map_batches(WriteTiles(catalog, scan_id), **_tasks(write, write.batch))
    )
    return dataset


def _actors(pool: StageResources, slices: int) -> dict[str, Any]:
    from ray.data import ActorPoolStrategy

    return {
        "batch_format": "pyarrow",
        "batch_size": pool.batch,
        "compute": ActorPoolStrategy(
            min_size=min(pool.least, slices), max_size=min(pool.most, slices)
        ),
        "num_cpus": pool.cpus,
        "num_gpus": pool.gpus,
    }


def _tasks(pool: StageResources, batch: int | None) -> dict[str, Any]:
    return {
        "batch_format": "pyarrow",
        "batch_size": batch,
        "concurrency": pool.most,
        "num_cpus": pool.cpus,
        "num_gpus": pool.gpus,
    }


def iter_written(dataset: Dataset) -> Iterator[WrittenBatch]:
    """Run the pipeline and yield its written batches; an error of Ray becomes a `ScanError`."""
    import ray.exceptions

    try:
        for rows in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            yield from WrittenBatch.all_in(rows)
    except ray.exceptions.RayError as error:
        raise ScanError(
            f"the scan stopped ({_innermost(error)}); committed tiles stay; "
            "run it again to continue"
        ) from error


def _innermost(error: Exception) -> str:
    """Message of the error in the worker, from the report of Ray."""
    lines = str(error).splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[A-Za-z_][\w.]*: ", line)]
    message = lines[starts[-1] :] if starts else lines
    return " ".join(" ".join(message).split())[:300]
