"""Messages between the endpoint's deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException

from mcn.micrograph import Micrograph

if TYPE_CHECKING:
    # The ingress passes messages on, and starts sooner without what measures crystals.
    from mcn.analyzer import Segmented

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
PNG: Final = "image/png"
LAS: Final = "text/plain"
GEOJSON: Final = "application/geo+json"
TIFF: Final = "image/tiff"

REPLICA_DIED: Final = (RayActorError, RayServeException)
"""The replica died during the call, or before it; Serve has no type of its own for the latter."""

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class StageTiming:
    """Duration of the batch that a stage ran for a request, in seconds, and the batch's size."""

    seconds: float
    batch: int


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """A segmented picture."""

    segmenter: str
    segmented: Segmented
    timing: StageTiming


@dataclass(frozen=True, eq=False)
class PromptResult:
    """The crystals at a person's prompts, in the order of the prompts.

    Parameters
    ----------
    segmenter : str
    crystals : pa.Table of schema `mcn.crystals.PROMPTED_CRYSTALS`
    timing : StageTiming
    """

    segmenter: str
    crystals: pa.Table
    timing: StageTiming


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """A picture's crystals, the models that segmented and classified it, and stage timings."""

    segmenter: str
    classifier: str
    shapes: tuple[str, ...]
    crystals: pa.Table
    area_fraction: float
    timings: Mapping[str, StageTiming]


@dataclass(frozen=True)
class PictureFacts:
    """What a response says about an analysed picture, without its pixels.

    Parameters
    ----------
    name : str
        As the sender named it.
    width, height : int
    pixel_size_um, pixel_size_source, pages, note
        As in `Micrograph`.
    """

    name: str
    width: int
    height: int
    pixel_size_um: float | None
    pixel_size_source: str
    pages: int
    note: str | None

    @classmethod
    def of(cls, name: str, micrograph: Micrograph) -> Self:
        """The facts about a decoded picture."""
        height, width = micrograph.pixels.shape
        return cls(
            name,
            width,
            height,
            micrograph.pixel_size_um,
            micrograph.pixel_size_source,
            micrograph.pages,
            micrograph.note,
        )


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Parameters
    ----------
    id : str
    picture : PictureFacts
    status : JobStatus
    progress : float
        0 to 1.
    problem : Refusal or None
        Why it failed.
    """

    id: str
    picture: PictureFacts
    status: JobStatus
    progress: float
    problem: Refusal | None


@dataclass(frozen=True)
class ClassificationResult:
    """Shapes and facets that the classifier knows; for each crop, probabilities by shape."""

    classifier: str
    shapes: tuple[str, ...]
    facets: tuple[str, ...]
    probabilities: Sequence[Sequence[float]]
    confidence: Sequence[float]
    timing: StageTiming


@dataclass(frozen=True, eq=False)
class ExplanationResult:
    """Evidence for one shape of a crop.

    Parameters
    ----------
    classifier, shape : str
    heat : (64, 64) float32 array
        0 to 1.
    timing : StageTiming
    """

    classifier: str
    shape: str
    heat: NDArray[np.float32]
    timing: StageTiming


@dataclass(frozen=True, eq=False)
class SimilarResult:
    """The crops most similar to one of a list, the most similar first.

    Parameters
    ----------
    classifier : str
    indices : list of int
    similarity : list of float
        0 to 1; see `mcn.classify.explanation.similar.most_similar`.
    timing : StageTiming
    """

    classifier: str
    indices: list[int]
    similarity: list[float]
    timing: StageTiming


@dataclass(frozen=True)
class ModelInfo:
    """The model that a deployment has loaded, its shapes, and whether it takes prompts."""

    name: str
    shapes: tuple[str, ...] = ()
    prompts: bool = False


@dataclass(frozen=True)
class Refusal:
    """A request that a deployment cannot fulfil.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        One line that names the problem and says what to do.
    trouble : str, optional
        Kind of storage problem, if that is the cause; see `mcn.errors.StorageError`.
    """

    status: int
    detail: str
    trouble: str | None = None


@dataclass(frozen=True)
class Content:
    """A response body.

    Parameters
    ----------
    body : bytes
    media_type : str
    last : tuple of float and str, optional
        Depth and crystal id of the last row, if there may be another page.
    version : str
        Changes when the content does.
    """

    body: bytes
    media_type: str
    last: tuple[float, str] | None = None
    version: str = ""


Range = tuple[float | None, float | None]
"""Lowest and highest value, both included; None is open."""


@dataclass(frozen=True)
class CrystalRequest:
    """Which crystals a request asks for, and in which form.

    Parameters
    ----------
    shapes : tuple of str
        All shapes if empty.
    ranges : mapping of str to Range
        Lowest and highest value of columns.
    segmenter, classifier : str, optional
        By default the latest of each tile.
    corrected : bool
        Use corrected values.
    is_corrected : bool, optional
        Only crystals that somebody has corrected, or only those that nobody has.
    columns : tuple of str
        Columns of the response; all if empty.
    masks : {"rle", "polygons", "none"}
    sort : str
        A column, with `-` before it for the largest values first; empty for the order of depth.
    media_type : str
        `JSON`, `GEOJSON`, `CSV` or `ARROW`.
    """

    shapes: tuple[str, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    segmenter: str | None = None
    classifier: str | None = None
    corrected: bool = False
    is_corrected: bool | None = None
    columns: tuple[str, ...] = ()
    masks: str = "rle"
    sort: str = ""
    media_type: str = JSON


@dataclass(frozen=True)
class LogRequest:
    """Which depth log a request asks for; see `mcn.catalog.depth_log.table.depth_log`.

    Parameters
    ----------
    step_m : float, optional
    depth : tuple of float or None, optional
        Metres.
    formation : str, optional
        Only the depths of this formation.
    zones : bool
        Its zones instead of its intervals.
    zone_count : int, optional
        Number of zones.
    seed : int
    segmenter, classifier : str, optional
    corrected : bool
    """

    step_m: float | None = None
    depth: Range | None = None
    formation: str | None = None
    zones: bool = False
    zone_count: int | None = None
    seed: int = 0
    segmenter: str | None = None
    classifier: str | None = None
    corrected: bool = False


@dataclass(frozen=True, eq=False)
class ChangeRequest:
    """A correction as a client asks for it; see `mcn.catalog.correcting.changes.Change`.

    Parameters
    ----------
    masks : tuple of mapping
        COCO run-length codes, or GeoJSON geometries in pixels of the tile.
    seen : mapping of str to str or None
        The last correction of each crystal that the client knows.
    """

    operation: str
    tile_id: str
    well: str | None
    crystal_ids: tuple[str, ...] = ()
    shape: str | None = None
    masks: tuple[Mapping[str, Any], ...] = ()
    note: str | None = None
    seen: Mapping[str, str | None] = field(default_factory=dict)
    segmenter: str | None = None
    classifier: str | None = None
