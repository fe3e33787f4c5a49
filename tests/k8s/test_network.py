"""What the network policies let through: each connection that a part needs, and no metadata."""

import ipaddress
from typing import Any

import pytest

from .manifests import Manifest, Pod, find_manifest, pods, render, selects

NGINX = {"kubernetes.io/metadata.name": "ingress-nginx"}
MONITORING = {"kubernetes.io/metadata.name": "monitoring"}


def allowed_from(
    manifests: tuple[Manifest, ...], namespace: dict[str, str], labels: dict[str, str]
) -> set[int]:
    """Ports of pods with these labels that a namespace may connect to."""
    ports = set()
    for policy in (m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"):
        if policy["podSelector"] and selects(policy["podSelector"], labels):
            for rule in policy.get("ingress", []):
                peers = [peer.get("namespaceSelector") for peer in rule["from"]]
                if {"matchLabels": namespace} in peers:
                    ports |= {port["port"] for port in rule["ports"]}
    return ports


def may_connect(manifests: tuple[Manifest, ...], pod: Pod, address: str, port: int) -> bool:
    """Whether a pod may connect to an address outside the cluster."""
    for policy in (m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"):
        if not (policy["podSelector"] and selects(policy["podSelector"], pod.labels)):
            continue
        for rule in policy.get("egress", []):
            if any(entry["port"] == port for entry in rule.get("ports", [])) and any(
                _contains(peer.get("ipBlock"), address) for peer in rule["to"]
            ):
                return True
    return False


def _contains(block: dict[str, Any] | None, address: str) -> bool:
    if block is None:
        return False
    ip = ipaddress.ip_address(address)
    excluded = map(ipaddress.ip_network, block.get("except", []))
    return ip in ipaddress.ip_network(block["cidr"]) and not any(ip in net for net in excluded)


def ray_pods(manifests: tuple[Manifest, ...]) -> list[Pod]:
    return [pod for pod in pods(manifests) if "ray.io/node-type" in pod.labels]


def test_requests_arrive_through_the_ingress(manifests: tuple[Manifest, ...]) -> None:
    for pod in ray_pods(manifests):
        if pod.place.startswith("RayService") and "worker" in pod.labels["ray.io/node-type"]:
            assert allowed_from(manifests, NGINX, pod.labels) == {8000}, pod.place


def test_cert_managers_solver_is_reached_through_the_ingress(
    manifests: tuple[Manifest, ...],
) -> None:
    solver = {
        "acme.cert-manager.io/http01-solver": "true",
        "acme.cert-manager.io/http-domain": "1234",
    }
    assert allowed_from(manifests, NGINX, solver) == {8089}


def test_each_monitored_port_is_open_to_prometheus_only() -> None:
    manifests = render("overlays/gpu")
    monitors = [m for m in manifests if m["kind"] in ("PodMonitor", "ServiceMonitor")]
    assert {m["kind"] for m in monitors} == {"PodMonitor"}
    for monitor in monitors:
        scraped = [p for p in ray_pods(manifests) if selects(monitor["spec"]["selector"], p.labels)]
        assert scraped
        for pod in scraped:
            names = {
                port["name"]: port["containerPort"]
                for container in pod.containers
                for port in container.get("ports", [])
            }
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                assert names[endpoint["port"]] in allowed_from(manifests, MONITORING, pod.labels)


def test_pods_reach_names_storage_and_the_api_but_no_metadata(
    manifests: tuple[Manifest, ...],
) -> None:
    for pod in ray_pods(manifests):
        for address in ("3.5.140.1", "2600:1ff8::1"):
            assert may_connect(manifests, pod, address, 443), pod.place
        assert may_connect(manifests, pod, "10.0.0.1", 6443), pod.place
        assert may_connect(manifests, pod, "169.254.20.10", 53), pod.place
        for metadata in ("169.254.169.254", "fd00:ec2::254"):
            for port in (80, 443):
                assert not may_connect(manifests, pod, metadata, port), pod.place


def test_redis_is_open_to_the_endpoint_only(manifests: tuple[Manifest, ...]) -> None:
    policy = find_manifest(manifests, "NetworkPolicy", "redis-from-endpoint")["spec"]
    (rule,) = policy["ingress"]
    scans = [pod for pod in ray_pods(manifests) if "scan" in pod.place]
    assert scans
    for pod in scans:
        assert not any(selects(peer["podSelector"], pod.labels) for peer in rule["from"])


# --- each cloud


@pytest.mark.parametrize("cloud", ["eks", "gke", "aks"])
def test_each_cloud_gives_every_pod_the_credentials_of_its_account(
    cloud: str, cloud_manifests: dict[str, tuple[Manifest, ...]]
) -> None:
    manifests = cloud_manifests[cloud]
    for pod in ray_pods(manifests):
        account = pod.spec["serviceAccountName"]
        role = f"role/{account}"
        (container,) = pod.spec["containers"]
        if cloud == "eks":
            annotations = find_manifest(manifests, "ServiceAccount", account)["metadata"]
            assert annotations["annotations"]["eks.amazonaws.com/role-arn"].endswith(role)
            assert may_connect(manifests, pod, "169.254.170.23", 80), pod.place
        else:
            variables = {each["name"]: each["value"] for each in container["env"]}
            assert variables["AWS_ROLE_ARN"].endswith(role), pod.place
            folder, _, file = variables["AWS_WEB_IDENTITY_TOKEN_FILE"].rpartition("/")
            (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == folder]
            (volume,) = [v for v in pod.spec["volumes"] if v["name"] == mount["name"]]
            (source,) = volume["projected"]["sources"]
            assert source["serviceAccountToken"]["path"] == file
            assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
        for port in (80, 443):
            assert not may_connect(manifests, pod, "169.254.169.254", port), pod.place
        assert may_connect(manifests, pod, "169.254.169.254", 53) == (cloud == "gke"), pod.place
