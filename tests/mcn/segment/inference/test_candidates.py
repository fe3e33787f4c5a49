from typing import Any

import numpy as np
import pytest
import torch

from mcn.segment.inference.candidates import Candidates, concatenate, covered, group_by_shape


def candidates() -> Candidates:
    """A mask on the left half of its window in image 0, and a less confident one in image 1."""
    logits = torch.full((2, 8, 8), -1.0)
    logits[0, :, :4] = 1.0
    logits[1] = 1.0
    return Candidates(
        logits=logits.half(),
        windows=torch.tensor([[10.0, 20.0, 26.0, 36.0], [0.0, 0.0, 50.0, 50.0]]),
        predicted_iou=torch.tensor([0.9, 0.5]),
        stability=torch.ones(2),
        scores=torch.ones(2),
        image_index=torch.tensor([0, 1]),
    )


def test_points_on_a_mask_of_their_image_are_covered() -> None:
    points = torch.tensor([[12.0, 22], [17.9, 35.9], [18.1, 25], [9.9, 25], [12, 36.1], [12, 22]])
    image = torch.tensor([0, 0, 0, 0, 0, 1])
    assert covered(candidates(), points, image, 0.6).tolist() == [True, True, *[False] * 4]
    assert covered(candidates(), points, image, 0.4).tolist()[-1]
    assert not covered(candidates(), points, image, 0.95).any()


def test_without_masks_or_points_nothing_is_covered() -> None:
    two_candidates, point = candidates(), torch.ones(1, 2)
    no_candidates = Candidates(
        *(getattr(two_candidates, name)[:0] for name in Candidates.__dataclass_fields__)
    )
    assert covered(no_candidates, point, torch.zeros(1).long(), 0.0).tolist() == [False]
    assert covered(two_candidates, point[:0], torch.zeros(0).long(), 0.0).tolist() == []
    assert len(concatenate([no_candidates, two_candidates, no_candidates]).scores) == 2


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint16), np.zeros((8, 8)), [[1, 2]]],
    ids=["colour", "16 bit", "float", "list"],
)
def test_only_grey_pixels_of_8_bits_are_segmented(image: Any) -> None:
    with pytest.raises(TypeError, match=r"an image must be an \(H, W\) array of uint8, not"):
        group_by_shape([np.zeros((8, 8), np.uint8), image])
