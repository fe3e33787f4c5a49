"""The endpoint reports its models, its health and its metrics."""

from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from mcn.micrograph import Limits
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.messages import ModelInfo
from serve.http.dispatch import Services
from serve.settings import Settings

from ...local import local_client, local_services

SETTINGS = Settings(insecure=True, max_images=5, max_megapixels=7)


def model(name: str, *shapes: str, prompts: bool = False) -> SimpleNamespace:
    info = ModelInfo(name, shapes, prompts)
    return SimpleNamespace(about_segmenter=lambda: info, about_classifier=lambda: info)


def unresponsive_model() -> SimpleNamespace:
    def about() -> ModelInfo:
        raise TimeoutError

    return SimpleNamespace(about_segmenter=about, about_classifier=about)


@pytest.fixture
def services() -> Services:
    return local_services(
        "test-system",
        segmenter=model("compact@1", prompts=True),
        classifier=model("nsr@1", "round", "square"),
        reader=CatalogReader(None, 60.0, Limits()),
        settings=SETTINGS,
    )


def test_models_and_limits_are_reported(services: Services) -> None:
    assert local_client(services).get("/v1/models").json() == {
        "segmenter": "compact@1",
        "segmenter_prompts": True,
        "classifier": "nsr@1",
        "shapes": ["round", "square"],
        "max_megabytes": SETTINGS.max_megabytes,
        "max_megapixels": 7,
        "max_images": 5,
    }


def test_an_endpoint_with_its_models_is_ready(services: Services) -> None:
    client = local_client(services)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_an_unresponsive_model_is_not_ready_unless_it_is_working() -> None:
    services = local_services(
        "test-system", segmenter=unresponsive_model(), classifier=model("nsr@1")
    )
    client: TestClient = local_client(services)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert client.get("/healthz").status_code == 200
    with services.analyses.enter():
        assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_are_served_without_a_response_from_the_reader(services: Services) -> None:
    def age_s() -> float:
        raise TimeoutError

    silent = local_services(services.metrics, reader=SimpleNamespace(age_s=age_s))
    for each in (services, silent):
        response = local_client(each).get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain")
