"""The model deployments return results, and refuse invalid input.

Batches need a real Serve: `http/routes/test_analysis.py` compares them with a scan.
"""

import asyncio

import numpy as np
import pytest

from mcn.micrograph import Micrograph
from serve.deployments.messages import PromptResult, Refusal
from serve.deployments.models import ClassifierDeployment, ModelsDeployment, SegmenterDeployment
from serve.settings import ReplicaSettings

from ...fakes import BrightnessClassifier, FixedSegmenter, PatchSegmenter


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenters = {"patches": PatchSegmenter, "fixed": lambda: FixedSegmenter([[], []])}
    monkeypatch.setattr("mcn.segment.load_segmenter", lambda name: segmenters[name]())
    monkeypatch.setattr("mcn.classify.load_classifier", lambda name: BrightnessClassifier())


PICTURE = Micrograph(np.full((60, 80), 20, np.uint8), 0.5, "manifest", "a.tif", None)
PICTURE.pixels[5:15, 30:42] = PICTURE.pixels[30:38, 8:28] = 200


async def segmenter(model: str = "patches") -> SegmenterDeployment:
    deployment = SegmenterDeployment(ReplicaSettings())
    await deployment.reconfigure({"model": model})
    return deployment


async def classifier() -> ClassifierDeployment:
    deployment = ClassifierDeployment(ReplicaSettings())
    await deployment.reconfigure({"model": "brightness"})
    return deployment


def test_prompts_give_crystals_and_invalid_ones_a_refusal() -> None:
    async def predict(points: object, model: str = "patches") -> PromptResult | Refusal:
        return await (await segmenter(model)).predict(PICTURE, points, None, None)

    result = asyncio.run(predict([[35, 8], [10, 32]]))
    assert isinstance(result, PromptResult)
    assert result.crystals["bbox_x"].to_pylist() == [30, 8]
    outside = asyncio.run(predict([[500, 8]]))
    assert isinstance(outside, Refusal)
    assert (outside.status, outside.trouble) == (422, None)
    assert "points must lie in the image" in outside.detail
    unable = asyncio.run(predict([[35, 8]], "fixed"))
    assert isinstance(unable, Refusal)
    assert "takes no prompts; use /v1/analyze" in unable.detail


def test_each_deployment_describes_its_model() -> None:
    async def about() -> tuple[object, ...]:
        segmenters = await segmenter(), await segmenter("fixed")
        names = [deployment.about_segmenter() for deployment in segmenters]
        return *names, (await classifier()).about_classifier()

    patches, fixed, brightness = asyncio.run(about())
    assert (patches.name, patches.prompts) == (PatchSegmenter.name, True)
    assert (fixed.name, fixed.prompts) == (FixedSegmenter.name, False)
    assert brightness.shapes == BrightnessClassifier.taxonomy.shapes


def test_crops_are_classified_and_unknown_shapes_refused() -> None:
    crops = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)

    async def ask() -> tuple[object, object]:
        deployment = await classifier()
        return await deployment.classify(crops), await deployment.explain(crops[0], "cubic")

    result, refusal = asyncio.run(ask())
    expected = BrightnessClassifier().classify(crops)
    assert result.probabilities == expected.probabilities.tolist()
    assert result.confidence == expected.confidence.tolist()
    assert len(result.facets) == len(result.shapes) == 4
    assert refusal == Refusal(
        422, "shape: no 'cubic'; choose from rhombic, polyhedral, amorphous, spherical"
    )


def test_models_of_one_process_do_what_they_do_apart() -> None:
    async def both() -> tuple[object, ...]:
        models = ModelsDeployment(ReplicaSettings(), ReplicaSettings())
        await models.reconfigure({"segmenter": "patches", "classifier": "brightness"})
        models.check_health()
        about = models.about_segmenter(), models.about_classifier()
        prompted = await models.predict(PICTURE, [[35, 8]], None, None)
        crops = np.full((1, 64, 64), 9, np.uint8)
        return *about, prompted, await models.classify(crops), (await segmenter()).about_segmenter()

    patches, brightness, prompted, classified, apart = asyncio.run(both())
    assert patches == apart
    assert brightness.shapes == BrightnessClassifier.taxonomy.shapes
    assert prompted.crystals.num_rows == 1
    assert len(classified.probabilities) == 1
