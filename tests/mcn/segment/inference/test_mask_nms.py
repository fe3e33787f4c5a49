import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.segment.inference.mask_nms import MaskNMS, mask_nms


def squares(boxes: list[tuple[int, int, int]]) -> torch.Tensor:
    """Logits of squares (x, y, side) in a frame of 32 × 32."""
    logits = torch.full((len(boxes), 32, 32), -1.0)
    for mask, (x, y, side) in zip(logits, boxes, strict=True):
        mask[y : y + side, x : x + side] = 1.0
    return logits


def greedy_nms(logits: torch.Tensor, scores: torch.Tensor, max_iou: float) -> list[int]:
    """Greedy suppression, one mask at a time."""
    inside, kept = (logits > 0).numpy(), list[int]()
    for i in scores.argsort(descending=True, stable=True).tolist():
        ious = [(inside[i] & inside[j]).sum() / (inside[i] | inside[j]).sum() for j in kept]
        if not np.any(np.array(ious) > max_iou):
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 12)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([0.3, 0.52, 0.71, 0.9]),
    st.randoms(use_true_random=False),
)
def test_equal_to_greedy_suppression(boxes, max_iou, random) -> None:  # type: ignore[no-untyped-def]
    logits = squares(boxes)
    scores = torch.tensor([random.random() for _ in boxes])
    assert mask_nms(logits, scores, max_iou).tolist() == greedy_nms(logits, scores, max_iou)


def test_memory_is_bounded_by_the_limit_not_by_the_masks() -> None:
    collector = MaskNMS(max_iou=0.7, limit=5)
    score = torch.ones(1)
    for i in range(200):
        collector.add(squares([(i % 8 * 4, i // 8 % 8 * 4, 3)]), score * i, score)
        assert sum(len(part) for _, part, _ in collector.parts) <= 10
    logits, iou, stability = collector.settle()
    assert iou.tolist() == [199.0, 198.0, 197.0, 196.0, 195.0]
    assert len(logits) == len(stability) == 5


def test_no_masks() -> None:
    collector = MaskNMS(max_iou=0.7, limit=5)
    no_scores = torch.zeros(0)
    collector.add(torch.zeros(0, 32, 32), no_scores, no_scores)
    assert [len(part) for part in collector.settle()] == [0, 0, 0]
