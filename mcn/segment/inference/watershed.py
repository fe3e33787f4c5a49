"""The classical baseline: Otsu's threshold and a watershed of the distance transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from mcn.mask import Mask, masks_from_labels


@dataclass(frozen=True)
class WatershedSegmenter:
    """Otsu's threshold and a watershed, as image programs offer; needs no training.

    Parameters
    ----------
    blur : float
        Standard deviation of the Gaussian that suppresses noise, pixels.
    separation : int
        Minimum distance of two crystals' centres, pixels.
    min_area_px : int
        Smallest crystal kept, pixels.

    References
    ----------
    N. Otsu, IEEE Trans. SMC 9(1), 1979; S. Beucher, C. Lantuéjoul, 1979.
    """

    blur: float = 1.5
    separation: int = 7
    min_area_px: int = 25

    @property
    def name(self) -> str:
        """`watershed@` and the version of scikit-image."""
        return f"watershed@{version('scikit-image')}"

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Disjoint masks of each (H, W) image."""
        return [self._segment_image(image) for image in images]

    def _segment_image(self, image: NDArray[np.uint8]) -> list[Mask]:
        if image.size == 0 or image.min() == image.max():
            return []
        smooth = gaussian(image, self.blur)
        crystal = smooth > threshold_otsu(smooth)
        frame = np.concatenate([crystal[0], crystal[-1], crystal[:, 0], crystal[:, -1]])
        if frame.mean() > 0.5:  # dark crystals on a bright background
            crystal = ~crystal
        depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(crystal), 1)
        peaks = peak_local_max(depth, min_distance=self.separation, labels=crystal.astype(int))
        markers = np.zeros(image.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        labels = watershed(-depth, markers, mask=crystal)
        return [m for m in masks_from_labels(labels) if m.pixels.sum() >= self.min_area_px]
