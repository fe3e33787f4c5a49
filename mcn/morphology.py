"""The measures of a crystal, from its mask, in pixels and micrometres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcn.mask import Mask


@dataclass(frozen=True, slots=True)
class Measures:
    """Size and outline of one crystal; fields as in `mcn.crystal.Crystal`."""

    bbox_x: int
    bbox_y: int
    bbox_w: int
    bbox_h: int
    centroid_x: float
    centroid_y: float
    touches_edge: bool
    area_px: int
    equivalent_diameter_px: float
    area_um2: float | None
    equivalent_diameter_um: float | None
    major_axis_um: float | None
    minor_axis_um: float | None
    feret_max_um: float | None
    feret_min_um: float | None
    perimeter_um: float | None
    aspect_ratio: float
    circularity: float
    solidity: float
    orientation_deg: float
    corners: int


def measure(
    masks: Sequence[Mask], height: int, width: int, pixel_size_um: float | None
) -> list[Measures]:
    """Measure crystals.

    Parameters
    ----------
    masks : sequence of Mask
        Crystals of one image.
    height, width : int
        Size of the analysed image in pixels (without the data bar).
    pixel_size_um : float or None
        Width of a pixel in micrometres; None leaves micrometre measures None.
    """
    from skimage.measure import regionprops

    found = []
    for mask in masks:
        (props,) = regionprops(mask.pixels.astype(np.uint8))
        h, w = mask.pixels.shape
        um = pixel_size_um
        minor = max(props.axis_minor_length, 1.0)
        major = max(props.axis_major_length, minor)
        perimeter = max(props.perimeter, 1.0)
        diameter = props.equivalent_diameter_area
        found.append(
            Measures(
                bbox_x=mask.x,
                bbox_y=mask.y,
                bbox_w=w,
                bbox_h=h,
                centroid_x=mask.x + float(props.centroid[1]),
                centroid_y=mask.y + float(props.centroid[0]),
                touches_edge=mask.x <= 0
                or mask.y <= 0
                or mask.x + w >= width
                or mask.y + h >= height,
                area_px=int(props.area),
                equivalent_diameter_px=float(diameter),
                area_um2=None if um is None else float(props.area) * um**2,
                equivalent_diameter_um=None if um is None else float(diameter) * um,
                major_axis_um=None if um is None else float(major) * um,
                minor_axis_um=None if um is None else float(minor) * um,
                feret_max_um=None if um is None else float(props.feret_diameter_max) * um,
                feret_min_um=None if um is None else float(minor) * um,
                perimeter_um=None if um is None else float(perimeter) * um,
                aspect_ratio=float(major / minor),
                circularity=min(1.0, 4 * math.pi * float(props.area) / float(perimeter) ** 2),
                solidity=float(props.solidity),
                orientation_deg=math.degrees(props.orientation) + 90.0
                if props.orientation <= 0
                else math.degrees(props.orientation) - 90.0,
                corners=0,
            )
        )
    return found
