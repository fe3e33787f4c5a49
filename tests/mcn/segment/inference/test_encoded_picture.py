"""Views are encoded once, and a second click gives the mask of a first one."""

from __future__ import annotations

import numpy as np
import torch

from mcn.segment import load_segmenter
from mcn.segment.inference.encoded_picture import EncodedPicture
from mcn.segment.modeling.image_encoder import Features


def features(values: list[float]) -> Features:
    column = torch.tensor(values)[:, None, None, None]
    return Features(column, column, column, column)


def test_only_unknown_views_are_encoded() -> None:
    asked: list[list[int]] = []
    encoded = EncodedPicture(most=3)

    def look(*places: int) -> list[float]:
        def encode(numbers):
            asked.append(list(numbers))
            return features([float(places[number]) for number in numbers])

        views = [(place, 0, 1.0) for place in places]
        return encoded.features(views, encode).embedding.flatten().tolist()

    assert look(1, 2) == [1, 2]
    assert look(2, 3) == [2, 3]
    assert look(3, 2) == [3, 2]
    assert asked == [[0, 1], [1]]
    look(4)  # 1 was used longest ago
    look(1)
    assert asked[2:] == [[0], [0]]


def test_a_second_click_encodes_nothing_and_agrees(monkeypatch) -> None:
    y, x = np.mgrid[:300, :400]
    image = np.full((300, 400), 60, np.uint8)
    image[((x - 200) / 60) ** 2 + ((y - 150) / 45) ** 2 < 1] = 190
    segmenter = load_segmenter("compact")
    encoded = EncodedPicture()
    (first,) = segmenter.predict(image, [[200, 150]], encoded=encoded)
    forward = segmenter.model.image_encoder.forward
    calls = []
    monkeypatch.setattr(
        segmenter.model.image_encoder,
        "forward",
        lambda batch: calls.append(len(batch)) or forward(batch),
    )
    (second,) = segmenter.predict(image, [[206, 152]], encoded=encoded)
    assert calls == []
    (alone,) = segmenter.predict(image, [[206, 152]])
    assert calls
    for mask in (first, second, alone):
        whole = np.zeros(image.shape, bool)
        h, w = mask.pixels.shape
        whole[mask.y : mask.y + h, mask.x : mask.x + w] = mask.pixels
        assert (whole & (image > 100)).sum() / (whole | (image > 100)).sum() > 0.85
