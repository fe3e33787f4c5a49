"""The stages share the cluster, and an error of a worker is reported in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray.exceptions

from pipelines.batch import Count, WrittenBatch
from pipelines.models import ScanModels
from pipelines.pipeline import ScanError, iter_written, stage_resources
from pipelines.resources import STAGES
from pipelines.scan import ScanSettings, run_scan

from ..waiting import DEADLINE_S


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_every_stage_can_run_beside_the_others(cores: int, gpus: int) -> None:
    """Otherwise a stage would wait forever for resources of another stage."""
    pools = stage_resources(max(cores, gpus), gpus, 1000)
    models = [pools["segment"], pools["classify"]]
    assert sum(pool.least * pool.cpus for pool in models) + 0.2 <= max(cores, gpus) + 1e-9
    assert sum(pool.least * pool.gpus for pool in models) <= gpus
    if not gpus:
        assert all(pool.threads == 1 for pool in models), "threads would compete for the cores"


@pytest.mark.parametrize(
    ("cores", "gpus", "workers"), [(2, 1, 1), (8, 1, 2), (16, 1, 4), (192, 8, 32), (128, 1, 4)]
)
def test_segmenters_share_a_gpu_where_there_are_cores_for_them(
    cores: int, gpus: int, workers: int
) -> None:
    pools = stage_resources(cores, gpus, 1000)
    segment, classify = pools["segment"], pools["classify"]
    assert segment.least == segment.most == workers
    assert segment.gpus * workers + classify.gpus * classify.most <= gpus
    assert segment.gpus * workers >= 0.7 * gpus


def test_small_scans_write_small_batches() -> None:
    assert stage_resources(2, 0, 24)["write"].batch == 8
    assert stage_resources(2, 0, 10_000)["write"].batch == 50
    assert stage_resources(2, 0, 10**7)["write"].batch == 256


class Batches:
    """The part of a data set that `iter_written` uses: two batches in one block, then an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        yield pa.concat_tables([batch.as_table() for batch in WRITTEN])
        raise self.error


WRITTEN = [WrittenBatch((), {"A": Count(n, 0, 7)}, {}) for n in (1, 2)]


def test_an_error_of_a_worker_stops_the_scan_after_written_batches() -> None:
    report = (
        "ray::map_batches() (pid=1, ip=127.0.0.1)\n"
        '  File "scan.py", line 3, in load\n'
        "FileNotFoundError: no weights\n"
        "here"
    )
    written = iter_written(Batches(ray.exceptions.RayError(report)))  # type: ignore[arg-type]
    assert [next(written), next(written)] == WRITTEN
    with pytest.raises(ScanError) as error:
        next(written)
    assert str(error.value) == (
        "the scan stopped (FileNotFoundError: no weights here); committed tiles stay; "
        "run it again to continue"
    )


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(KeyError):
        list(iter_written(Batches(KeyError("a mistake of ours"))))  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_scan_runs_beside_others_that_leave_it_parts_of_a_core(
    core: Path, models: ScanModels, tmp_path: Path
) -> None:
    import ray

    @ray.remote(num_cpus=1.2)
    class Neighbour:
        def is_there(self) -> bool:
            return True

    neighbour = Neighbour.remote()
    ray.get(neighbour.is_there.remote(), timeout=DEADLINE_S)
    try:
        stages = tuple(f"{stage}.cpus=0.1" for stage in STAGES)
        settings = ScanSettings(stages=(*stages, "segment.most=1", "classify.most=1"))
        summary = run_scan(str(core), str(tmp_path / "catalog"), settings, models)
    finally:
        ray.kill(neighbour)
    assert summary.tiles_ok == 8
