"""An upgrade and a rollback, as far as they can be rehearsed without a cluster.

The next version is this one with another number. Both must conform to the schemas; the API server
must accept each change, in both directions; and Ray Serve and the endpoint must accept the
configurations of both.
"""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.settings import read_settings

from .manifests import REPOSITORY, Manifest, find_manifest, render, render_folder, served
from .test_schemas import RAY, SCHEMAS, ray_schema, test_kubernetes_kinds, test_ray_kinds

RELEASES = sorted(Path(__file__).with_name("releases").glob("*.yaml"))
CURRENT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
NEXT = "0.99.0"

CHANGEABLE = {
    "StatefulSet": {
        "minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "replicas",
        "revisionHistoryLimit", "template", "updateStrategy",
    },
    "Job": {"activeDeadlineSeconds", "backoffLimit", "suspend", "ttlSecondsAfterFinished"},
    "PersistentVolumeClaim": {"resources", "volumeAttributesClassName"},
}  # fmt: skip
"""Kind → the fields of its spec that the API server allows to change."""


def refused_changes(
    old: tuple[Manifest, ...], new: tuple[Manifest, ...]
) -> Iterator[tuple[str, str, str]]:
    """Kind, name and field of each change that the API server would refuse."""
    before = {(m["kind"], m["metadata"]["name"]): m for m in old}
    for manifest in new:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        previous = before.get((kind, name))
        if previous is None:
            continue
        spec, old_spec = manifest.get("spec", {}), previous.get("spec", {})
        if kind in CHANGEABLE:
            for field in (spec.keys() | old_spec.keys()) - CHANGEABLE[kind]:
                if spec.get(field) != old_spec.get(field):
                    yield kind, name, field
        if kind == "Deployment" and spec["selector"] != old_spec["selector"]:
            yield kind, name, "selector"
        if kind in RAY and SCHEMAS.exists():
            for path in immutable_paths(ray_schema(kind)):
                if value_at(manifest, path) != value_at(previous, path):
                    yield kind, name, ".".join(path)


def immutable_paths(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Fields that a resource definition declares immutable."""
    rules = [each["rule"].strip() for each in schema.get("x-kubernetes-validations", ())]
    if "self == oldSelf" in rules:
        yield path
    for name, part in schema.get("properties", {}).items():
        yield from immutable_paths(part, (*path, name))


def value_at(manifest: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        manifest = manifest.get(name, {}) if isinstance(manifest, dict) else {}
    return manifest


def with_version(folder: Path, overlay: str, version: str) -> tuple[Manifest, ...]:
    """The manifests of an overlay with another version of the image."""
    copy = folder / version
    if not copy.exists():
        shutil.copytree(REPOSITORY / "k8s", copy)
    file = copy / overlay / "kustomization.yaml"
    text = file.read_text()
    assert f"newTag: {CURRENT}-" in text
    file.write_text(text.replace(f"newTag: {CURRENT}-", f"newTag: {version}-"))
    return render_folder(file.parent)


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/gpu"])
def test_an_upgrade_and_its_rollback_are_accepted(overlay: str, tmp_path: Path) -> None:
    current, upgraded = render(overlay), with_version(tmp_path, overlay, NEXT)
    for manifests in (current, upgraded):
        test_kubernetes_kinds(manifests)
        test_ray_kinds(manifests)
    # The version is in the images alone, so a revert of that line restores every manifest.
    text = yaml.safe_dump_all(upgraded)
    assert text.replace(f":{NEXT}-", f":{CURRENT}-") == yaml.safe_dump_all(current)
    # The guide says what to do about the job that loads a laptop's core.
    known = {("Job", "mcn-load", "template")} if "dev" in overlay else set()
    assert set(refused_changes(current, upgraded)) == known
    assert set(refused_changes(upgraded, current)) == known


def test_an_upgrade_starts_a_second_cluster_and_a_change_of_serving_does_not(
    tmp_path: Path,
) -> None:
    """KubeRay starts one if the specification of the cluster changes, other than its scale."""
    current = find_manifest(render("overlays/gpu"), "RayService", "mcn-endpoint")["spec"]
    upgraded = find_manifest(
        with_version(tmp_path, "overlays/gpu", NEXT), "RayService", "mcn-endpoint"
    )["spec"]
    assert current["upgradeStrategy"]["type"] == "NewCluster"
    assert current["rayClusterConfig"] != upgraded["rayClusterConfig"]
    assert current["serveConfigV2"] == upgraded["serveConfigV2"]


def test_a_refused_change_is_found() -> None:
    current = render("overlays/gpu")
    changed = yaml.safe_load(yaml.safe_dump(list(current)))
    find_manifest(changed, "StatefulSet", "mcn-redis")["spec"]["serviceName"] = "other"
    endpoint = find_manifest(changed, "RayService", "mcn-endpoint")["spec"]
    endpoint["rayClusterConfig"]["gcsFaultToleranceOptions"]["backend"] = "rocksdb"
    found = set(refused_changes(current, tuple(changed)))
    assert ("StatefulSet", "mcn-redis", "serviceName") in found
    if SCHEMAS.exists():
        field = "spec.rayClusterConfig.gcsFaultToleranceOptions.backend"
        assert ("RayService", "mcn-endpoint", field) in found


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_configurations_of_both_versions_are_accepted(release: Path) -> None:
    """A rollback of this alone reaches a cluster of the new version, and vice versa."""
    earlier, current = yaml.safe_load(release.read_text()), served(render("overlays/gpu"))
    applications = []
    for config in (earlier, current):
        (application,) = ServeDeploySchema.model_validate(config).applications
        read_settings(application.args)
        applications.append(application)
    old, new = applications
    # With these the same, requests go to the same application while its replicas are replaced.
    for field in ("name", "route_prefix", "import_path"):
        assert getattr(old, field) == getattr(new, field)
    ports = [config["http_options"]["port"] for config in (earlier, current)]
    assert ports[0] == ports[1]


def test_the_current_or_an_earlier_release_is_rehearsed() -> None:
    assert RELEASES, "keep the Serve configuration of the last release in tests/k8s/releases"
