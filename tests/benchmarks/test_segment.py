import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mcn.segment.inference.candidates import GeneratorSettings

from ..waiting import DEADLINE_S

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


def test_box_suppression_agrees_with_torchvision() -> None:
    from stock_sam import suppress_boxes

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 5, 10, 15], [30, 30, 40, 40]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.6])
    assert suppress_boxes(boxes, scores, 0.7).tolist() == [1, 2, 3]
    assert suppress_boxes(boxes, scores, 0.2).tolist() == [1, 3]
    assert suppress_boxes(boxes[:0], scores[:0], 0.7).tolist() == []


@pytest.mark.long
@pytest.mark.parametrize("measure", ["compact_ours", "compact_512"])
def test_one_side_prints_one_json_object(measure: str) -> None:
    result = subprocess.run(
        [sys.executable, BENCHMARKS / "segment.py", "--measure", measure],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    metrics = json.loads(result.stdout)
    assert metrics["peak_mib"] > metrics["peak_above_model_mib"] > 0


def test_agreement_is_the_share_of_matched_stock_masks() -> None:
    from segment import SIDE, compare

    from mcn.mask import Mask, encode_rle

    def side(masks: list[Mask], seconds: float) -> dict[str, object]:
        return {
            **dict.fromkeys((*SIDE, "weights", "prompts", "thresholds"), seconds),
            "masks": encode_rle(masks, 50, 50),
        }

    square, other = np.ones((10, 10), bool), np.ones((5, 8), bool)
    stock = side([Mask(0, 0, square), Mask(20, 20, square)], 6.0)
    mcn_masks = side([Mask(0, 0, square), Mask(20, 25, other)], 2.0)
    report = compare(stock, mcn_masks)
    assert report["mask_agreement"] == 0.5
    assert report["speedup"] == 3.0


def test_each_part_is_timed_in_each_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import compact_parts
    import segment

    tile = replace(compact_parts.TILE, height=160, width=192)
    monkeypatch.setattr(compact_parts, "TILE", tile)
    assert set(compact_parts.processor()) == {"name", "capability", "number_format"}
    report = compact_parts.parts(segment.compact(), GeneratorSettings(), runs=1)
    rows = report["rows"]
    assert len({(row["arrangement"], row["format"]) for row in rows}) == len(rows)
    plain, rearranged, fewer = rows[:3]
    assert [row["arrangement"] for row in rows[:3]] == list(compact_parts.ARRANGEMENTS)
    assert {row["format"] for row in rows[:3]} == {"float32"}
    assert plain["crystals"] == rearranged["crystals"] > 0
    assert plain["agreement"] == rearranged["agreement"] == 1.0
    assert fewer["agreement"] > 0.9
    for row in rows:
        assert all(row[part] > 0 for part in compact_parts.PARTS)
        assert row["total"] > 0
    assert json.loads(json.dumps(report)) == report
