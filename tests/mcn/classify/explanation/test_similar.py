"""Similar crystals are close together where the classifier puts them."""

import numpy as np
import pytest

from mcn.classify import load_classifier
from mcn.classify.explanation.similar import most_similar
from mcn.crops import cut_crops
from mcn.mask import masks_from_labels
from mcn.synthetic.renderer import TileSettings, render_tile
from mcn.taxonomy import SHAPES


def test_the_nearest_come_first_and_the_crystal_itself_does_not() -> None:
    places = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32)
    indices, similarity = most_similar(places, 0, 2)
    assert indices.tolist() == [3, 2]
    assert similarity[0] == 1
    pairs = [np.square(a - b).sum() for a in places for b in places]
    assert similarity[1] == pytest.approx(np.exp(-1 / np.mean(pairs)))
    for few in (places[:1], places[[0, 0]]):
        indices, similarity = most_similar(few, 0, 5)
        assert len(indices) == len(few) - 1
        assert (similarity == 1).all()


def test_crystals_of_the_same_shape_are_more_similar() -> None:
    tile = render_tile(3, TileSettings(height=900, width=900))
    masks = masks_from_labels(tile.labels.astype(np.int32))
    classifier = load_classifier("nsr")
    crops = cut_crops(tile.image, masks)
    embeddings = classifier.embed(crops)
    shapes = classifier.classify(crops).probabilities.argmax(axis=1)
    assert len(set(shapes.tolist())) >= 3
    assert len(SHAPES) == 4
    same = [
        (shapes[most_similar(embeddings, i, 5)[0]] == shape).mean()
        for i, shape in enumerate(shapes)
    ]
    chance = np.mean([(shapes == shape).mean() for shape in shapes])
    assert np.mean(same) > 1.5 * chance
