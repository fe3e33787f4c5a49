import numpy as np
import pytest

from mcn.mask import Mask
from mcn.segment.evaluation.faults import count_by_size, find_faults
from mcn.segment.evaluation.metrics import joint_areas

SIZE = (100, 100)


def box(x: int, y: int, w: int, h: int) -> Mask:
    return Mask(x, y, np.ones((h, w), bool))


def disc(x: int, y: int, diameter: int) -> Mask:
    rows, columns = np.indices((diameter, diameter)) - (diameter - 1) / 2
    return Mask(x, y, rows**2 + columns**2 <= (diameter / 2) ** 2)


@pytest.mark.parametrize(
    ("truth", "predicted", "true_kinds", "predicted_kinds"),
    [
        ([box(10, 10, 20, 20)], [box(11, 10, 20, 20)], ["hit"], ["hit"]),
        ([box(10, 10, 20, 20)], [], ["missed"], []),
        ([], [box(10, 10, 20, 20)], [], ["ground"]),
        ([disc(10, 10, 40)], [disc(12, 22, 15), disc(32, 22, 15)], ["missed"], ["part", "part"]),
        (
            [disc(10, 10, 40)],
            [disc(9, 20, 22), disc(31, 18, 21), disc(22, 8, 12)],
            ["split"],
            ["part"] * 3,
        ),
        ([disc(10, 10, 20), disc(30, 10, 20)], [box(8, 8, 46, 26)], ["merged"] * 2, ["part"]),
        ([disc(10, 10, 10)], [box(5, 5, 50, 50)], ["missed"], ["ground"]),
        ([disc(10, 10, 60)], [Mask(10, 10, disc(10, 10, 60).pixels[:, :35])], ["hit"], ["cut"]),
    ],
)
def test_the_kind_of_each_crystal(
    truth: list[Mask],
    predicted: list[Mask],
    true_kinds: list[str],
    predicted_kinds: list[str],
) -> None:
    faults = find_faults(truth, predicted, joint_areas(truth, predicted, SIZE))
    assert faults.true.tolist() == true_kinds
    assert faults.predicted.tolist() == predicted_kinds


def test_a_straight_crystal_that_is_matched_is_not_cut() -> None:
    truth, predicted = [box(20, 20, 40, 20)], [box(20, 20, 39, 20)]
    assert find_faults(truth, predicted, joint_areas(truth, predicted, SIZE)).predicted == ["hit"]


def test_kinds_are_counted_by_size() -> None:
    kinds, diameters = np.array(["hit", "missed", "hit"]), np.array([10.0, 20.0, 500.0])
    counts = count_by_size(kinds, diameters, ("hit", "missed"))
    assert list(counts) == ["0-16 px", "16-48 px", "48-144 px", "144 px and more"]
    assert counts["0-16 px"] == {"hit": 1, "missed": 0}
    assert counts["16-48 px"] == {"hit": 0, "missed": 1}
    assert counts["144 px and more"] == {"hit": 1, "missed": 0}
