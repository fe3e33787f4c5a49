"""Measures match scikit-image and geometry, and do not depend on a crystal's place."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import regionprops

from mcn.crystals import SEGMENTED_CRYSTALS
from mcn.mask import Mask, masks_from_labels
from mcn.morphology import measure

Bitmap = NDArray[np.bool_]

bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=16)).filter(np.any)


def tight(full: Bitmap) -> Mask:
    (mask,) = masks_from_labels(full.astype(np.int32))
    return mask


def one_row(columns: dict[str, NDArray[Any]]) -> SimpleNamespace:
    """The only crystal of a table."""
    return SimpleNamespace(**{name: values.item() for name, values in columns.items()})


def measure_one(full: Bitmap, pixel_size_um: float | None = 1.0) -> SimpleNamespace:
    return one_row(measure([tight(full)], *full.shape, pixel_size_um))


def blob(seed: int, diameter: float = 40.0) -> Bitmap:
    """A crystal-like shape with a rough outline, in one piece, surrounded by background."""
    rng = np.random.default_rng(seed)
    size = int(1.6 * diameter) + 8
    noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), diameter / 12)
    y, x = np.mgrid[:size, :size] - size / 2
    x = x * rng.uniform(0.6, 1)
    pieces, _ = ndimage.label(np.hypot(y, x) + noise / noise.std() * diameter / 20 < diameter / 2)
    return np.asarray(pieces == np.bincount(pieces[pieces > 0]).argmax())


def regular(n: int, diameter: float, turn: float, squash: float = 1.0) -> Bitmap:
    """A regular polygon of n corners with the area of a disc, squashed, then rotated."""
    angle = 2 * np.pi * np.arange(n) / n
    radius = diameter / 2 * math.sqrt(2 * np.pi / (n * math.sin(2 * np.pi / n) * squash))
    x, y = radius * np.cos(angle), squash * radius * np.sin(angle)
    rows = x * math.sin(turn) + y * math.cos(turn)
    columns = x * math.cos(turn) - y * math.sin(turn)
    size = int(2 * radius) + 8
    corners = np.column_stack([rows, columns]) + size / 2
    return np.asarray(polygon2mask((size, size), corners), dtype=bool)


def test_columns_match_the_catalogue() -> None:
    names = SEGMENTED_CRYSTALS.names[: SEGMENTED_CRYSTALS.names.index("mask_rle")]
    square = [Mask(0, 0, np.ones((3, 3), dtype=bool))]
    assert sorted(measure(square, 9, 9, 0.1)) == sorted(names)
    pixels = [name for name in names if not name.endswith(("_um", "_um2"))]
    assert sorted(measure(square, 9, 9, None)) == sorted(pixels)


@pytest.mark.parametrize("seed", range(20))
def test_definitions_match_scikit_image(seed: int) -> None:
    full = blob(seed, diameter=12 + 4 * seed)
    crystal, (expected,) = measure_one(full), regionprops(full.astype(np.uint8))
    y0, x0, y1, x1 = expected.bbox
    assert (crystal.bbox_x, crystal.bbox_y) == (x0, y0)
    assert (crystal.bbox_w, crystal.bbox_h) == (x1 - x0, y1 - y0)
    assert crystal.area_px == expected.area
    assert crystal.area_um2 == expected.area
    assert (crystal.centroid_y, crystal.centroid_x) == pytest.approx(expected.centroid)
    assert crystal.equivalent_diameter_px == pytest.approx(expected.equivalent_diameter_area)
    assert crystal.equivalent_diameter_um == pytest.approx(expected.equivalent_diameter_area)
    assert crystal.major_axis_um == pytest.approx(expected.axis_major_length)
    assert crystal.minor_axis_um == pytest.approx(expected.axis_minor_length)
    assert crystal.perimeter_um == pytest.approx(expected.perimeter)
    assert crystal.solidity == pytest.approx(expected.solidity)
    # scikit-image uses the corners of the hull's pixels, which may be outside the hull.
    assert crystal.feret_max_um == pytest.approx(expected.feret_diameter_max, abs=1.0)
    # Its angle is from the row axis: down, not along.
    turned = math.degrees(expected.orientation) + 90
    assert (crystal.orientation_deg - turned + 90) % 180 == pytest.approx(90, abs=1e-6)
    assert crystal.aspect_ratio == pytest.approx(
        expected.axis_major_length / expected.axis_minor_length
    )
    circularity = 4 * math.pi * expected.area / expected.perimeter**2
    assert crystal.circularity == pytest.approx(min(circularity, 1))


@given(bitmaps)
@settings(deadline=None)
def test_any_bitmap_has_finite_measures_within_bounds(full: Bitmap) -> None:
    crystal = measure_one(full)
    for name, value in vars(crystal).items():
        # All of the outline may lie on the border of the picture.
        assert math.isfinite(value) or name == "contact_fraction", name
    assert crystal.area_px == full.sum()
    assert crystal.feret_max_um is not None
    assert crystal.feret_min_um is not None
    assert 0 < crystal.feret_min_um <= crystal.feret_max_um
    assert crystal.feret_max_um <= math.hypot(crystal.bbox_w, crystal.bbox_h)
    assert crystal.feret_max_um >= max(crystal.bbox_w, crystal.bbox_h)
    assert crystal.aspect_ratio >= 1
    assert 0 < crystal.circularity <= 1
    assert 0 < crystal.solidity <= 1
    assert -90 < crystal.orientation_deg <= 90
    assert crystal.corners >= 2


@given(bitmaps)
@settings(deadline=None)
def test_solidity_and_perimeter_of_any_bitmap_match_scikit_image(full: Bitmap) -> None:
    crystal = measure_one(full)
    (expected,) = regionprops(full.astype(np.uint8))
    assert crystal.solidity == pytest.approx(expected.solidity)
    assert crystal.perimeter_um == pytest.approx(expected.perimeter)


@given(bitmaps, st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_measures_do_not_depend_on_place(full: Bitmap, down: int, right: int) -> None:
    original = measure_one(np.pad(full, 1))
    shifted = measure_one(np.pad(full, ((down + 1, 1), (right + 1, 1))))
    assert shifted.centroid_x - original.centroid_x == pytest.approx(right)
    assert shifted.centroid_y - original.centroid_y == pytest.approx(down)
    moved = {"bbox_x": right, "bbox_y": down}
    for name, value in vars(original).items():
        if not name.startswith("centroid"):
            assert getattr(shifted, name) == value + moved.get(name, 0), name


@given(st.integers(0, 999), st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_a_quarter_turn_changes_only_the_angle(seed: int, turns: int) -> None:
    full = blob(seed, diameter=30)
    original, turned = measure_one(full), measure_one(np.rot90(full, turns))
    for name in (
        "area_px",
        "major_axis_um",
        "minor_axis_um",
        "feret_max_um",
        "feret_min_um",
        "perimeter_um",
        "aspect_ratio",
        "circularity",
        "solidity",
    ):
        assert getattr(turned, name) == pytest.approx(getattr(original, name)), name
    # numpy rotates counter-clockwise as seen, like our angles.
    difference = turned.orientation_deg - original.orientation_deg - 90 * turns
    assert (difference + 90) % 180 == pytest.approx(90, abs=1e-6)
    assert abs(turned.corners - original.corners) <= 1


@given(st.integers(0, 999), st.floats(1e-4, 50))
@settings(deadline=None, max_examples=30)
def test_micrometres_scale_with_the_pixel_size(seed: int, size: float) -> None:
    full = blob(seed, diameter=25)
    in_pixels, in_um = measure_one(full, 1.0), measure_one(full, size)
    for name, value in vars(in_pixels).items():
        power = 2 if name.endswith("um2") else 1 if name.endswith("um") else 0
        assert getattr(in_um, name) == pytest.approx(value * size**power), name


def test_without_pixel_size_only_micrometres_are_missing() -> None:
    unscaled = vars(measure_one(blob(1), None))
    scaled = vars(measure_one(blob(1), 1.0))
    assert set(scaled) - set(unscaled) == {n for n in scaled if n.endswith(("_um", "_um2"))}
    for name, value in unscaled.items():
        assert value == scaled[name]


@pytest.mark.parametrize(("turn", "expected"), [(0, 0), (30, 30), (90, 90), (-60, -60), (135, -45)])
def test_angles_are_counter_clockwise_from_the_x_axis(turn: float, expected: float) -> None:
    # Rows run downwards, so a rotation as seen is the opposite one in the array.
    full = regular(60, 60, math.radians(-turn), squash=0.4)
    assert (measure_one(full).orientation_deg - expected + 90) % 180 == pytest.approx(90, abs=1)


def test_an_upright_needle_points_to_plus_90() -> None:
    assert measure_one(np.ones((9, 2), dtype=bool)).orientation_deg == 90


@pytest.mark.parametrize(("rows", "columns"), [(20, 20), (12, 50), (50, 12), (3, 80)])
def test_rectangles(rows: int, columns: int) -> None:
    crystal = measure_one(np.pad(np.ones((rows, columns), dtype=bool), 3))
    assert crystal.feret_min_um == pytest.approx(min(rows, columns))
    diagonal = math.hypot(rows, columns)
    assert diagonal - 1 < (crystal.feret_max_um or 0) <= diagonal
    assert crystal.solidity == 1
    assert crystal.corners == 4


@pytest.mark.parametrize("turn", range(0, 90, 10))
def test_rotated_rectangles_are_as_narrow_as_upright_ones(turn: int) -> None:
    y, x = np.mgrid[:120, :120] - 60.2
    angle = math.radians(turn)
    along, across = (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )
    crystal = measure_one((np.abs(along) < 40) & (np.abs(across) < 15))
    assert crystal.feret_min_um == pytest.approx(30, abs=1.2)
    assert crystal.feret_max_um == pytest.approx(math.hypot(80, 30), abs=1.5)


@pytest.mark.parametrize("diameter", [10, 20, 41, 80])
def test_discs(diameter: int) -> None:
    y, x = np.mgrid[:90, :90] - 45.0
    crystal = measure_one(np.hypot(y, x) < diameter / 2)
    assert crystal.equivalent_diameter_um == pytest.approx(diameter, abs=0.7)
    assert crystal.feret_max_um == pytest.approx(diameter, abs=1.2)
    assert crystal.feret_min_um == pytest.approx(diameter, abs=1.2)
    assert crystal.circularity > 0.9
    assert crystal.aspect_ratio == pytest.approx(1)
    assert crystal.corners in (7, 8)


@pytest.mark.parametrize("diameter", [40, 60, 120])
@pytest.mark.parametrize(
    ("n", "squash", "corners"),
    [
        (3, 1, 3),
        (4, 1, 4),
        (4, 0.6, 4),
        (5, 1, 5),
        (6, 1, 6),
        (6, 0.75, 6),
        (60, 1, 8),
        (60, 0.6, 8),
    ],
)
def test_corners_of_polygons_at_any_angle(
    n: int, squash: float, corners: int, diameter: float
) -> None:
    counts = [
        measure_one(regular(n, diameter, turn, squash)).corners
        for turn in np.linspace(0, math.pi, 15)
    ]
    assert np.median(counts) == corners
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_the_smallest_masks_have_finite_measures(shape: tuple[int, int]) -> None:
    crystal = one_row(measure([Mask(2, 2, np.ones(shape, dtype=bool))], 20, 20, 1.0))
    assert all(math.isfinite(value) for value in vars(crystal).values())
    assert crystal.aspect_ratio >= 1
    assert crystal.solidity == 1


def test_holes_and_small_pieces_do_not_change_the_outline() -> None:
    full = np.zeros((60, 80), dtype=bool)
    full[5:45, 5:45] = True
    full[15:30, 15:30] = False
    full[50, 70] = True
    crystal = measure_one(full)
    assert crystal.corners == 4
    assert crystal.area_px == 1600 - 225 + 1


@pytest.mark.parametrize(
    ("x", "y", "touches"),
    [(0, 4, True), (4, 0, True), (4, 4, False), (40, 4, True), (39, 4, False), (4, 20, True)],
)
def test_edges_are_those_of_the_analysed_image(x: int, y: int, touches: bool) -> None:
    mask = Mask(x, y, np.ones((10, 10), dtype=bool))
    columns = measure([mask], height=30, width=50, pixel_size_um=None)
    assert columns["touches_edge"].tolist() == [touches]


def test_many_masks_are_measured_in_order_and_independently() -> None:
    rng = np.random.default_rng(0)
    pixels = [tight(blob(seed, float(rng.uniform(6, 150)))).pixels for seed in range(150)]
    # Side by side, as a crystal's contact depends on the others.
    masks = [Mask(250 * number, 9, mask) for number, mask in enumerate(pixels)]
    height, width = 300, 250 * len(masks)
    batch_columns = measure(masks, height, width, 0.1)
    single_columns = [measure([mask], height, width, 0.1) for mask in masks]
    for name, values in batch_columns.items():
        assert np.array_equal(
            values, np.concatenate([columns[name] for columns in single_columns])
        ), name


def test_no_masks_give_no_rows() -> None:
    assert measure([], 10, 10, None) == {}


def test_empty_masks_and_impossible_pixel_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="mask 0 has no pixels"):
        measure([Mask(0, 0, np.zeros((0, 0), dtype=bool))], 9, 9, None)
    with pytest.raises(ValueError, match="mask 1 has no pixels"):
        measure([tight(blob(0)), Mask(0, 0, np.zeros((3, 3), dtype=bool))], 99, 99, None)
    for size in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="pixel size"):
            measure([tight(blob(0))], 99, 99, size)
