import numpy as np
import pytest
import torch
from torch import Tensor

from mcn.segment.inference.candidates import Candidates
from mcn.segment.inference.window_fitting import (
    cut_sides,
    extents,
    fit_windows,
    grown_boxes,
    mask_prompts,
    surest_points,
)
from mcn.segment.modeling.compact_sam import PromptBatch

SIZE = 64
IMAGE = torch.tensor([0.0, 0.0, 400.0, 400.0])
OPEN = torch.tensor([-torch.inf, -torch.inf, torch.inf, torch.inf])


def on_window(boxes: Tensor, windows: Tensor) -> Tensor:
    """Logits (N, 64, 64) of rectangles (N, 4) on windows."""
    steps = (torch.arange(SIZE) + 0.5) / SIZE
    pixels = windows[:, :2, None] + (windows[:, 2:] - windows[:, :2])[:, :, None] * steps
    inside = (pixels > boxes[:, :2, None]) & (pixels < boxes[:, 2:, None])
    return torch.where(inside[:, 0, None] & inside[:, 1, :, None], 8.0, -8.0)


def candidates(boxes: Tensor, windows: Tensor) -> Candidates:
    n = len(boxes)
    return Candidates(
        logits=on_window(boxes, windows),
        windows=windows,
        predicted_iou=torch.full((n,), 0.8),
        stability=torch.ones(n),
        scores=torch.full((n,), 0.4),
        image_index=torch.arange(n),
    )


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        ([110, 120, 150, 160], [False, False, False, False]),
        ([50, 120, 150, 160], [True, False, False, False]),
        ([110, 20, 150, 300], [False, True, False, True]),
        ([0, 0, 400, 400], [True, True, True, True]),
    ],
)
def test_edges_that_cut_a_mask(box: list[float], sides: list[bool]) -> None:
    some = candidates(torch.tensor([box]).float(), torch.tensor([[100.0, 100, 200, 200]]))
    assert cut_sides(some, IMAGE).tolist() == [sides]


def test_the_border_of_the_image_cuts_nothing_unless_the_image_goes_on() -> None:
    some = candidates(torch.tensor([[-50.0, 20, 60, 60]]), torch.tensor([[-20.0, 0, 80, 100]]))
    assert cut_sides(some, IMAGE).tolist() == [[False] * 4]
    assert cut_sides(some, OPEN).tolist() == [[True, False, False, False]]


def test_extents_and_surest_points_lie_on_the_masks() -> None:
    boxes = torch.tensor([[110.0, 120, 150, 180], [120, 130, 130, 200]])
    windows = torch.tensor([[100.0, 100, 200, 200], [100, 120, 180, 200]])
    some = candidates(boxes, windows)
    assert (extents(some) - boxes).abs().max() <= 100 / SIZE
    points = surest_points(some)
    assert ((points > boxes[:, :2]) & (points < boxes[:, 2:])).all()
    empty = candidates(torch.zeros(1, 4), torch.tensor([[0.0, 0, 10, 10]]))
    assert extents(empty).isnan().all()


@pytest.mark.parametrize("length", [30.0, 120.0, 390.0])
@pytest.mark.parametrize("direction", ["across", "down"])
def test_rods_of_any_length_are_decoded_whole(length: float, direction: str) -> None:
    rod = torch.tensor([[200 - length / 2, 195.0, 200 + length / 2, 205]])
    if direction == "down":
        rod = rod[:, [1, 0, 3, 2]]
    windows: list[float] = []

    def decode(prompts: PromptBatch, scores: Tensor) -> Candidates:
        assert prompts.mask_logits is not None
        assert scores.tolist() == pytest.approx([0.25])
        assert (on_window(rod, prompts.windows) * prompts.mask_logits[:, 0] >= 0).all()
        windows.append(float(prompts.windows[0, 2] - prompts.windows[0, 0]))
        return candidates(rod, prompts.windows)

    first = candidates(rod, torch.tensor([[180.0, 180, 220, 220]]))
    fitted = fit_windows(first, decode, IMAGE, 1.5, 4)
    assert windows == sorted(windows)
    (extent,) = extents(fitted)
    cell = float(fitted.windows[0, 2] - fitted.windows[0, 0]) / SIZE
    assert (extent - rod[0]).abs().max() <= cell


def test_what_never_fits_is_dropped_and_the_others_stay() -> None:
    windows = torch.tensor([[100.0, 100, 200, 200]] * 2)
    first = candidates(torch.tensor([[120.0, 120, 160, 160], [0, 0, 400, 400]]), windows)

    def decode(prompts: PromptBatch, scores: Tensor) -> Candidates:
        """A mask that fills its window, whatever it is."""
        everything = torch.tensor([[-1e6, -1e6, 1e6, 1e6]]).expand(len(scores), 4)
        some = candidates(everything, prompts.windows)
        return Candidates(*(*[getattr(some, name) for name in FIELDS[:-1]], prompts.image_index))

    fitted = fit_windows(first, decode, OPEN, 1.5, 4)
    assert fitted.image_index.tolist() == [0]
    assert torch.equal(fitted.logits[0], first.logits[0])


FIELDS = list(Candidates.__dataclass_fields__)


def test_prompts_grow_only_where_they_are_cut() -> None:
    some = candidates(torch.tensor([[50.0, 120, 150, 140]]), torch.tensor([[100.0, 100, 200, 200]]))
    (box,) = grown_boxes(some, cut_sides(some, IMAGE)).numpy()
    assert box == pytest.approx(np.array([100 - 0.25 * 50, 120, 150, 140]), abs=3)


def test_a_mask_is_the_prompt_of_another_window() -> None:
    some = candidates(
        torch.tensor([[120.0, 130, 150, 160]]), torch.tensor([[100.0, 100, 200, 200]])
    )
    window = torch.tensor([[110.0, 120, 160, 170]])
    prompts = mask_prompts(some, window)
    assert torch.equal(prompts.windows, window)
    assert prompts.boxes is not None
    assert prompts.boxes.isnan().all()
    assert prompts.mask_logits is not None
    x, y = prompts.points[0, 0]
    assert 120 < x < 150
    assert 130 < y < 160
    again = candidates(torch.tensor([[120.0, 130, 150, 160]]), window)
    assert ((prompts.mask_logits[:, 0] > 0) == (again.logits > 0)).float().mean() > 0.98


def test_a_tip_and_stray_pixels_at_an_edge_are_no_cut() -> None:
    some = candidates(
        torch.tensor([[110.0, 120, 150, 160]]), torch.tensor([[100.0, 100, 200, 200]])
    )
    some.logits[0, 30:33, 0] = 5.0
    some.logits[0, 12:18, -1] = 5.0
    assert not cut_sides(some, IMAGE).any()
