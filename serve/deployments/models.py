"""The two models as Serve deployments: batches over requests, models that can be replaced.

Both work by the functions that a scan's workers call (`mcn.analyzer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from mcn.analyzer import classify_segmented, segment_micrographs
from mcn.micrograph import Micrograph
from serve.deployments.messages import (
    AnalysisResult,
    ClassificationResult,
    ModelInfo,
    PromptResult,
    Refusal,
    SegmentationResult,
    StageTiming,
)
from serve.deployments.worker import Worker, given
from serve.settings import ReplicaSettings

_HANGS_S = 900.0
"""A model that does not come back for so long is stuck."""


class SegmenterDeployment:
    """Finds crystals.

    Parameters
    ----------
    pool : ReplicaSettings
        Its batches and threads.
    """

    def __init__(self, pool: ReplicaSettings) -> None:
        self._worker = Worker(_warm_segmenter, pool.threads, _HANGS_S)
        _set_batches(self._together, pool)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load the model that Serve's `user_config` names; the old one works until then."""
        await self._worker.use(config["model"])

    async def segment(self, micrograph: Micrograph) -> SegmentationResult:
        """The crystals of a micrograph, measured."""
        return given(await self._together(micrograph))  # type: ignore[no-any-return]

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0)
    async def _together(
        self, micrographs: list[Micrograph]
    ) -> list[SegmentationResult | Exception]:
        model = self._worker.model
        done = await self._worker.do_all(lambda some: segment_micrographs(model, some), micrographs)
        return [
            out if isinstance(out, Exception) else SegmentationResult(model.name, out, effort)
            for out, effort in done
        ]

    async def predict(
        self, micrograph: Micrograph, points: Any, labels: Any, boxes: Any
    ) -> PromptResult | Refusal:
        """The crystals that prompts mean; see `mcn.analyzer.PromptedSegmenter`."""
        from mcn.segment.inference.prompts import PromptError

        model = self._worker.model
        if not hasattr(model, "predict"):
            return Refusal(422, f"{model.name} answers no prompts; ask for an analysis")
        try:
            ((masks, effort),) = await self._worker.do_all(
                lambda some: [model.predict(m.analysed, points, labels, boxes) for m in some],
                [micrograph],
            )
            return PromptResult(model.name, given(masks), effort)
        except PromptError as error:
            return Refusal(422, str(error))

    def about(self) -> ModelInfo:
        """The model's name, and whether it answers prompts."""
        return ModelInfo(self._worker.model.name, prompts=hasattr(self._worker.model, "predict"))

    def check_health(self) -> None:
        """Fail where the model is stuck, so that Serve replaces this replica."""
        self._worker.check()


class ClassifierDeployment:
    """Names crystals.

    Parameters
    ----------
    pool : ReplicaSettings
        Its batches and threads.
    """

    def __init__(self, pool: ReplicaSettings) -> None:
        self._worker = Worker(_warm_classifier, pool.threads, _HANGS_S)
        _set_batches(self._together, pool)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load the model that Serve's `user_config` names; the old one works until then."""
        await self._worker.use(config["model"])

    async def name(self, found: SegmentationResult) -> AnalysisResult:
        """The crystals of a segmented picture with their shapes."""
        return given(await self._together(found))  # type: ignore[no-any-return]

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0)
    async def _together(self, found: list[SegmentationResult]) -> list[AnalysisResult | Exception]:
        model = self._worker.model
        done = await self._worker.do_all(
            lambda some: classify_segmented(model, [one.segmented for one in some]), found
        )
        crops = sum(one.segmented.crystals.num_rows for one in found)
        return [
            out
            if isinstance(out, Exception)
            else AnalysisResult(
                one.segmenter,
                model.name,
                model.taxonomy.shapes,
                out,
                one.segmented.area_fraction,
                {"segment": one.effort, "classify": StageTiming(effort.seconds, crops)},
            )
            for one, (out, effort) in zip(found, done, strict=True)
        ]

    async def classify(self, crops: NDArray[np.uint8]) -> ClassificationResult:
        """The shapes of crops (N, 64, 64)."""
        model = self._worker.model
        ((out, effort),) = await self._worker.do_all(
            lambda some: [model.classify(one) for one in some], [crops]
        )
        named = given(out)
        taxonomy = model.taxonomy
        return ClassificationResult(
            model.name,
            taxonomy.shapes,
            tuple(taxonomy.facet_of[shape] for shape in taxonomy.shapes),
            named.probabilities.tolist(),
            named.confidence.tolist(),
            StageTiming(effort.seconds, len(crops)),
        )

    async def explain(
        self, crop: NDArray[np.uint8], shape: str | None
    ) -> tuple[NDArray[np.float32], str, str, StageTiming] | Refusal:
        """Where in a crop (64, 64) the evidence for a shape lies: map, shape, model, effort."""
        from mcn.classify.explanation.grad_cam import explain

        model = self._worker.model
        shapes = model.taxonomy.shapes
        if shape is not None and shape not in shapes:
            return Refusal(422, f"shape: no {shape!r}; there are {', '.join(shapes)}")

        def look(some: Any) -> list[tuple[NDArray[np.float32], str]]:
            named = model.classify(crop[None]).probabilities[0]
            chosen = int(named.argmax()) if shape is None else shapes.index(shape)
            return [(explain(model, crop[None], [chosen])[0], shapes[chosen])]

        ((out, effort),) = await self._worker.do_all(look, [crop])
        heat, told = given(out)
        return heat, told, model.name, effort

    def about(self) -> ModelInfo:
        """The model's name and shapes."""
        return ModelInfo(self._worker.model.name, self._worker.model.taxonomy.shapes)

    def check_health(self) -> None:
        """Fail where the model is stuck, so that Serve replaces this replica."""
        self._worker.check()


def _set_batches(together: Any, pool: ReplicaSettings) -> None:
    together.set_max_batch_size(pool.batch)
    together.set_batch_wait_timeout_s(pool.wait_ms / 1000)


def _warm_segmenter(name: str) -> Any:
    """Loaded and called once, since the first call of a model is slow."""
    from mcn.segment import load_segmenter

    model = load_segmenter(name)
    model.segment([np.random.default_rng(0).integers(90, 110, (256, 256), dtype=np.uint8)])
    return model


def _warm_classifier(name: str) -> Any:
    from mcn.classify import load_classifier

    model = load_classifier(name)
    model.classify(np.zeros((1, 64, 64), np.uint8))
    return model
