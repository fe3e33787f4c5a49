import numpy as np
import pytest

from mcn.segment.inference.prompts import PromptError, check_prompts

SHAPE = (100, 200)


def test_each_click_is_one_prompt():
    clicks = check_prompts(SHAPE, [(10, 20), (150, 99)], None, None)
    assert clicks.points.shape == (2, 1, 2)
    assert clicks.labels.tolist() == [[1], [1]]
    assert np.isnan(clicks.boxes).all()


def test_boxes_need_no_points_and_are_clipped_at_the_border():
    clicks = check_prompts(SHAPE, None, None, [(-5, 10, 50, 300)])
    assert clicks.points.shape == (1, 0, 2)
    assert clicks.boxes.tolist() == [[0, 10, 50, 100]]


def test_a_prompt_may_have_a_box_and_clicks_on_and_off():
    boxes = [(0, 0, 50, 50), (np.nan,) * 4]
    points = [[(5, 5), (60, 60)], [(70, 80), (0, 0)]]
    clicks = check_prompts(SHAPE, points, [[1, 0], [1, -1]], boxes)
    assert clicks.labels.tolist() == [[1, 0], [1, -1]]
    assert np.isnan(clicks.boxes[1]).all()


@pytest.mark.parametrize(
    ("points", "labels", "boxes", "named"),
    [
        (None, None, None, "no prompt"),
        ([(250, 10)], None, None, "0 to 200 by 0 to 100"),
        ([(float("nan"), 10)], None, None, "finite"),
        ([(10, 10, 10)], None, None, "shape"),
        ([("a", "b")], None, None, "numbers"),
        ([(1, 2), (1,)], None, None, "numbers"),
        ([(10, 10)], [2], None, "labels"),
        ([(10, 10)], [1, 1], None, "labels"),
        ([(10, 10)], [0], None, "label 1"),
        (None, None, [(10, 10, 5, 20)], "left < right"),
        (None, None, [(10, 10, 20)], "boxes"),
        (None, None, [(300, 10, 320, 20)], "overlap the image"),
        (None, None, [(np.nan,) * 4], "box or a point"),
        (5.0, None, None, "array"),
    ],
)
def test_invalid_prompts_are_named(points, labels, boxes, named):
    with pytest.raises(PromptError, match=named):
        check_prompts(SHAPE, points, labels, boxes)
