"""Every rendered manifest conforms to the schema of its kind, without unknown fields."""

from collections.abc import Callable
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator

from .manifests import REPOSITORY, Manifest

SCHEMAS = REPOSITORY.parent / "shared/schemas"
RAY = {"RayService": "rayservices", "RayJob": "rayjobs", "RayCronJob": "raycronjobs"}
MONITORING = {
    "ServiceMonitor": ("selector", "endpoints"),
    "PodMonitor": ("selector", "podMetricsEndpoints"),
    "PrometheusRule": ("groups",),
}


def test_every_cloud_conforms_too(cloud_manifests: dict[str, tuple[Manifest, ...]]) -> None:
    for manifests in cloud_manifests.values():
        test_kubernetes_kinds(manifests)
        test_ray_kinds(manifests)


def test_kubernetes_kinds(manifests: tuple[Manifest, ...]) -> None:
    kubernetes_manifests = [m for m in manifests if m["kind"] not in {*RAY, *MONITORING}]
    assert len(kubernetes_manifests) > 10
    for manifest in kubernetes_manifests:
        kubernetes_validate.validate(manifest, "1.33", strict=True)


def test_ray_kinds(manifests: tuple[Manifest, ...]) -> None:
    if not SCHEMAS.exists():
        pytest.skip("../shared/schemas is absent: KubeRay's resource definitions")
    ray_manifests = [m for m in manifests if m["kind"] in RAY]
    assert sorted(m["kind"] for m in ray_manifests) == [
        "RayCronJob",
        "RayCronJob",
        "RayJob",
        "RayService",
    ]
    for manifest in ray_manifests:
        ray_validator(manifest["kind"]).validate(manifest)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.update(upgradeStrategie={}),
        lambda spec: spec["rayClusterConfig"]["authOptions"].update(mode="tokens"),
        lambda spec: spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"].update(vol=[]),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].update(minReplicas="two"),
    ],
)
def test_a_mistake_in_a_ray_kind_is_detected(
    manifests: tuple[Manifest, ...], change: Callable[[Manifest], None]
) -> None:
    if not SCHEMAS.exists():
        pytest.skip("../shared/schemas is absent: KubeRay's resource definitions")
    (service,) = [m for m in manifests if m["kind"] == "RayService"]
    invalid = yaml.safe_load(yaml.safe_dump(service))
    change(invalid["spec"])
    with pytest.raises(ValidationError):
        ray_validator("RayService").validate(invalid)


def test_monitoring_kinds(manifests: tuple[Manifest, ...]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in MONITORING:
            continue
        assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
        assert set(manifest["spec"]) == set(MONITORING[manifest["kind"]])
        for group in manifest["spec"].get("groups", []):
            assert set(group) <= {"name", "interval", "rules", "limit", "labels"}
            for rule in group["rules"]:
                assert len({"alert", "record"} & set(rule)) == 1
                assert set(rule) <= {
                    "alert", "record", "expr", "for", "labels", "annotations", "keep_firing_for"
                }  # fmt: skip
        for endpoint in _endpoints(manifest):
            assert set(endpoint) <= {"port", "path", "interval", "authorization", "relabelings"}


def _endpoints(manifest: Manifest) -> list[Manifest]:
    spec = manifest["spec"]
    return [*spec.get("endpoints", []), *spec.get("podMetricsEndpoints", [])]


@cache
def ray_schema(kind: str) -> dict[str, Any]:
    """The schema of one of KubeRay's kinds, without unknown fields."""
    text = (SCHEMAS / f"ray.io_{RAY[kind]}.yaml").read_text()
    definition = yaml.load(text, yaml.CSafeLoader)
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": 1}
    _close(schema)
    return schema


def ray_validator(kind: str) -> Validator:
    return Draft202012Validator(ray_schema(kind))


def _close(schema: Any) -> None:
    """Forbid unknown fields, as the API server does, and state the types of int-or-string fields.

    JSON Schema has no type for Kubernetes' int-or-string.
    """
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    if not isinstance(schema, dict):
        return
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema["type"] = ["integer", "string"]
        schema.pop("anyOf", None)
    for key, part in schema.items():
        if key != "enum":
            _close(part)
