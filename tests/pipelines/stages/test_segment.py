"""Segmentation retries with less memory, and stops when the scan drains."""

from pathlib import Path

from pipelines.fault_isolation.attempts import AttemptLog
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.models import ScanModels
from pipelines.stages.segment import SegmentTiles

from ...fakes import PatchSegmenter
from .core_tiles import LABELS, read_core


def test_out_of_memory_is_retried_with_smaller_windows(core: Path) -> None:
    def with_little_memory() -> PatchSegmenter:
        return PatchSegmenter(windows=3)

    tiles = read_core(core)
    segmented = SegmentTiles(with_little_memory, 1, LABELS)(tiles)
    assert segmented["error"].null_count == len(segmented) == 8
    enough = SegmentTiles(PatchSegmenter, 1, LABELS)(tiles)
    assert segmented["covered_px"] == enough["covered_px"]


def test_a_draining_scan_segments_nothing_more(core: Path, models: ScanModels) -> None:
    attempt_log = AttemptLog()
    attempt_log.drain()
    isolator = FaultIsolator("segment", attempt_log)
    stage = SegmentTiles(models.load_segmenter, 1, LABELS, isolator)
    assert stage(read_core(core)).num_rows == 0
