"""One object store and one Ray for all scans of the test session, and fake models."""

import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.models import ScanModels

from .. import fakes
from ..fakes import BrightnessClassifier, Images, PatchSegmenter

POISON_FOR_SEGMENTER = 13
POISON_FOR_CLASSIFIER = 251


def refuse_poisoned(images: Images) -> None:
    """Fail on pictures marked by their first pixel."""
    if any(image[0, 0] == POISON_FOR_SEGMENTER for image in images):
        raise RuntimeError("out of\nmemory")


def refuse_poisoned_crops(crops: NDArray[np.uint8]) -> None:
    """Fail on crystals of a certain brightness."""
    if (crops == POISON_FOR_CLASSIFIER).any():
        raise RuntimeError("no such crystal")


def draw(seed: int, crystals: int = 12, bright: int = 200) -> NDArray[np.uint8]:
    """A picture of bright boxes on a dark background, (120, 160)."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 40, (120, 160), dtype=np.uint8)
    for y, x, h, w in rng.integers((2, 2, 5, 5), (95, 135, 20, 20), (crystals, 4)):
        pixels[y : y + h, x : x + w] = bright
    return pixels


def _draw_core(root: Path, tiles: int = 8) -> Path:
    for number in range(tiles):
        folder = root / f"well={'AB'[number % 2]}" / f"depth={1000 + 10 * number}"
        folder.mkdir(parents=True)
        Image.fromarray(draw(number)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def draw_core() -> Callable[..., Path]:
    """Draws tiles of two wells, alternately, ten metres apart."""
    return _draw_core


@pytest.fixture(scope="session")
def models() -> ScanModels:
    import ray

    # The workers cannot import these modules, so they are sent by value.
    for module in (fakes, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    return ScanModels(
        PatchSegmenter.name,
        BrightnessClassifier.name,
        partial(PatchSegmenter, refuse_poisoned),
        partial(BrightnessClassifier, refuse_poisoned_crops),
    )


@pytest.fixture
def core(tmp_path: Path) -> Path:
    return _draw_core(tmp_path / "core")


@pytest.fixture(scope="session")
def object_store(s3_endpoint: str) -> Iterator[Callable[[], str]]:
    """Creates buckets in an S3 server on this machine; the environment points to it."""
    import boto3
    from s3fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()

        def bucket() -> str:
            name = f"test-{uuid.uuid4()}"
            boto3.client("s3").create_bucket(Bucket=name)
            return f"s3://{name}"

        yield bucket


@pytest.fixture(scope="package")  # an idle cluster takes half a core from other tests
def ray_session(object_store: Callable[[], str]) -> Iterator[None]:
    """Ray on two cores, started after the object store so that workers get its address."""
    import ray

    from pipelines.cluster import ray_cluster

    with ray_cluster(num_cpus=2):
        yield
    assert not ray.is_initialized()
