import torch

from mcn.segment.inference.proposals import propose


def maps(*centres: tuple[int, int, float]) -> torch.Tensor:
    """Proposal maps of one image, 8 × 8 cells, with a logit at each (row, column)."""
    proposal = torch.zeros(1, 6, 8, 8)
    proposal[:, 0] = -9.0
    for row, column, logit in centres:
        proposal[0, 0, row, column] = logit
    return proposal


def test_centres_are_the_maxima_of_the_map_sorted_by_score() -> None:
    proposals = propose(maps((2, 1, 1.0), (5, 6, 3.0), (2, 2, 0.5)), [(32, 32)], 0.15, 10)
    assert proposals.points.tolist() == [[26.0, 22.0], [6.0, 10.0]]
    assert proposals.scores[0] > proposals.scores[1] > 0.7
    # Distances of one cell, 4 px, in each direction.
    assert proposals.boxes.tolist() == [[22.0, 18.0, 30.0, 26.0], [2.0, 6.0, 10.0, 14.0]]


def test_centres_in_the_padding_are_dropped_and_boxes_are_clipped() -> None:
    proposals = propose(maps((1, 1, 2.0), (7, 7, 2.0)), [(8, 9)], 0.15, 10)
    assert proposals.points.tolist() == [[6.0, 6.0]]
    assert proposals.boxes.tolist() == [[2.0, 2.0, 9.0, 8.0]]


def test_the_limit_keeps_the_best_of_each_image() -> None:
    both = torch.cat([maps((1, 1, 1.0), (5, 5, 2.0)), maps((3, 3, 1.0))])
    proposals = propose(both, [(32, 32), (32, 32)], 0.15, 1)
    assert proposals.points.tolist() == [[22.0, 22.0], [14.0, 14.0]]
    assert proposals.image_index.tolist() == [0, 1]
