"""The segmenter and the classifier as Serve deployments.

Requests are batched, and models can be replaced at run time. Both deployments call the same
functions as the workers of a scan (`mcn.analyzer`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray import serve

from mcn.micrograph import Micrograph
from serve.deployments.encodings import Encodings
from serve.deployments.messages import (
    AnalysisResult,
    ClassificationResult,
    ExplanationResult,
    ModelInfo,
    PromptResult,
    Refusal,
    SegmentationResult,
    SimilarResult,
    StageTiming,
)
from serve.deployments.worker import ModelWorker, result_of
from serve.settings import ReplicaSettings

_MAX_CALL_S = 900.0
"""A model that has not returned after this time counts as hung."""


class SegmenterDeployment:
    """Segments micrographs.

    Parameters
    ----------
    replica : ReplicaSettings
        Batches and threads.
    """

    def __init__(self, replica: ReplicaSettings) -> None:
        self._worker = ModelWorker(_load_segmenter, replica.threads, _MAX_CALL_S)
        self._encodings = Encodings()
        _set_batches(self._segment_batch, replica)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load the model of Serve's `user_config`; the previous one is used until it is loaded."""
        await self._worker.use(config["model"])

    async def segment(self, micrograph: Micrograph) -> SegmentationResult:
        """Segment a micrograph and measure its crystals."""
        return result_of(await self._segment_batch(micrograph))  # type: ignore[no-any-return]

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0)
    async def _segment_batch(
        self, micrographs: list[Micrograph]
    ) -> list[SegmentationResult | Exception]:
        from mcn.analyzer import segment_micrographs

        model = self._worker.model
        outcomes = await self._worker.run(
            lambda batch: segment_micrographs(model, batch), micrographs
        )
        return [
            outcome
            if isinstance(outcome, Exception)
            else SegmentationResult(model.name, outcome, timing)
            for outcome, timing in outcomes
        ]

    async def segment_in_steps(
        self, micrograph: Micrograph
    ) -> AsyncGenerator[float | SegmentationResult, None]:
        """Segment a large micrograph window by window, so that other requests do not wait for it.

        Yields
        ------
        float or SegmentationResult
            Share of the windows that are done, 0 to 1, and last the result.
        """
        from mcn.analyzer import segment_in_steps

        model, started = self._worker.model, perf_counter()
        async for step in self._worker.run_in_steps(segment_in_steps(model, micrograph)):
            if isinstance(step, float):
                yield step
            else:
                timing = StageTiming(perf_counter() - started, 1)
                yield SegmentationResult(model.name, step, timing)

    async def predict(
        self, micrograph: Micrograph, points: Any, labels: Any, boxes: Any
    ) -> PromptResult | Refusal:
        """Segment the crystals at prompts; see `mcn.analyzer.PromptedSegmenter`."""
        from mcn.crystals import prompted_crystals
        from mcn.segment.inference.prompts import PromptError

        model = self._worker.model
        if not hasattr(model, "predict"):
            return Refusal(422, f"{model.name} takes no prompts; use /v1/analyze")

        def predict(micrographs: Sequence[Micrograph]) -> list[pa.Table]:
            (picture,) = micrographs
            encoded = self._encodings.of(model.name, picture.analysed)
            masks = model.predict(picture.analysed, points, labels, boxes, encoded)
            return [prompted_crystals(masks, *picture.pixels.shape)]

        ((outcome, timing),) = await self._worker.run(predict, [micrograph])
        if isinstance(outcome, PromptError):
            return Refusal(422, str(outcome))
        return PromptResult(model.name, result_of(outcome), timing)

    def about_segmenter(self) -> ModelInfo:
        """The model's name, and whether it takes prompts."""
        return ModelInfo(self._worker.model.name, prompts=hasattr(self._worker.model, "predict"))

    def check_health(self) -> None:
        """Raise if the model hangs, so that Serve replaces this replica."""
        self._worker.check()


class ClassifierDeployment:
    """Classifies crystals.

    Parameters
    ----------
    replica : ReplicaSettings
        Batches and threads.
    """

    def __init__(self, replica: ReplicaSettings) -> None:
        self._worker = ModelWorker(_load_classifier, replica.threads, _MAX_CALL_S)
        _set_batches(self._classify_batch, replica)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load the model of Serve's `user_config`; the previous one is used until it is loaded."""
        await self._worker.use(config["model"])

    async def classify_segmented(self, segmented: SegmentationResult) -> AnalysisResult:
        """Classify the crystals of a segmented picture."""
        return result_of(await self._classify_batch(segmented))  # type: ignore[no-any-return]

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0)
    async def _classify_batch(
        self, pictures: list[SegmentationResult]
    ) -> list[AnalysisResult | Exception]:
        from mcn.analyzer import classify_segmented

        model = self._worker.model
        outcomes = await self._worker.run(
            lambda batch: classify_segmented(model, [picture.segmented for picture in batch]),
            pictures,
        )
        crop_count = sum(picture.segmented.crystals.num_rows for picture in pictures)
        return [
            outcome
            if isinstance(outcome, Exception)
            else AnalysisResult(
                picture.segmenter,
                model.name,
                model.taxonomy.shapes,
                outcome,
                picture.segmented.area_fraction,
                {
                    "segment": picture.timing,
                    "classify": StageTiming(timing.seconds, crop_count),
                },
            )
            for picture, (outcome, timing) in zip(pictures, outcomes, strict=True)
        ]

    async def classify(self, crops: NDArray[np.uint8]) -> ClassificationResult:
        """Classify crops, an (N, 64, 64) array."""
        model = self._worker.model
        ((outcome, timing),) = await self._worker.run(
            lambda batch: [model.classify(array) for array in batch], [crops]
        )
        classified = result_of(outcome)
        taxonomy = model.taxonomy
        return ClassificationResult(
            model.name,
            taxonomy.shapes,
            tuple(taxonomy.facet_of[shape] for shape in taxonomy.shapes),
            classified.probabilities.tolist(),
            classified.confidence.tolist(),
            StageTiming(timing.seconds, len(crops)),
        )

    async def explain(
        self, crop: NDArray[np.uint8], shape: str | None
    ) -> ExplanationResult | Refusal:
        """Map the evidence in a crop (64, 64) for a shape, by default the most probable."""
        from mcn.classify.explanation.grad_cam import explain

        model = self._worker.model
        shapes = model.taxonomy.shapes
        if shape is not None and shape not in shapes:
            return Refusal(422, f"shape: no {shape!r}; choose from {', '.join(shapes)}")

        def map_evidence(
            crops: Sequence[NDArray[np.uint8]],
        ) -> list[tuple[NDArray[np.float32], str]]:
            batch = np.stack(crops)
            probabilities = model.classify(batch).probabilities[0]
            index = int(probabilities.argmax()) if shape is None else shapes.index(shape)
            return [(explain(model, batch, [index])[0], shapes[index])]

        ((outcome, timing),) = await self._worker.run(map_evidence, [crop])
        heat, explained_shape = result_of(outcome)
        return ExplanationResult(model.name, explained_shape, heat, timing)

    async def similar(
        self, crops: NDArray[np.uint8], index: int, count: int
    ) -> SimilarResult | Refusal:
        """The crops most similar to one of (N, 64, 64), as the classifier sees them."""
        from mcn.classify.explanation.similar import most_similar

        model = self._worker.model
        if not hasattr(model, "embed"):
            return Refusal(422, f"{model.name} does not tell how similar crystals are")
        ((outcome, timing),) = await self._worker.run(
            lambda batch: [most_similar(model.embed(array), index, count) for array in batch],
            [crops],
        )
        indices, similarity = result_of(outcome)
        return SimilarResult(
            model.name,
            indices.tolist(),
            similarity.tolist(),
            StageTiming(timing.seconds, len(crops)),
        )

    def about_classifier(self) -> ModelInfo:
        """The model's name and shapes."""
        return ModelInfo(self._worker.model.name, self._worker.model.taxonomy.shapes)

    def check_health(self) -> None:
        """Raise if the model hangs, so that Serve replaces this replica."""
        self._worker.check()


class ModelsDeployment:
    """Both models in one process, for a cluster of one machine.

    One process has one copy of their library, and crops stay in it.

    Parameters
    ----------
    segmenter, classifier : ReplicaSettings
        Batches and threads of each model.
    """

    def __init__(self, segmenter: ReplicaSettings, classifier: ReplicaSettings) -> None:
        self._segmenter = SegmenterDeployment(segmenter)
        self._classifier = ClassifierDeployment(classifier)
        self.segment = self._segmenter.segment
        self.segment_in_steps = self._segmenter.segment_in_steps
        self.classify_segmented = self._classifier.classify_segmented
        self.predict = self._segmenter.predict
        self.classify = self._classifier.classify
        self.explain = self._classifier.explain
        self.similar = self._classifier.similar
        self.about_segmenter = self._segmenter.about_segmenter
        self.about_classifier = self._classifier.about_classifier

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load the models of Serve's `user_config`; the previous ones are used until then."""
        await self._segmenter.reconfigure({"model": config["segmenter"]})
        await self._classifier.reconfigure({"model": config["classifier"]})

    async def analyze(self, micrograph: Micrograph) -> AnalysisResult:
        """Segment a micrograph and classify its crystals."""
        segmented = await self._segmenter.segment(micrograph)
        return await self._classifier.classify_segmented(segmented)

    def check_health(self) -> None:
        """Raise if a model hangs, so that Serve replaces this replica."""
        self._segmenter.check_health()
        self._classifier.check_health()


def _set_batches(method: Any, replica: ReplicaSettings) -> None:
    method.set_max_batch_size(replica.batch)
    method.set_batch_wait_timeout_s(replica.wait_ms / 1000)


def _load_segmenter(name: str) -> Any:
    """Load a segmenter and call it once, since a model's first call is slow."""
    import mcn.analyzer  # noqa: F401  (so that the first request does not wait for it)
    from mcn.segment import load_segmenter

    model = load_segmenter(name)
    model.segment([np.random.default_rng(0).integers(90, 110, (256, 256), dtype=np.uint8)])
    return model


def _load_classifier(name: str) -> Any:
    """Load a classifier and call it once."""
    from mcn.classify import load_classifier

    model = load_classifier(name)
    model.classify(np.zeros((1, 64, 64), np.uint8))
    return model
