"""A scan as a Ray Data pipeline: the stages one after the other, and what comes out of them."""

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

_SMALLEST_PART: Final = 8
_PARTS: Final = 200
"""About as many times a scan writes: often enough to lose little, seldom enough for few files."""


class ScanError(McnError):
    """A scan that stopped; the message says why. What it committed stays."""


@dataclass(frozen=True)
class ScanResources:
    """Workers of each stage, what a tile may be at most, and whether to look for sidecars."""

    pools: Mapping[str, StageResources]
    limits: Limits
    seeks_sidecars: bool = False


def stage_resources(
    cores: float, gpus: float, tiles: int, overrides: Overrides = MappingProxyType({})
) -> dict[str, StageResources]:
    """What each stage asks of a cluster of so many cores and GPUs, for so many tiles."""
    pools: dict[str, StageResources] = {
        "read": ReadTiles.pool(cores, gpus),
        "segment": SegmentTiles.pool(cores, gpus),
        "classify": ClassifyTiles.pool(cores, gpus),
        "write": WriteTiles.pool(cores, gpus),
    }
    part = min(pools["write"].batch, max(_SMALLEST_PART, tiles // _PARTS))
    pools["write"] = pools["write"].changed({"batch": part})
    return {name: pool.changed(overrides.get(name, {})) for name, pool in pools.items()}


def build_pipeline(
    plan: Plan,
    catalog: Catalog,
    models: ScanModels,
    scan_id: str,
    resources: ScanResources,
    ledger: Any,
) -> Dataset:
    """The stages of a scan; nothing runs before it is iterated.

    Parameters
    ----------
    plan : Plan
        Of one tile at least.
    catalog : Catalog
        Where the stages write data files that are not committed yet.
    models : ScanModels
    scan_id : str
    resources : ScanResources
    ledger : actor handle of `pipelines.fault_isolation.attempts.Ledger`
    """
    import ray.data

    pools = resources.pools
    labels = ScanLabels(models.segmenter, models.classifier, scan_id)
    isolators = {name: FaultIsolator(name, ledger, pools[name].seconds) for name in STAGES}
    read, write = pools["read"], pools["write"]
    # Small pieces keep every worker busy to the end of a small scan, large ones are cheaper.
    share = plan.to_scan // (4 * pools["segment"].most)
    pieces = plan.slices(min(max(pools["segment"].batch, share), read.batch))
    dataset: Dataset = (
        ray.data.from_arrow([piece.as_table() for piece in pieces])
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
            **_actors(pools["segment"], len(pieces)),
        )
        .map_batches(
            ClassifyTiles,
            fn_constructor_args=(
                models.load_classifier,
                pools["classify"].threads,
                labels,
                isolators["classify"],
            ),
            **_actors(pools["classify"], len(pieces)),
        )
        .map_batches(WriteTiles(catalog, scan_id), **_tasks(write, write.batch))
    )
    return dataset


def _actors(pool: StageResources, most: int) -> dict[str, Any]:
    from ray.data import ActorPoolStrategy

    return {
        "batch_format": "pyarrow",
        "batch_size": pool.batch,
        "compute": ActorPoolStrategy(min_size=min(pool.least, most), max_size=min(pool.most, most)),
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
    """Written groups as they come; a stop of Ray's as one line."""
    import ray.exceptions

    try:
        for rows in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            yield from WrittenBatch.all_in(rows)
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
