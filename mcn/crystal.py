"""One crystal as found, named and measured in a micrograph."""

from __future__ import annotations

from dataclasses import dataclass

from mcn.mask import RLE


@dataclass(frozen=True, slots=True)
class Crystal:
    """One crystal; the fields carry the names of the catalogue's columns.

    Lengths in `_px` are pixels, in `_um` micrometres (None where the pixel size is
    unknown), `orientation_deg` is the angle of the major axis from the image's x axis,
    counter-clockwise as seen, in (-90, 90]. Probabilities sum to 1.
    """

    shape: str
    facet: str
    confidence: float
    p_rhombic: float
    p_polyhedral: float
    p_amorphous: float
    p_spherical: float
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
    mask_rle: RLE
    predicted_iou: float
    stability: float
