"""Fixtures that tests of several folders share."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from mcn.synthetic.core import CoreSettings, CoreTruth, render_core

from .waiting import DEADLINE_S

# The time of an example depends on the machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

SHARED_FIXTURES = {
    "tests/pipelines/": "a Ray cluster",
    "tests/serve/": "a scanned core",
    "tests/mcn/cli/": "a scanned core",
    "tests/test_docs.py": "a scanned core",
}
"""What the tests of a folder share; whatever shares it runs in one process."""


class Scheduling(LoadScopeScheduling):
    """Distributes tests over processes module by module, unless they share a fixture."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_fixture(nodeid) or nodeid.partition("::")[0]


def shared_fixture(nodeid: str) -> str | None:
    """What a test shares with other modules, if anything."""
    shared = (what for folder, what in SHARED_FIXTURES.items() if nodeid.startswith(folder))
    return next(shared, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests that share fixtures, which take longest in one process."""
    items.sort(key=lambda item: shared_fixture(item.nodeid) is None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Used by `pytest -n`."""
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server on this machine, shared by all tests.

    s3fs keeps connections, with their address and credentials, for as long as the process lives.
    After setting the environment to this address, clear the instances of `S3FileSystem`.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def small_core(tmp_path_factory: pytest.TempPathFactory) -> CoreTruth:
    """A rendered core of nine tiles of 192×256 in two wells; tests only read it."""
    core = CoreSettings(height=192, width=256)
    return render_core(tmp_path_factory.mktemp("core"), wells=2, tiles=9, seed=4, settings=core)


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a rendered `core` of three tiles in one well, its `catalog`, and `scan.json`.

    Made by the commands, as a user would make them, once for all processes of `pytest -n`; tests
    only read it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "scanned"
    with FileLock(shared / "scanned.lock", timeout=DEADLINE_S):
        if not (folder / "scan.json").exists():
            folder.mkdir()
            run_mcn(folder, "core", "core", "--wells", "1", "--tiles", "3", "--seed", "11")
            report = run_mcn(folder, "scan", str(folder / "core"), "catalog", "--json")
            (folder / "scan.json").write_text(report)
    return folder


def run_mcn(folder: Path, *arguments: str) -> str:
    """What `mcn` prints in a folder, without a cluster that the environment names."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mcn")), *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
