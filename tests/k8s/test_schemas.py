"""Every rendered manifest is what its kind may be, with no field that nobody knows."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from .manifests import REPOSITORY, Manifest

SCHEMAS = REPOSITORY.parent / "shared/schemas"
RAY = {"RayService": "rayservices", "RayJob": "rayjobs", "RayCronJob": "raycronjobs"}
MONITORING = {
    "ServiceMonitor": ("selector", "endpoints"),
    "PodMonitor": ("selector", "podMetricsEndpoints"),
    "PrometheusRule": ("groups",),
}


def test_kubernetes_kinds(manifests: tuple[Manifest, ...]) -> None:
    own = [m for m in manifests if m["kind"] not in {*RAY, *MONITORING}]
    assert len(own) > 10
    for manifest in own:
        kubernetes_validate.validate(manifest, "1.33", strict=True)


def test_ray_kinds(manifests: tuple[Manifest, ...]) -> None:
    if not SCHEMAS.exists():
        pytest.skip("../shared/schemas is absent: KubeRay's resource definitions")
    ours = [m for m in manifests if m["kind"] in RAY]
    assert sorted(m["kind"] for m in ours) == ["RayCronJob", "RayCronJob", "RayJob", "RayService"]
    for manifest in ours:
        jsonschema.validate(manifest, _schema(manifest["kind"]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(upgradeStrategie={}),
        lambda spec: spec["rayClusterConfig"]["authOptions"].update(mode="tokens"),
        lambda spec: spec["rayClusterConfig"]["headGroupSpec"]["template"]["spec"].update(vol=[]),
        lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].update(minReplicas="two"),
    ],
)
def test_a_slip_in_a_ray_kind_is_found(
    manifests: tuple[Manifest, ...], spoil: Callable[[Manifest], None]
) -> None:
    if not SCHEMAS.exists():
        pytest.skip("../shared/schemas is absent: KubeRay's resource definitions")
    (service,) = [m for m in manifests if m["kind"] == "RayService"]
    spoilt = yaml.safe_load(yaml.safe_dump(service))
    spoil(spoilt["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, _schema("RayService"))


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
def _schema(kind: str) -> Any:
    text = (SCHEMAS / f"ray.io_{RAY[kind]}.yaml").read_text()
    definition = yaml.load(text, yaml.CSafeLoader)
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": 1}
    _close(schema)
    return schema


def _close(schema: Any) -> None:
    """Forbid fields that are not named, as the API server drops them, and say what it takes.

    Kubernetes' numbers-or-words have no type of their own in JSON Schema.
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
