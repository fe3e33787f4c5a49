"""The responses as the OpenAPI document describes them; crystals have the catalogue's columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, create_model

from mcn.catalog.schema import TILES, crystals_schema
from mcn.taxonomy import SHAPES


class MaskRle(BaseModel):
    """A mask as COCO's compressed run-length code."""

    size: list[int] = Field(description="Height and width of the picture.")
    counts: str


def _value(kind: pa.DataType) -> type:
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind):
        return int
    return float if pa.types.is_floating(kind) else str


def _row_of(name: str, doc: str, schema: pa.Schema, **others: Any) -> type[BaseModel]:
    columns: dict[str, Any] = {
        field.name: (_value(field.type) | None, None) for field in schema
    } | others
    return create_model(name, __doc__=doc, __config__=ConfigDict(extra="allow"), **columns)


CrystalRow = _row_of(
    "CrystalRow",
    "A crystal, with the columns of the catalogue's table `crystals`.",
    crystals_schema(SHAPES),
    mask_rle=(MaskRle | None, None),
    mask_polygons=(dict[str, Any] | None, Field(None, description="GeoJSON geometry, pixels.")),
)
TileRow = _row_of("TileRow", "A tile, with the columns of the table `tiles`.", TILES)


class Analysis(BaseModel):
    """A picture and its crystals."""

    image: str
    width: int
    height: int
    pixel_size_um: float | None
    pixel_size_source: str
    pages: int = Field(1, description="Pictures in the file; the first was analysed.")
    segmenter: str
    classifier: str
    crystal_area_fraction: float
    crystals: list[CrystalRow]  # type: ignore[valid-type]


class Failed(BaseModel):
    """A picture of a batch that could not be analysed."""

    image: str
    status: int
    detail: str


class Batch(BaseModel):
    """The pictures of a batch, in order."""

    images: list[Analysis | Failed]


class PromptedMask(BaseModel):
    """The crystal at one prompt."""

    mask_rle: MaskRle
    bbox_x: int
    bbox_y: int
    bbox_w: int
    bbox_h: int
    area_px: int
    predicted_iou: float
    stability: float


class Prompted(BaseModel):
    """The crystals at the prompts, in order."""

    image: str
    pages: int = Field(1, description="Pictures in the file; prompts are of the first.")
    segmenter: str
    masks: list[PromptedMask]


class Prompts(BaseModel):
    """Clicks and boxes of a person, in pixels of the picture."""

    model_config = ConfigDict(extra="forbid")

    points: list[tuple[float, float]] | list[list[tuple[float, float]]] | None = Field(
        None, description="A clicked point x, y for each crystal, or several."
    )
    labels: list[int] | list[list[int]] | None = Field(
        None, description="For each point: 1 on the crystal, 0 off it, -1 no point."
    )
    boxes: list[tuple[float, float, float, float]] | None = Field(
        None, description="Left, top, right, bottom for each crystal."
    )


class ShapeOfCrop(BaseModel):
    """The shape of a crop."""

    crop: str
    shape: str
    facet: str
    confidence: float
    probabilities: dict[str, float]


class Shapes(BaseModel):
    """The shapes of crops, in order."""

    classifier: str
    crops: list[ShapeOfCrop]


class Explanation(BaseModel):
    """The evidence for a shape in a crop: rows of 64 values from 0 to 1."""

    shape: str
    classifier: str
    heat: list[list[float]]


class Well(BaseModel):
    """A well and its contents in the catalogue."""

    well: str
    tiles: int
    tiles_failed: int
    crystals: int
    depth_min_m: float
    depth_max_m: float


class Wells(BaseModel):
    """All wells, in order of their names."""

    wells: list[Well]


class CrystalPage(BaseModel):
    """Crystals in order of depth, and the cursor of the next page."""

    crystals: list[CrystalRow]  # type: ignore[valid-type]
    next: str | None


class TileRecord(BaseModel):
    """A tile's rows, one for each pair of models that has scanned it."""

    tile_id: str
    rows: list[TileRow]  # type: ignore[valid-type]


class Models(BaseModel):
    """The loaded models, and the limits of a request."""

    segmenter: str
    segmenter_prompts: bool
    classifier: str
    shapes: list[str]
    max_megabytes: float
    max_megapixels: float
    max_images: int


class Health(BaseModel):
    """Whether the endpoint works."""

    status: str
