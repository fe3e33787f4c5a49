import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.segment.inference.calibration import Calibration, fit_calibration


def test_estimates_are_the_ious_that_masks_of_a_score_have() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 0.9, 20_000)
    ious = rng.uniform(0, 1, 20_000) < scores**2  # overconfident
    calibration = fit_calibration(scores, ious)
    for score in (0.3, 0.5, 0.8):
        assert calibration(score) == pytest.approx(score**2, abs=0.05)
    assert len(calibration.scores) <= 24
    assert np.mean(calibration(scores)) == pytest.approx(ious.mean(), abs=0.01)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40))
def test_order_is_never_reversed(masks: list[tuple[float, float]]) -> None:
    calibration = fit_calibration([s for s, _ in masks], [iou for _, iou in masks])
    estimates = calibration(np.linspace(-0.1, 1.1, 50))
    assert (np.diff(estimates) >= 0).all()
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_without_a_calibration_scores_stay() -> None:
    assert Calibration()([0.0, 0.25, 1.0]).tolist() == [0, 0.25, 1]


@pytest.mark.parametrize(
    "text",
    [
        '{"scores": [0, 1]}',
        '{"scores": [1, 0], "ious": [0, 1]}',
        '{"scores": [0, 1], "ious": [0, 2]}',
        '{"scores": [0, 1], "ious": [0, 0.5, 1]}',
        '{"scores": [0], "ious": [0]}',
        '{"scores": [NaN, 1], "ious": [0, 1]}',
        "[]",
        "3",
        "no JSON",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Calibration.from_json(text)
