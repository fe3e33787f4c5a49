"""The jobs' entrypoints run unchanged on a Ray that requires its token."""

import subprocess

import pytest

from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import verify

from .head import Head, last_object, status
from .manifests import cluster_of, find_manifest, job_of, render

pytestmark = [pytest.mark.ray, pytest.mark.long]


def test_without_the_token_a_job_is_refused(head: Head) -> None:
    scan = job_of(find_manifest(render("overlays/gpu"), "RayJob", "mcn-scan"))["entrypoint"]
    before = head.jobs()
    for token, reason in ((None, "Authentication required"), ("0" * 32, "Authentication failed")):
        refused = head.submit(scan, token)
        assert refused.returncode != 0
        assert reason in refused.stdout + refused.stderr
    assert head.jobs() == before


def test_without_the_token_the_job_server_reveals_nothing(head: Head) -> None:
    for path in ("/api/jobs/", "/api/serve/applications/"):
        assert status(f"{head.dashboard}{path}") == 401
        assert status(f"{head.dashboard}{path}", "0" * 32) == 403


def test_probes_need_no_token(head: Head) -> None:
    scan = cluster_of(find_manifest(render("overlays/gpu"), "RayJob", "mcn-scan"))
    (container,) = scan["headGroupSpec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = container[probe]["httpGet"]
        assert request["port"] == 52365  # the port of Ray's agent, which is another one here
        assert status(f"{head.agent}{request['path']}") == 200


def test_a_scan_a_nightly_scan_and_maintenance(
    head: Head, scanned: subprocess.CompletedProcess[str]
) -> None:
    assert scanned.returncode == 0, scanned.stdout + scanned.stderr
    summary = last_object(scanned.stdout)
    assert (summary["tiles_ok"], summary["tiles_failed"], summary["tiles_skipped"]) == (2, 0, 0)
    night = job_of(find_manifest(render("overlays/gpu"), "RayCronJob", "mcn-nightly-scan"))
    second = head.submit(night["entrypoint"], head.token)
    assert second.returncode == 0, second.stdout + second.stderr
    assert last_object(second.stdout)["tiles_skipped"] == 2

    upkeep = job_of(find_manifest(render("overlays/gpu"), "RayCronJob", "mcn-maintenance"))
    third = head.submit(upkeep["entrypoint"], head.token)
    assert third.returncode == 0, third.stdout + third.stderr
    assert last_object(third.stdout)["deleted"] is True
    assert verify(Catalog.open(head.environment["MCN_CATALOG"])).ok
