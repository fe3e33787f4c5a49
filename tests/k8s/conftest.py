"""Rendered overlays, and one Ray head on which the tests run the manifests' jobs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcn.synthetic.core import CoreSettings, render_core

from .head import Head, ray_head
from .manifests import (
    OVERLAYS,
    REPOSITORY,
    Manifest,
    find_manifest,
    job_of,
    render,
    render_folder,
)


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """The manifests of each overlay in turn."""
    return render(request.param)


@pytest.fixture(scope="session")
def cloud_manifests(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Manifest, ...]]:
    """The manifests of the large overlay on each cloud."""
    rendered = {}
    for cloud in ("eks", "gke", "aks"):
        folder = tmp_path_factory.mktemp(cloud) / "k8s"
        shutil.copytree(REPOSITORY / "k8s", folder)
        overlay = folder / "overlays/gpu/kustomization.yaml"
        text = overlay.read_text()
        assert text.count("../../clouds/eks") == 1
        overlay.write_text(text.replace("../../clouds/eks", f"../../clouds/{cloud}"))
        rendered[cloud] = render_folder(overlay.parent)
    return rendered


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small tiles of a well."""
    out = tmp_path_factory.mktemp("core")
    render_core(out, wells=1, tiles=2, settings=CoreSettings(height=384, width=512))
    return out


@pytest.fixture(scope="session")
def head(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head with the settings of the manifests, except for the places of tiles and catalogue."""
    manifests = render("overlays/dev")
    folder = tmp_path_factory.mktemp("head")
    config = folder / "scan.toml"
    config.write_text(find_manifest(manifests, "ConfigMap", "mcn-scan")["data"]["scan.toml"])
    settings = {
        "MCN_TILES": str(core),
        "MCN_CATALOG": str(folder / "catalog"),
        "MCN_SCAN_CONFIG": str(config),
    }
    assert set(settings) <= set(find_manifest(manifests, "ConfigMap", "mcn-settings")["data"])
    with ray_head(folder, settings, cpus=8) as running:
        yield running


@pytest.fixture(scope="session")
def scanned(head: Head) -> subprocess.CompletedProcess[str]:
    """Result of the scan's entrypoint, submitted with the token."""
    scan = job_of(find_manifest(render("overlays/gpu"), "RayJob", "mcn-scan"))
    return head.submit(scan["entrypoint"], head.token)
