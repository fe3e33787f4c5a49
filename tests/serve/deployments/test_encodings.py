"""Pictures are known by their content, and forgotten."""

import numpy as np
import pytest

from serve.deployments import encodings
from serve.deployments.encodings import Encodings


def test_a_picture_is_known_again_by_its_content() -> None:
    kept = Encodings()
    pictures = [np.full((8, 8), grey, np.uint8) for grey in range(3)]
    first = kept.of("model", pictures[0])
    assert kept.of("model", pictures[0].copy()) is first
    assert kept.of("other", pictures[0]) is not first
    kept.of("model", pictures[0])
    kept.of("model", pictures[1])
    kept.of("model", pictures[2])
    assert kept.of("model", pictures[0]) is not first


def test_pictures_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Encodings()
    picture = np.zeros((8, 8), np.uint8)
    first = kept.of("model", picture)
    monkeypatch.setattr(encodings, "_FORGOTTEN_S", -1.0)
    assert kept.of("model", picture) is not first
