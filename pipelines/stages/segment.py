"""Segment: find the crystals of a tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from mcn.analyzer import Segmented, Segmenter, segment_micrographs
from mcn.micrograph import Micrograph
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.resources import StageResources
from pipelines.stages import rows
from pipelines.stages.labels import ScanLabels, check_model_name
from pipelines.stages.outcomes import columns_of, limit_threads, run_batch

_WORKERS_PER_GPU, _CORES_PER_WORKER = 4, 4
"""The cores of a GPU's machine also read, classify and write the tiles of its workers."""


class SegmentTiles:
    """Finds the crystals of each tile: `READ` in, `SEGMENTED` out."""

    def __init__(
        self,
        load: Callable[[], Segmenter],
        threads: int,
        labels: ScanLabels,
        isolator: FaultIsolator | None = None,
    ) -> None:
        # Import it now, so that the time limit of the first tile does not include the import.
        import mcn.crops  # noqa: F401

        self._segmenter = load()
        check_model_name(self._segmenter.name, labels.segmenter)
        limit_threads(threads)
        self._isolator = isolator or FaultIsolator("segment")

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """Most of each GPU, or most of each core: a scan spends most of its time here.

        Up to four workers share a GPU: each keeps a core busy for most of a tile's time and the
        GPU for about a tenth of it.
        """
        if gpus >= 1:
            per_gpu = min(_WORKERS_PER_GPU, max(1, int(cores / gpus) // _CORES_PER_WORKER))
            workers = per_gpu * int(gpus)
            return StageResources(
                least=workers, most=workers, cpus=0.5, gpus=0.75 / per_gpu, batch=8, seconds=600
            )
        # Many actors with one thread each are faster than one actor with many threads.
        workers = max(1, int(cores))
        return StageResources(least=workers, most=workers, cpus=0.6, gpus=0, batch=4, seconds=600)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment a batch; returns no rows if the scan is stopping."""
        if self._isolator.draining:
            return rows.SEGMENTED.empty_table()
        outcomes, seconds, errors = run_batch(
            self._isolator, self._segment, rows.unpack_micrographs(batch), batch
        )
        return pa.table(
            {
                **columns_of(batch, (*rows.ORIGIN, *rows.PICTURE)),
                **rows.pack_segmented(outcomes),
                "seconds": seconds,
                "error": errors,
            }
        ).select(rows.SEGMENTED.names)

    def _segment(self, micrographs: Sequence[Micrograph], shrink: int) -> list[Segmented]:
        return segment_micrographs(_with_less_memory(self._segmenter, shrink), micrographs)


def _with_less_memory(segmenter: Segmenter, times: int) -> Segmenter:
    """A segmenter that needs less memory, or the same one if it has no smaller windows."""
    for _ in range(times):
        smaller = getattr(segmenter, "in_smaller_windows", lambda: None)()
        if smaller is None:
            break
        segmenter = smaller
    return segmenter
