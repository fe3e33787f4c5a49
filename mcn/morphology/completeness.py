"""The visible share of crystals that others hide or the picture's edge cuts."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_WHOLE: Final = 0.03
_PER_SOLIDITY: Final = 1.24
_PER_FILL: Final = 0.55
_PER_CUT: Final = -2.29


def completeness(
    area: NDArray[np.number],
    convex_area: NDArray[np.number],
    feret_max: NDArray[np.floating],
    cut: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Visible share of each crystal that its outline suggests, above 0, at most 1.

    A whole crystal is convex and about as wide as long. One that lies behind others has bays where
    they hide it, or is a sliver, and one at the picture's edge has a straight side there. The
    share is therefore estimated from solidity, from how far the crystal fills the circle around
    its longest diameter, and from the share of its outline on the picture's edge. The
    coefficients are a least-squares fit of its logarithm to rendered heaps of crystals, in which
    the hidden parts are known; the constant lies between the fits to true outlines and to
    segmented ones, which are smoother (`docs/measurements.md`).

    The estimate is right for the crystals of a tile together, not for each of them. A whole
    crystal that is much longer than wide is taken for a part of a larger one.

    Parameters
    ----------
    area, convex_area : (N,) arrays
        Number of pixels of each crystal and of its convex hull.
    feret_max : (N,) array
        Longest diameter, in pixels.
    cut : (N,) array
        Share of the outline on the picture's edge, 0 to 1.

    Examples
    --------
    >>> completeness(np.array([314, 314]), np.array([320, 460]), np.array([20.0, 27.0]),
    ...              np.array([0.0, 0.0])).round(2).tolist()
    [1.0, 0.46]
    """
    fill = np.minimum(area / (np.pi / 4 * feret_max**2), 1)
    logarithm = (
        _WHOLE
        + _PER_SOLIDITY * np.log(area / convex_area)
        + _PER_FILL * np.log(fill)
        + _PER_CUT * cut
    )
    return np.asarray(np.exp(np.minimum(logarithm, 0.0)), np.float64)
