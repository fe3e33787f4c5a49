"""What passes between the endpoint's deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mcn.analyzer import Segmented
from mcn.mask import Mask


@dataclass(frozen=True)
class StageTiming:
    """What one stage took for a request: seconds of its batch, and the size of that."""

    seconds: float
    batch: int


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """A segmented picture, the segmenter that did it, and what it took."""

    segmenter: str
    segmented: Segmented
    effort: StageTiming


@dataclass(frozen=True, eq=False)
class PromptResult:
    """The crystals that a person's prompts mean, in their order."""

    segmenter: str
    masks: Sequence[Mask]
    effort: StageTiming


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """A picture's crystals, the models that found and named them, and what it took."""

    segmenter: str
    classifier: str
    shapes: tuple[str, ...]
    crystals: pa.Table
    area_fraction: float
    efforts: Mapping[str, StageTiming]


@dataclass(frozen=True)
class ClassificationResult:
    """Shapes of crops: for each its probabilities by shape, its facet and the confidence."""

    classifier: str
    shapes: tuple[str, ...]
    facets: tuple[str, ...]
    probabilities: Sequence[Sequence[float]]
    confidence: Sequence[float]
    effort: StageTiming


@dataclass(frozen=True)
class ModelInfo:
    """What a deployment says of the model it has loaded."""

    name: str
    shapes: tuple[str, ...] = ()
    prompts: bool = False


@dataclass(frozen=True)
class Refusal:
    """A request that a deployment understood and cannot meet.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        One line that names what is wrong and what to do.
    trouble : str, optional
        What is the matter with the storage, if that is why.
    """

    status: int
    detail: str
    trouble: str | None = None
