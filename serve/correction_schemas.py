"""The requests and responses about corrections, and what they say of the models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.schemas import CrystalRow, MaskRle


class CorrectionRow(BaseModel):
    """A correction of one crystal."""

    correction_id: str
    change_id: str = Field(description="The same for all crystals that were changed together.")
    operation: str = Field(description="What was done: shape, delete, redraw, merge, split, …")
    action: str = Field(description="What this row does: shape, delete, redraw, add or undo.")
    undoes: str | None = Field(description="The change that an undo revokes.")
    crystal_id: str | None
    tile_id: str
    well: str
    depth_m: float
    corrected_by: str = Field(description="Name of the token.")
    corrected_at: str
    note: str | None
    shape: str | None
    facet: str | None
    was_shape: str | None
    was_confidence: float | None
    segmenter: str
    classifier: str
    mask_rle: MaskRle | None
    in_effect: bool | None = Field(None, description="False if it is undone.")


class CorrectionPage(BaseModel):
    """Corrections, the newest first, and the cursor of the next page."""

    corrections: list[CorrectionRow]
    next: int | None


class CrystalHistory(BaseModel):
    """A crystal as it is now, as its models found it, and its corrections, the oldest first."""

    crystal: CrystalRow  # type: ignore[valid-type]
    model: CrystalRow | None = Field(description="Null for a crystal that a person added.")  # type: ignore[valid-type]
    history: list[CorrectionRow]


class CrystalToCorrect(BaseModel):
    """A crystal of a change."""

    model_config = ConfigDict(extra="forbid")

    crystal_id: str = Field(max_length=100)
    seen: str | None = Field(None, description="Its `correction_id` that the client knows.")


class Proposal(BaseModel):
    """A change of crystals of one tile."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["shape", "delete", "redraw", "merge", "split", "add"]
    tile_id: str = Field(pattern="^[0-9a-f]{32}$")
    well: str | None = Field(None, max_length=2000)
    crystals: list[CrystalToCorrect] = Field(default_factory=list, max_length=500)
    shape: str | None = Field(None, max_length=64)
    masks: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=100,
        description="COCO run-length codes, or GeoJSON geometries in pixels of the tile.",
    )
    note: str | None = Field(None, max_length=500)
    segmenter: str | None = Field(None, max_length=200)
    classifier: str | None = Field(None, max_length=200)


class ChangeResult(BaseModel):
    """What a change did."""

    change_id: str
    corrections: list[CorrectionRow]
    crystals: list[CrystalRow] = Field(description="The changed crystals as they are now.")  # type: ignore[valid-type]
    removed: list[str] = Field(description="Crystals that do not count any more.")
    superseded: list[CorrectionRow] = Field(
        description="Corrections by others that the client had not seen; this change counts."
    )


ByShape = dict[str, float | None]


class ClassifierMetrics(BaseModel):
    """A classifier on the crystals that a person named."""

    classifier: str
    n: int = Field(description="Crystals.")
    n_tiles: int
    n_by_shape: dict[str, int]
    accuracy: float | None
    facet_accuracy: float | None
    precision: ByShape
    recall: ByShape
    f1: ByShape
    confidence_ece: float | None = Field(description="Calibration error of the confidence.")
    shapes: list[str]
    confusion: list[list[int]] = Field(description="Rows: what persons said.")
    intervals: dict[str, Any] = Field(description="Of the metrics by name, of 95 %.")

    model_config = ConfigDict(extra="allow")


class SegmenterMetrics(BaseModel):
    """A segmenter on the tiles that count as judged."""

    segmenter: str
    n_tiles: int
    n: int = Field(description="Crystals that it found.")
    kept: int
    deleted: int
    redrawn: int
    added: int
    precision: float | None
    recall: float | None
    f1: float | None
    mean_iou: float | None = Field(description="Of old and new outlines of redrawn crystals.")
    intervals: dict[str, Any] = Field(description="Of the metrics by name, of 95 %.")


class Evaluation(BaseModel):
    """How good the models of the catalogue are by its corrections."""

    corrections: int
    by_operation: dict[str, int]
    crystals: int
    tiles: int
    classifiers: list[ClassifierMetrics]
    segmenters: list[SegmenterMetrics]
    note: str = Field(description="What the metrics assume.")
