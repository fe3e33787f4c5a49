import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.synthetic.crystals import Relief, grow
from mcn.synthetic.heap import Heap
from mcn.taxonomy import SHAPES

DROPS = st.lists(
    st.tuples(
        st.sampled_from(SHAPES),
        st.floats(10.0, 30.0),
        st.integers(-20, 80),
        st.integers(-20, 100),
        st.floats(-0.5, 1.0),
    ),
    min_size=1,
    max_size=12,
)


def flat_floor(height: int = 60, width: int = 80) -> np.ndarray:
    return np.zeros((height, width), dtype=np.float32)


def block(side: int, thickness: float) -> Relief:
    """A square plate."""
    plate = np.full((side, side), thickness / 2, dtype=np.float32)
    return Relief(plate, -plate, np.ones((side, side), dtype=bool))


@settings(max_examples=40, deadline=None)
@given(drops=DROPS, seed=st.integers(0, 1000))
def test_every_pixel_of_a_crystal_is_in_its_silhouette_and_highest(drops, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    heap = Heap(flat_floor())
    for shape, diameter, y, x, rest in drops:
        relief = grow(shape, diameter, rng)
        heights, owner, count = heap.heights.copy(), heap.owner.copy(), len(heap)
        covered = heap.drop(shape, relief, y, x, rest)
        h, w = relief.silhouette.shape
        padded = np.zeros((60 + 400, 80 + 400), dtype=bool)
        top, left = y - h // 2 + 200, x - w // 2 + 200
        padded[top : top + h, left : left + w] = relief.silhouette
        silhouette = padded[200:260, 200:280]
        changed = heap.owner != owner
        assert not changed[~silhouette].any()
        assert (heap.heights[changed] > heights[changed]).all()
        np.testing.assert_array_equal(heap.heights[~changed], heights[~changed])
        assert covered == np.count_nonzero(changed & (owner == 0))
        assert len(heap) == count + silhouette.any()
    labels, shapes, visible = heap.instances(1, 0.0)
    assert set(np.unique(labels)) - {0} == set(range(1, len(shapes) + 1))
    assert ((visible > 0) & (visible <= 1)).all()
    assert not labels[heap.owner == 0].any()


def test_a_crystal_on_top_hides_the_one_below():
    heap = Heap(flat_floor())
    heap.drop("rhombic", block(20, 6.0), 30, 30, 1.0)
    heap.drop("spherical", block(10, 6.0), 30, 35, 1.0)
    labels, shapes, visible = heap.instances(1, 0.0)
    assert shapes == ("rhombic", "spherical")
    np.testing.assert_allclose(visible, [300 / 400, 1.0])
    assert np.count_nonzero(labels == 2) == 100
    assert heap.heights.max() == 12.0


def test_a_divided_crystal_is_its_largest_piece():
    heap = Heap(flat_floor())
    heap.drop("rhombic", block(30, 4.0), 30, 40, 1.0)
    beam = np.full((40, 4), 2.0, dtype=np.float32)
    heap.drop("polyhedral", Relief(beam, -beam, np.ones((40, 4), dtype=bool)), 30, 35, 1.0)
    labels, shapes, visible = heap.instances(1, 0.0)
    left, right = 33 - 25, 55 - 37
    assert shapes == ("rhombic", "polyhedral")
    assert np.count_nonzero(labels == 1) == 30 * max(left, right)
    assert visible[0] == np.float32(30 * max(left, right) / 900)


def test_a_hardly_visible_crystal_is_not_an_instance():
    heap = Heap(flat_floor())
    heap.drop("rhombic", block(20, 4.0), 30, 30, 1.0)
    heap.drop("spherical", block(19, 4.0), 30, 30, 1.0)
    assert heap.instances(1, 0.05)[1] == ("rhombic", "spherical")
    assert heap.instances(1, 0.15)[1] == ("spherical",)
    assert heap.instances(1000, 0.0)[1] == ()


def test_the_edge_of_the_picture_hides_like_a_neighbour():
    heap = Heap(flat_floor())
    heap.drop("rhombic", block(20, 4.0), 30, 5, 1.0)
    _, shapes, visible = heap.instances(1, 0.9)
    assert shapes == ("rhombic",), "its part within the picture is visible"
    assert visible[0] == np.float32(0.75)


def test_a_crystal_outside_the_picture_leaves_no_trace():
    heap = Heap(flat_floor())
    assert heap.drop("rhombic", block(10, 4.0), -40, 30, 1.0) == 0
    assert len(heap) == 0
    assert not heap.instances(1, 0.0)[0].any()
