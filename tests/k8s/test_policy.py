"""Rules that every rendered manifest follows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .manifests import Manifest, Pod, cluster_of, find_manifest, job_of, pods, render, served

KEYS = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[\w-]{20,}\.|ghp_\w{20,}")
SECRET = re.compile(r"(?i)password|secret|token|credential|access_key")


def _containers(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Pod, Manifest]]:
    containers = [(pod, container) for pod in pods(manifests) for container in pod.containers]
    assert len(containers) > 8
    yield from containers


def test_no_container_is_root_or_can_become_root(manifests: tuple[Manifest, ...]) -> None:
    for pod, container in _containers(manifests):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.place
        assert context["runAsUser"] > 0, pod.place
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.place
        container_context = container["securityContext"]
        assert container_context["allowPrivilegeEscalation"] is False, pod.place
        assert container_context["readOnlyRootFilesystem"] is True, pod.place
        assert container_context["capabilities"] == {"drop": ["ALL"]}, pod.place
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            assert not pod.spec.get(field), pod.place


def test_the_autoscaler_beside_the_head_is_confined_too(manifests: tuple[Manifest, ...]) -> None:
    scaled = [
        options
        for manifest in manifests
        if manifest["kind"].startswith("Ray")
        and (options := cluster_of(manifest).get("autoscalerOptions"))
    ]
    assert len(scaled) == 3
    for options in scaled:
        assert options["securityContext"]["readOnlyRootFilesystem"] is True
        assert options["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert options["resources"]["limits"]["memory"]
        assert "/tmp" in [mount["mountPath"] for mount in options["volumeMounts"]]


def test_all_have_requests_and_limits(manifests: tuple[Manifest, ...]) -> None:
    for pod, container in _containers(manifests):
        for field in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][field]), pod.place


def test_long_lived_pods_have_probes(manifests: tuple[Manifest, ...]) -> None:
    for pod, container in _containers(manifests):
        if pod.long_lived:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert probe in container, pod.place


def test_writable_folders_are_mounted(
    manifests: tuple[Manifest, ...],
) -> None:
    for pod, container in _containers(manifests):
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        claims = ["data"] if pod.place.startswith("StatefulSet") else []
        assert set(mounted.values()) <= {v["name"] for v in pod.spec.get("volumes", [])} | {*claims}
        if container["image"].startswith(("mcn:", "registry.example.org/mcn:")):
            assert {"/tmp", "/home/mcn"} <= set(mounted), pod.place


def test_images_are_pinned(manifests: tuple[Manifest, ...]) -> None:
    for pod, container in _containers(manifests):
        _, _, tag = container["image"].rpartition(":")
        assert re.search(r"\d", tag), pod.place
        assert tag != "latest", pod.place


def test_rays_version_is_the_installed_one(manifests: tuple[Manifest, ...]) -> None:
    import ray

    versions = {cluster_of(m)["rayVersion"] for m in manifests if m["kind"].startswith("Ray")}
    assert versions == {ray.__version__}


def test_secrets_are_referenced_and_never_included(manifests: tuple[Manifest, ...]) -> None:
    assert not [m for m in manifests if m["kind"] == "Secret"]
    assert not KEYS.search(json.dumps(manifests))
    for pod, container in _containers(manifests):
        for variable in container.get("env", []):
            if SECRET.search(variable["name"]) or "value" not in variable:
                assert "secretKeyRef" in variable["valueFrom"], pod.place
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap":
            assert not [key for key in manifest["data"] if SECRET.search(key)]


@pytest.mark.parametrize("overlay", ["base", "overlays/gpu"])
def test_object_storage_needs_no_keys(overlay: str) -> None:
    manifests = render(overlay)
    assert "AWS_SECRET_ACCESS_KEY" not in json.dumps(manifests)
    for name in ("mcn-endpoint", "mcn-scanner"):
        account = find_manifest(manifests, "ServiceAccount", name)
        assert "role" in account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    for pod in pods(manifests):
        if "head" in pod.place or "readers" in pod.place or "models" in pod.place:
            assert pod.spec["serviceAccountName"] in ("mcn-endpoint", "mcn-scanner")


def test_only_heads_may_use_the_kubernetes_api(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests):
        if not pod.place.endswith("/head"):
            assert pod.spec["automountServiceAccountToken"] is False, pod.place


def test_ray_requires_its_token(manifests: tuple[Manifest, ...]) -> None:
    for manifest in manifests:
        if manifest["kind"].startswith("Ray"):
            assert cluster_of(manifest)["authOptions"]["mode"] == "token"


def test_traffic_is_denied_unless_allowed(manifests: tuple[Manifest, ...]) -> None:
    deny = find_manifest(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    for pod in pods(manifests):
        allowed = [p for p in policies if p["podSelector"] and _selects(p["podSelector"], pod)]
        assert allowed, f"{pod.place} has no policy that allows traffic"
    for policy in policies:
        for rule in policy.get("ingress", []):
            assert rule["from"], "open to all"


def test_disruption_budgets_select_existing_pods(manifests: tuple[Manifest, ...]) -> None:
    budgets = [m["spec"] for m in manifests if m["kind"] == "PodDisruptionBudget"]
    assert budgets
    for budget in budgets:
        # For pods that Kubernetes cannot scale itself, it accepts only this form.
        assert isinstance(budget["minAvailable"], int)
        assert [pod for pod in pods(manifests) if _selects(budget["selector"], pod)]


def test_there_are_more_workers_than_the_disruption_budget() -> None:
    manifests = render("overlays/gpu")
    service = find_manifest(manifests, "RayService", "mcn-endpoint")
    least = sum(group["minReplicas"] for group in cluster_of(service)["workerGroupSpecs"])
    assert (
        least
        > find_manifest(manifests, "PodDisruptionBudget", "mcn-endpoint")["spec"]["minAvailable"]
    )


def test_worker_groups_scale_and_prefer_spot_machines(manifests: tuple[Manifest, ...]) -> None:
    for kind, name in (("RayService", "mcn-endpoint"), ("RayJob", "mcn-scan")):
        cluster = cluster_of(find_manifest(manifests, kind, name))
        assert cluster["enableInTreeAutoscaling"] is True
        readers, models = cluster["workerGroupSpecs"]
        assert (readers["groupName"], models["groupName"]) == ("readers", "models")
        for group in (readers, models):
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        node = models["template"]["spec"]["affinity"]["nodeAffinity"]
        # Preferred, not required: other machines do if there are no spot machines.
        (preference,) = node["preferredDuringSchedulingIgnoredDuringExecution"]
        assert preference["preference"]["matchExpressions"][0]["values"] == ["spot"]
        assert "requiredDuringSchedulingIgnoredDuringExecution" not in node


def test_models_have_gpus_and_readers_have_none() -> None:
    manifests = render("overlays/gpu")
    gpus = {
        pod.place.rpartition("/")[2]: container["resources"]["limits"].get("nvidia.com/gpu")
        for pod, container in _containers(manifests)
        if pod.place.startswith(("RayService", "RayJob", "RayCronJob/mcn-nightly"))
    }
    assert gpus == {"head": None, "readers": None, "models": "1", "submitter": None}
    (application,) = served(manifests)["applications"]
    for pool in ("segmenters", "classifiers"):
        assert application["args"][pool]["gpus"] > 0


def test_a_new_head_continues_from_the_stored_state(manifests: tuple[Manifest, ...]) -> None:
    service = find_manifest(manifests, "RayService", "mcn-endpoint")["spec"]
    assert service["upgradeStrategy"]["type"] == "NewCluster"
    state_store = service["rayClusterConfig"]["gcsFaultToleranceOptions"]
    host, port = state_store["redisAddress"].split(":")
    assert find_manifest(manifests, "Service", host)["spec"]["ports"][0]["port"] == int(port)
    redis = find_manifest(manifests, "StatefulSet", host)["spec"]["template"]["spec"]["containers"][
        0
    ]
    password_source = redis["env"][0]["valueFrom"]["secretKeyRef"]
    assert state_store["redisPassword"]["valueFrom"]["secretKeyRef"] == password_source


def test_only_the_ingress_is_open_and_it_is_encrypted(manifests: tuple[Manifest, ...]) -> None:
    for manifest in manifests:
        if manifest["kind"] == "Service":
            assert manifest["spec"].get("type", "ClusterIP") == "ClusterIP"
    spec = find_manifest(manifests, "Ingress", "mcn-endpoint")["spec"]
    hosts = {rule["host"] for rule in spec["rules"]}
    assert {host for tls in spec["tls"] for host in tls["hosts"]} == hosts


def test_a_finished_job_releases_its_machines(manifests: tuple[Manifest, ...]) -> None:
    for manifest in manifests:
        if manifest["kind"] in ("RayJob", "RayCronJob"):
            assert job_of(manifest)["shutdownAfterJobFinishes"] is True


def _selects(selector: dict[str, Any], pod: Pod) -> bool:
    labels = selector.get("matchLabels", {})
    if any(pod.labels.get(key) != value for key, value in labels.items()):
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if pod.labels.get(expression["key"]) not in expression["values"]:
            return False
    return True
