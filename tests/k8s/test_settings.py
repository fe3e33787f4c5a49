"""Settings repeated in several manifests agree, and refer to existing objects."""

import json
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from mcn.cli.main import app
from pipelines.resources import read_overrides

from .manifests import REPOSITORY, Manifest, cluster_of, find_manifest, job_of, pods, served


def test_the_endpoint_reads_the_catalogue_that_scans_fill(
    manifests: tuple[Manifest, ...],
) -> None:
    settings = find_manifest(manifests, "ConfigMap", "mcn-settings")["data"]
    (application,) = served(manifests)["applications"]
    assert application["args"]["catalog"] == settings["MCN_CATALOG"]


def test_every_pod_of_the_project_has_the_same_image(manifests: tuple[Manifest, ...]) -> None:
    images = {c["image"] for pod in pods(manifests) for c in pod.containers if "mcn" in c["image"]}
    assert len(images) == 1


def test_nightly_scans_and_maintenance_share_the_scans_settings(
    manifests: tuple[Manifest, ...],
) -> None:
    scan = find_manifest(manifests, "RayJob", "mcn-scan")
    night = find_manifest(manifests, "RayCronJob", "mcn-nightly-scan")
    assert job_of(night)["entrypoint"] == job_of(scan)["entrypoint"]
    assert cluster_of(night) == cluster_of(scan)
    upkeep = find_manifest(manifests, "RayCronJob", "mcn-maintenance")
    assert cluster_of(upkeep)["headGroupSpec"] == cluster_of(scan)["headGroupSpec"]


def test_the_scan_configures_the_workers_of_each_stage(
    manifests: tuple[Manifest, ...], tmp_path: Path
) -> None:
    settings = find_manifest(manifests, "ConfigMap", "mcn-settings")["data"]
    files = find_manifest(manifests, "ConfigMap", "mcn-scan")["data"]
    scan = find_manifest(manifests, "RayJob", "mcn-scan")
    (mount,) = [
        mount["mountPath"]
        for mount in cluster_of(scan)["headGroupSpec"]["template"]["spec"]["containers"][0][
            "volumeMounts"
        ]
        if mount["name"] == "scan"
    ]
    folder, _, file = settings["MCN_SCAN_CONFIG"].rpartition("/")
    assert folder == mount
    (tmp_path / file).write_text(files[file])
    overrides = read_overrides(str(tmp_path / file))
    assert {"read", "segment", "classify"} <= set(overrides)


def test_entrypoints_are_existing_commands(manifests: tuple[Manifest, ...]) -> None:
    lines = [job_of(m)["entrypoint"] for m in manifests if m["kind"] in ("RayJob", "RayCronJob")]
    assert len(lines) == 3
    for line in lines:
        shell = shlex.split(line)
        commands = shell[2].split("&&") if shell[0] == "sh" else [line]
        for command in commands:
            words = shlex.split(command)
            assert words[0] == "mcn"
            names = [word for word in words[1:3] if word.isalpha()]
            help_text = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200"})
            assert help_text.exit_code == 0, command
            for option in (word for word in words if word.startswith("--")):
                assert option in help_text.output, command


def test_referenced_config_maps_and_accounts_exist(manifests: tuple[Manifest, ...]) -> None:
    maps = {m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"}
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
    for pod in pods(manifests):
        assert pod.spec.get("serviceAccountName", "mcn-scanner") in accounts
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
        for container in pod.containers:
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in maps


def test_every_secret_has_its_command_in_the_guide(manifests: tuple[Manifest, ...]) -> None:
    guide = (REPOSITORY / "deploy/README.md").read_text()
    text = json.dumps(manifests)
    named = set(re.findall(r'"secretKeyRef": {"key": "[^"]+", "name": "([^"]+)"', text))
    named |= set(re.findall(r'"secret(?:Ref|Name)": (?:{"name": )?"([^"]+)"', text))
    named |= set(re.findall(r'"credentials": {"key": "[^"]+", "name": "([^"]+)"', text))
    assert {"mcn-redis", "mcn-tokens"} <= named
    for name in named - {"mcn-tls"}:  # made by cert-manager
        assert f"create secret generic {name} " in guide
