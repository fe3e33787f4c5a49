import numpy as np
import torch

from mcn.segment.inference.candidates import (
    GeneratorSettings,
    filter_by_stability,
    group_by_shape,
    split_batches,
    stability_score,
)


def test_stability_is_the_iou_of_masks_at_two_thresholds() -> None:
    logits = torch.tensor([[[3.0, 3.0], [0.5, -3.0]], [[-3.0, -3.0], [-3.0, -3.0]]])
    torch.testing.assert_close(stability_score(logits, 1.0), torch.tensor([2 / 3, 0.0]))


def test_unstable_and_unlikely_masks_are_dropped() -> None:
    sharp, soft = torch.full((2, 2), 5.0), torch.tensor([[5.0, 0.5], [0.5, 0.5]])
    logits = torch.stack([sharp, soft, sharp])
    settings = GeneratorSettings(min_predicted_iou=0.5, min_stability=0.5)
    kept, iou, stability, index = filter_by_stability(
        logits, torch.tensor([1.2, 0.9, 0.4]), settings
    )
    assert index.tolist() == [0]
    assert torch.equal(kept[0], sharp)
    assert (iou.tolist(), stability.tolist()) == ([1.0], [1.0])


def test_images_are_grouped_by_shape_and_split_by_pixels() -> None:
    shapes = [(4, 5), (0, 5), (4, 5), (3, 3), (4, 5)]
    assert group_by_shape([np.zeros(shape, np.uint8) for shape in shapes]) == {
        (4, 5): [0, 2, 4],
        (3, 3): [3],
    }
    settings = GeneratorSettings(pixels_per_batch=40)
    assert list(split_batches([0, 2, 4], 20, settings)) == [[0, 2], [4]]
    assert list(split_batches([0, 2], 100, settings)) == [[0], [2]]
