"""Pictures of a tile's crystals: labels, outlines on nothing, and single crystals."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from mcn.crystals import crystal_masks, shapes_of
from mcn.mask import Mask
from mcn.morphology import paint_crystals
from serve.deployments.messages import TIFF

_MOST_PNG_LABELS: Final = 2**16 - 1


def label_picture(crystals: pa.Table, height: int, width: int, media_type: str) -> bytes:
    """Labels of crystals: pixel value k is the k-th crystal, 0 none.

    Parameters
    ----------
    crystals : pa.Table
    height, width : int
        Size of the tile in pixels.
    media_type : str
        `PNG` of 16 bits, or `TIFF` of 16 bits, or 32 if there are more crystals.
    """
    import imagecodecs
    import tifffile

    labels = paint_crystals(crystal_masks(crystals), height, width)
    if crystals.num_rows <= _MOST_PNG_LABELS:
        labels = labels.astype(np.uint16)
    if media_type == TIFF:
        file = io.BytesIO()
        tifffile.imwrite(file, labels, compression="zlib")
        return file.getvalue()
    return bytes(imagecodecs.png_encode(labels.astype(np.uint16), level=3))


def overlay_picture(crystals: pa.Table, height: int, width: int, drawn_width: int) -> bytes:
    """Outlines of crystals in the colours of their shapes on a transparent picture, PNG.

    Parameters
    ----------
    crystals : pa.Table
    height, width : int
        Size of the tile in pixels.
    drawn_width : int
        Width of the picture in pixels.
    """
    from matplotlib.colors import to_rgb
    from skimage.segmentation import find_boundaries

    from mcn.plots import shape_colours

    labels = paint_crystals(crystal_masks(crystals), height, width)
    if drawn_width != width:
        size = drawn_width, max(1, round(height * drawn_width / width))
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    shapes = shapes_of(crystals.schema)
    number_of = {shape: number for number, shape in enumerate(shapes, start=1)}
    colour_of_label = np.array(
        [0, *(number_of.get(shape, 0) for shape in crystals["shape"].to_pylist())], np.uint8
    )
    outlines = np.where(find_boundaries(labels, mode="inner"), colour_of_label[labels], 0)
    picture = Image.fromarray(outlines.astype(np.uint8), "P")
    colours = [to_rgb(colour) for colour in shape_colours(shapes)]
    palette = (np.array([(0, 0, 0), *colours]) * 255).round().astype(int)
    picture.putpalette(palette.ravel().tolist())
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0, compress_level=3)
    return file.getvalue()


def surroundings(pixels: NDArray[np.uint8], row: dict[str, Any], side: int, margin: float) -> bytes:
    """A crystal in its surroundings as a square PNG.

    Parameters
    ----------
    pixels : (H, W) uint8 array
        Its tile.
    row : dict
        Columns of the crystal.
    side : int
        Width and height of the result in pixels.
    margin : float
        Surroundings on each side, as a share of the crystal's longer side.
    """
    height, width = pixels.shape
    longer = max(row["bbox_w"], row["bbox_h"])
    reach = min(longer * (1 + 2 * margin), height, width)
    x = min(max(row["bbox_x"] + row["bbox_w"] / 2 - reach / 2, 0), width - reach)
    y = min(max(row["bbox_y"] + row["bbox_h"] / 2 - reach / 2, 0), height - reach)
    left, top, right, bottom = int(x), int(y), int(np.ceil(x + reach)), int(np.ceil(y + reach))
    part = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    return png(part.resize((side, side), Image.Resampling.BILINEAR))


def crops_of(pixels: NDArray[np.uint8], masks: Sequence[Mask]) -> NDArray[np.uint8]:
    """Crops (N, 64, 64) of masks, as the classifier takes them."""
    from mcn.crops import cut_crops

    return cut_crops(pixels, masks)


def png(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def masks_of(outlines: Sequence[Any], height: int, width: int) -> list[Mask]:
    """Masks from COCO run-length codes or GeoJSON geometries in the pixels of a tile.

    Raises
    ------
    ValueError
        If one is neither, is of another size, or is not valid.
    """
    return [_mask_of(outline, height, width) for outline in outlines]


def _mask_of(outline: Any, height: int, width: int) -> Mask:
    from mcn.mask import RLE, decode_rle
    from mcn.morphology.painting import mask_of_polygons

    if "counts" in outline:
        size, counts = outline["size"], outline["counts"]
        if size != [height, width]:
            raise ValueError(f"size is {json.dumps(size)[:60]}; the tile has [{height}, {width}]")
        if not isinstance(counts, str) or not counts:
            raise ValueError("counts are not a compressed run-length code")
        return decode_rle(RLE(size=[height, width], counts=counts))
    kind, rings = outline.get("type"), outline.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{json.dumps(outline)[:60]} is no run-length code and no polygon")
    return mask_of_polygons([rings] if kind == "Polygon" else rings, height, width)
