import numpy as np
import pytest

from mcn.mask import Mask
from mcn.segment.evaluation.outlines import SHAPE_MEASURES, boundary_ious, shape_errors

ROWS, COLUMNS = np.indices((80, 80)) - 39.5
DISC = Mask(0, 0, ROWS**2 + COLUMNS**2 <= 40**2)
SQUARE = Mask(0, 0, np.ones((80, 80), bool))


def test_a_mask_agrees_with_itself_and_less_with_a_shifted_one() -> None:
    shifted = [Mask(step, 0, DISC.pixels) for step in (0, 1, 2, 4, 8)]
    ious = boundary_ious([DISC] * 5, shifted)
    assert ious[0] == 1
    assert (np.diff(ious) < 0).all()


def test_the_boundary_notices_what_the_area_does_not() -> None:
    ragged = DISC.pixels.copy()
    edge = (np.abs(np.hypot(ROWS, COLUMNS) - 39) < 1) & (
        np.random.default_rng(0).random((80, 80)) < 0.5
    )
    ragged[edge] = False
    area_iou = (ragged & DISC.pixels).sum() / DISC.pixels.sum()
    (iou,) = boundary_ious([DISC], [Mask(0, 0, ragged)])
    assert area_iou > 0.94
    assert iou < 0.75


def test_errors_of_mean_shapes() -> None:
    assert shape_errors([([], [])]) == dict.fromkeys(SHAPE_MEASURES)
    same = shape_errors([([DISC, SQUARE], [DISC, SQUARE]), ([], [])])
    assert list(same.values()) == pytest.approx([0, 0, 0])
    errors = shape_errors([([DISC], [SQUARE])])
    assert errors["circularity"] is not None
    assert errors["circularity"] < -0.1
