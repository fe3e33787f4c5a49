"""Rendered overlays, and one Ray head for the tests that run what stands in them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcn.synthetic.core import CoreSettings, render_core

from .head import Head, ray_head
from .manifests import OVERLAYS, Manifest, job_of, one, render


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """Of each overlay in turn."""
    return render(request.param)


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small tiles of a well."""
    out = tmp_path_factory.mktemp("core")
    render_core(out, wells=1, tiles=2, settings=CoreSettings(height=384, width=512))
    return out


@pytest.fixture(scope="session")
def head(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head whose settings are those of the manifests, but for where tiles and catalogue are."""
    manifests = render("overlays/dev")
    folder = tmp_path_factory.mktemp("head")
    config = folder / "scan.toml"
    config.write_text(one(manifests, "ConfigMap", "mcn-scan")["data"]["scan.toml"])
    settings = {
        "MCN_TILES": str(core),
        "MCN_CATALOG": str(folder / "catalog"),
        "MCN_SCAN_CONFIG": str(config),
    }
    assert set(settings) <= set(one(manifests, "ConfigMap", "mcn-settings")["data"])
    with ray_head(folder, settings, cpus=8) as running:
        yield running


@pytest.fixture(scope="session")
def scanned(head: Head) -> subprocess.CompletedProcess[str]:
    """The scan's entrypoint as it is written, submitted with the token: what it printed."""
    scan = job_of(one(render("overlays/gpu"), "RayJob", "mcn-scan"))
    return head.submit(scan["entrypoint"], head.token)
