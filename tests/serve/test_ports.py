"""An endpoint of one machine is reachable from other machines by its own port only."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ..ports import REPLICA, listening, open_to_others
from .conftest import Endpoint


def test_ray_listens_on_this_machine_only(endpoint: Endpoint) -> None:
    ports = listening(endpoint.process.pid)
    assert any(port.number == int(endpoint.url.rpartition(":")[2]) for port in ports)
    assert any(REPLICA in port.title for port in ports)
    assert not open_to_others(ports)


def test_the_token_of_the_cluster_is_its_owners(endpoint: Endpoint) -> None:
    del endpoint
    file = Path.home() / ".ray" / "auth_token"
    if file.exists():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


STRANGER = """
import os, sys
os.setuid(65534)
os.environ["HOME"] = "/nonexistent"
os.environ["RAY_AUTH_MODE"] = sys.argv[2]
import ray
try:
    ray.init(sys.argv[1], log_to_driver=False)
except BaseException as error:
    print("refused:", type(error).__name__)
else:
    print("joined")
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_another_user_cannot_join_the_cluster(endpoint: Endpoint, mode: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    environ = {name: value for name, value in os.environ.items() if "RAY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, endpoint.cluster(), mode],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "joined" not in done.stdout
    assert done.returncode != 0 or "refused" in done.stdout, done.stderr[-2000:]
