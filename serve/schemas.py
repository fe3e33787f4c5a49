"""The responses as the OpenAPI document describes them; crystals have the catalogue's columns."""

from __future__ import annotations

from typing import Any, Literal

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
    correction=(str | None, Field(None, description="With corrected: shape, redraw or add.")),
    correction_id=(str | None, None),
    corrected_by=(str | None, None),
    corrected_at=(str | None, None),
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
    note: str | None = Field(None, description="What was not read: further pages, a wrong size.")
    segmenter: str
    classifier: str
    crystal_area_fraction: float
    crystals: list[CrystalRow]  # type: ignore[valid-type]


class Job(BaseModel):
    """A picture that is analysed in the background."""

    id: str
    image: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(description="0 to 1.")
    width: int
    height: int
    problem: str | None = Field(None, description="Why it failed, and what to do.")
    url: str = Field(description="Where to ask for its state; DELETE cancels it.")
    result: str | None = Field(None, description="Where its crystals are, once it is done.")


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


class SimilarCrystal(CrystalRow):  # type: ignore[misc, valid-type]
    """A crystal, and how similar it is."""

    similarity: float = Field(description="1 for the same, 0.37 for two arbitrary ones.")


class SimilarCrystals(BaseModel):
    """Crystals of the same tile, the most similar first."""

    classifier: str
    crystals: list[SimilarCrystal]


class Well(BaseModel):
    """A well and its contents in the catalogue."""

    well: str
    tiles: int
    tiles_failed: int
    crystals: int
    depth_min_m: float
    depth_max_m: float
    scanned_at: str | None = None
    corrections: int | None = Field(None, description="Of one well.")
    tops: list[dict[str, Any]] | None = Field(None, description="Of one well.")

    model_config = ConfigDict(extra="allow")


class Wells(BaseModel):
    """All wells, in order of their names."""

    wells: list[Well]


class CrystalPage(BaseModel):
    """Crystals in order of depth, and the cursor of the next page."""

    crystals: list[CrystalRow]  # type: ignore[valid-type]
    next: str | None


class TilePage(BaseModel):
    """Tiles in order of depth, and the cursor of the next page."""

    tiles: list[TileRow]  # type: ignore[valid-type]
    next: str | None


class TileCrystals(BaseModel):
    """A tile and all its crystals."""

    tile: TileRow  # type: ignore[valid-type]
    segmenter: str
    classifier: str
    crystals: list[CrystalRow]  # type: ignore[valid-type]


class LogInterval(BaseModel):
    """An interval of a depth log, with fractions, sizes and more as further members."""

    model_config = ConfigDict(extra="allow")

    depth_top: float
    depth_base: float
    n_tiles: int
    n_crystals: int


class NamedTexture(BaseModel):
    """The texture of an interval by one scheme, with the measures of its rules as more members."""

    model_config = ConfigDict(extra="allow")

    depth_top: float
    depth_base: float
    scheme: str
    texture: str
    probability: float | None = Field(description="Share of resampled tiles that have it.")
    second: str | None
    second_probability: float | None
    n_tiles: int
    n_crystals: int
    few_tiles: bool = Field(description="Fewer than 8, so that it seems surer than it is.")


class WellTextures(BaseModel):
    """The textures of a well's intervals, from the top down."""

    textures: list[NamedTexture]


class LogZone(BaseModel):
    """A zone of a depth log, with the means of its intervals as further members."""

    model_config = ConfigDict(extra="allow")

    zone: int
    depth_top: float
    depth_base: float
    n_intervals: int
    n_tiles: int
    n_crystals: int
    support: float | None = Field(description="Of its top, 0 to 1; below 0.5 it is doubtful.")


class PictureInfo(BaseModel):
    """The document `info.json` of the IIIF Image API 3."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    protocol: str
    profile: str
    width: int
    height: int
    tiles: list[dict[str, Any]]


class Session(BaseModel):
    """The token of a request."""

    name: str
    scopes: list[str]
    expires: str | None


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
