"""What a segmenter has encoded of a picture, kept between a person's clicks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from mcn.segment.modeling.image_encoder import Features

if TYPE_CHECKING:
    from torch import Tensor

Place = tuple[int, int, float]
"""Left column and top row of a view, and its scale."""

MOST_VIEWS = 16
"""Views kept of a picture, about 10 MB each."""


@dataclass(eq=False)
class EncodedPicture:
    """Encoded parts of one picture; those that were not used for longest are forgotten first.

    Parameters
    ----------
    most : int
        Number of views to keep.
    grey : (float, float) or None
        Mean and deviation of its grey values.
    embedding : Tensor or None
        Of the whole picture, for segmenters that encode it in one piece.
    """

    most: int = MOST_VIEWS
    grey: tuple[float, float] | None = None
    embedding: Tensor | None = None
    _views: OrderedDict[Place, Features] = field(default_factory=OrderedDict)

    def features(
        self, places: Sequence[Place], encode: Callable[[Sequence[int]], Features]
    ) -> Features:
        """Features of views, of which only unknown ones are encoded.

        Parameters
        ----------
        places : sequence of B Place
        encode : callable
            Gives the features of the views with these numbers.
        """
        missing = [number for number, place in enumerate(places) if place not in self._views]
        if missing:
            encoded = encode(missing)
            for row, number in enumerate(missing):
                self._views[places[number]] = _row(encoded, row)
        for place in places:
            self._views.move_to_end(place)
        features = _join([self._views[place] for place in places])
        while len(self._views) > self.most:
            self._views.popitem(last=False)
        return features


def _row(features: Features, row: int) -> Features:
    # Copies, since a slice would keep the whole batch in memory.
    return Features(
        *(
            getattr(features, name)[row : row + 1].clone()
            for name in ("embedding", "fine", "finest", "proposal")
        )
    )


def _join(rows: Sequence[Features]) -> Features:
    return Features(
        *(
            torch.cat([getattr(row, name) for row in rows])
            for name in ("embedding", "fine", "finest", "proposal")
        )
    )
