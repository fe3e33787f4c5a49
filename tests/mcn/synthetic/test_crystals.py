import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mcn.synthetic.crystals import grow
from mcn.taxonomy import SHAPES


def seeded(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@settings(max_examples=80, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    diameter=st.floats(10.0, 120.0),
    seed=st.integers(0, 2**31),
)
def test_a_crystal_is_one_solid_piece_inside_its_box(shape, diameter, seed):
    relief = grow(shape, diameter, seeded(seed))
    silhouette = relief.silhouette
    assert relief.top.shape == relief.bottom.shape == silhouette.shape
    assert np.isfinite(relief.top[silhouette]).all()
    assert np.isfinite(relief.bottom[silhouette]).all()
    edge = np.concatenate([silhouette[0], silhouette[-1], silhouette[:, 0], silhouette[:, -1]])
    assert not edge.any(), "the box cuts the crystal"
    pieces, _ = ndimage.label(silhouette)
    assert np.bincount(pieces.ravel())[1:].max() >= 0.98 * silhouette.sum()


@pytest.mark.parametrize(
    ("shape", "tolerance"), list(zip(SHAPES, (0.1, 0.1, 0.15, 0.05), strict=True))
)
def test_diameter_is_that_of_a_disc_with_the_silhouettes_area(shape, tolerance):
    areas = [grow(shape, 60.0, seeded(seed)).silhouette.sum() for seed in range(30)]
    assert np.mean(np.sqrt(4 / np.pi * np.array(areas))) == pytest.approx(60.0, rel=tolerance)


def outline(shape: str, seed: int) -> tuple[float, float]:
    """Solidity and roundness (area over that of the enclosing disc) of a silhouette."""
    from skimage import measure

    region = measure.regionprops(grow(shape, 80.0, seeded(seed)).silhouette.astype(np.uint8))[0]
    return region.solidity, 4 * region.area / (np.pi * region.feret_diameter_max**2)


def test_shapes_differ_as_their_names_suggest():
    by_shape = {s: np.mean([outline(s, seed) for seed in range(40)], axis=0) for s in SHAPES}
    for convex in ("rhombic", "polyhedral", "spherical"):
        assert by_shape[convex][0] > 0.96
    assert by_shape["amorphous"][0] < 0.95
    roundness = {shape: values[1] for shape, values in by_shape.items()}
    assert roundness["spherical"] > roundness["polyhedral"] > roundness["rhombic"]


def facets(shape: str, seed: int) -> int:
    """Number of flat patches of the upper surface that cover 4 % of the silhouette or more."""
    relief = grow(shape, 120.0, seeded(seed))
    smooth = ndimage.gaussian_filter(np.where(relief.silhouette, relief.top, 0.0), 1.5)
    gy, gx = np.gradient(smooth)
    inner = ndimage.binary_erosion(relief.silhouette, iterations=6)
    slopes = np.round(np.stack([gx[inner], gy[inner]], axis=1) / 0.2).astype(int)
    counts = np.unique(slopes, axis=0, return_counts=True)[1]
    return int(np.count_nonzero(counts > 0.04 * inner.sum()))


def test_rhombohedra_show_few_faces_and_polyhedra_many():
    rhombic = np.mean([facets("rhombic", seed) for seed in range(25)])
    polyhedral = np.mean([facets("polyhedral", seed) for seed in range(25)])
    spherical = np.mean([facets("spherical", seed) for seed in range(25)])
    assert rhombic + 1 < polyhedral
    assert spherical < 1, "a spheroid has no facet"


def test_a_crystal_is_the_same_for_the_same_seed():
    for shape in SHAPES:
        first, second = grow(shape, 40.0, seeded(5)), grow(shape, 40.0, seeded(5))
        np.testing.assert_array_equal(first.top, second.top)
        np.testing.assert_array_equal(first.silhouette, second.silhouette)


def test_an_unknown_shape_is_refused():
    with pytest.raises(KeyError):
        grow("cubic", 40.0, seeded(0))
