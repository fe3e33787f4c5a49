"""Rules that every rendered manifest follows."""

import json
import re
from collections.abc import Iterator

import pytest

from .manifests import (
    Manifest,
    Pod,
    cluster_of,
    find_manifest,
    job_of,
    pods,
    render,
    selects,
    served,
)

KEYS = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[\w-]{20,}\.|ghp_\w{20,}")
SPOT_LABELS = {
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-spot",
    "kubernetes.azure.com/scalesetpriority",
}
"""Labels of the clouds' machines that may be taken away."""
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
        # Others' images by their contents; the project's own get theirs when they are pushed.
        own = container["image"].startswith(("mcn:", "registry.example.org/mcn:"))
        pinned = r":\d+\.\d+\.\d+-\w+$" if own else r":\S*\d\S*@sha256:[0-9a-f]{64}$"
        assert re.search(pinned, container["image"]), pod.place


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
        allowed = [
            p for p in policies if p["podSelector"] and selects(p["podSelector"], pod.labels)
        ]
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
        assert [pod for pod in pods(manifests) if selects(budget["selector"], pod.labels)]


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
        preferred = {
            expression["key"]: expression["operator"]
            for each in node["preferredDuringSchedulingIgnoredDuringExecution"]
            for expression in each["preference"]["matchExpressions"]
        }
        assert preferred == dict.fromkeys(SPOT_LABELS, "In")
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


def test_what_must_stay_is_never_on_spot_machines_of_any_cloud(
    manifests: tuple[Manifest, ...],
) -> None:
    staying = ("RayService/mcn-endpoint/head", "RayService/mcn-endpoint/readers")
    places = [*staying, "StatefulSet/mcn-redis"]
    for pod in pods(manifests):
        if pod.place in places:
            places.remove(pod.place)
            node = pod.spec["affinity"]["nodeAffinity"]
            (term,) = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            assert {each["key"] for each in term["matchExpressions"]} == SPOT_LABELS
            assert {each["operator"] for each in term["matchExpressions"]} == {"NotIn"}
            assert "tolerations" not in pod.spec, pod.place
    assert not places


@pytest.mark.parametrize("overlay", ["base", "overlays/gpu"])
def test_http_and_queries_run_on_machines_that_stay_one_on_each(overlay: str) -> None:
    manifests = render(overlay)
    (application,) = served(manifests)["applications"]
    cluster = cluster_of(find_manifest(manifests, "RayService", "mcn-endpoint"))
    labels = {group["groupName"]: group.get("labels", {}) for group in cluster["workerGroupSpecs"]}
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    overrides = {each["name"]: each for each in application["deployments"]}
    for name, pool in (("Ingress", "ingress"), ("CatalogReader", "readers")):
        options = overrides[name]["ray_actor_options"]
        assert options["num_cpus"] > 0
        selected = [
            g for g, has in labels.items() if options["label_selector"].items() <= has.items()
        ]
        assert selected == ["readers"]
        # The loss of a machine takes one of them, and there is a machine for each.
        assert overrides[name]["max_replicas_per_node"] == 1
        assert application["args"][pool]["least"] <= groups["readers"]["minReplicas"]
        assert application["args"][pool]["most"] <= groups["readers"]["maxReplicas"]
    jobs = overrides["Jobs"]["ray_actor_options"]
    assert jobs["label_selector"] == overrides["Ingress"]["ray_actor_options"]["label_selector"]


def test_every_replica_of_the_endpoint_exports_its_metrics_once() -> None:
    manifests = render("overlays/gpu")
    (application,) = served(manifests)["applications"]
    monitor = find_manifest(manifests, "PodMonitor", "mcn-endpoint")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    for pod in pods(manifests):
        ports = {
            port["name"]: port["containerPort"]
            for container in pod.containers
            for port in container.get("ports", [])
        }
        if pod.place == "RayService/mcn-endpoint/readers":
            assert selects(monitor["selector"], pod.labels)
            assert ports[endpoint["port"]] == application["args"]["metrics_port"]
        else:
            assert not selects(monitor["selector"], pod.labels), pod.place


def test_a_nightly_run_ends_before_the_next_begins(manifests: tuple[Manifest, ...]) -> None:
    """RayCronJob of KubeRay 1.7 has no policy about concurrent runs."""
    periods = {"mcn-nightly-scan": ("0 22 * * *", 86400), "mcn-maintenance": ("0 12 * * 0", 604800)}
    for name, (schedule, period) in periods.items():
        job = find_manifest(manifests, "RayCronJob", name)["spec"]
        assert job["schedule"] == schedule
        # A time zone without summer time, in which a day has 24 hours.
        assert job["timeZone"] == "Etc/UTC"
        template = job["jobTemplate"]
        attempts = template["backoffLimit"] + 1
        margin = 3600  # to start and end the clusters
        assert template["activeDeadlineSeconds"] * attempts + margin <= period, name
