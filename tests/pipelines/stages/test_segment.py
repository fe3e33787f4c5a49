"""Segmentation retries with less memory, and stops when the scan drains."""

from pathlib import Path
from typing import Any

from pipelines.fault_isolation.attempts import Ledger
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.models import ScanModels
from pipelines.stages.segment import SegmentTiles

from .core_tiles import LABELS, read_core


class NeedsSmallWindows:
    """Runs out of memory until its windows are small."""

    name = LABELS.segmenter

    def __init__(self, windows: int = 3) -> None:
        self.windows = windows

    def in_smaller_windows(self) -> "NeedsSmallWindows":
        return NeedsSmallWindows(self.windows - 1)

    def segment(self, images: Any) -> Any:
        if self.windows > 1:
            raise MemoryError
        return [[] for _ in images]


def test_out_of_memory_is_tried_again_in_smaller_windows(core: Path) -> None:
    segmented = SegmentTiles(NeedsSmallWindows, 1, LABELS)(read_core(core))
    assert segmented["error"].null_count == len(segmented) == 8
    assert segmented["covered_px"].to_pylist() == [0] * 8


def test_a_draining_scan_segments_nothing_more(core: Path, models: ScanModels) -> None:
    ledger = Ledger()
    ledger.drain()
    isolator = FaultIsolator("segment", ledger)
    stage = SegmentTiles(models.load_segmenter, 1, LABELS, isolator)
    assert stage(read_core(core)).num_rows == 0
