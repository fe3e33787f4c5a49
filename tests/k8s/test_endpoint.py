"""Ray Serve accepts the endpoint's configuration, and starts it without GPUs."""

from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.settings import read_settings

from ..ports import free_port
from ..waiting import wait_until
from .head import Head, status
from .manifests import Manifest, render, served


def test_ray_serve_accepts_the_configuration(manifests: tuple[Manifest, ...]) -> None:
    schema = ServeDeploySchema.model_validate(served(manifests))
    (application,) = schema.applications
    assert (application.name, application.route_prefix) == ("mcn", "/")
    assert application.import_path == "serve.app:build"
    assert schema.http_options.host == "0.0.0.0"
    settings = read_settings(application.args)
    assert settings.requires_token
    assert not settings.insecure


def test_pods_end_after_their_longest_request(manifests: tuple[Manifest, ...]) -> None:
    config = served(manifests)
    (application,) = config["applications"]
    longest = read_settings(application["args"]).longest_request_s
    assert config["http_options"]["request_timeout_s"] >= longest
    (service,) = (each for each in manifests if each["kind"] == "RayService")
    assert service["spec"]["rayClusterDeletionDelaySeconds"] >= longest
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert longest <= float(seconds) <= pod["terminationGracePeriodSeconds"] - 30


def test_replicas_count_the_requests_of_tokens_together(manifests: tuple[Manifest, ...]) -> None:
    (service,) = (each for each in manifests if each["kind"] == "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        values = {each["name"]: each.get("value", "") for each in container["env"]}
        assert values["MCN_COUNTS"].startswith("async+redis://")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("scanned")
def test_the_endpoint_starts_without_gpus(head: Head, tmp_path: Path) -> None:
    config = served(render("overlays/gpu"))
    (application,) = config["applications"]
    arguments = application["args"]
    for pool in ("segmenters", "classifiers"):
        assert arguments[pool].pop("gpus") > 0
        arguments[pool]["gpus"] = 0
    for pool in ("ingress", "readers"):
        arguments[pool]["least"] = 1
    arguments["metrics_port"] = free_port()
    port = config["http_options"]["port"] = free_port()
    config["http_options"]["host"] = "127.0.0.1"
    arguments["catalog"] = head.environment["MCN_CATALOG"]
    arguments["tokens"] = str(tmp_path / "tokens.json")
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    token_result = head.shell(
        f"mcn token add {arguments['tokens']} test --scope read --scope admin", token=None
    )
    assert token_result.returncode == 0, token_result.stderr
    token = token_result.stdout.split()[-1]

    refused = head.shell(f"serve deploy --address {head.dashboard} {file}", token=None)
    assert refused.returncode != 0
    deployed = head.shell(f"serve deploy --address {head.dashboard} {file}", head.token)
    assert deployed.returncode == 0, deployed.stderr

    address = f"http://127.0.0.1:{port}"
    _wait_until_ready(head, address)
    assert status(f"{address}/-/healthz") == 200
    assert status(f"{address}/v1/wells") == 401
    assert status(f"{address}/v1/wells", token) == 200
    assert status(f"{address}/metrics") == 401
    assert status(f"{address}/metrics", token) == 200
    head.shell(f"serve shutdown --yes --address {head.dashboard}", head.token)


def _wait_until_ready(head: Head, address: str) -> None:
    try:
        wait_until(lambda: status(f"{address}/readyz") == 200, "the endpoint is ready")
    except AssertionError as error:
        status_report = head.shell(f"serve status --address {head.dashboard}", head.token)
        raise AssertionError(status_report.stdout[-3000:]) from error
