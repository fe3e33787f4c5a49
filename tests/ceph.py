"""A throwaway Ceph S3 gateway on this machine: one monitor, one store in memory, one gateway.

Needs the Debian packages `ceph-mon ceph-mgr ceph-osd radosgw`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .ports import free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KEY, SECRET = "testaccesskey", "testsecretkey0123456789"
_WAIT_S = 240.0

_SETTINGS = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
keyring = {folder}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
pid file =
admin socket =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
mon data = {folder}/mon
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 2
mon data avail crit = 1
paxos propose interval = 0.02
paxos min wait = 0.01
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
# The cluster may not know itself yet when the store would say where it is.
osd crush update on start = false
osd class update on start = false
[client]
# A gateway without keys cannot speak the encrypted way it prefers.
ms mon client mode = crc
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 32
rgw rados pool pg num min = 1
rgw crypt require ssl = false
"""


def missing_programs() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def ceph_gateway(folder: Path) -> Iterator[str]:
    """Run a gateway for the duration of the context, and give its address."""
    port, mon_port = free_port(), free_port()
    config, fsid, osd = folder / "ceph.conf", str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True)
    (folder / "keyring").touch()
    config.write_text(_SETTINGS.format(fsid=fsid, folder=folder, port=port, mon_port=mon_port))
    config_options = ["-c", str(config)]
    running: list[subprocess.Popen[bytes]] = []

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
        return done.stdout

    def start(name: str, *command: str) -> None:
        log = (folder / f"{name}.out").open("wb")
        running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    try:
        monmap = str(folder / "monmap")
        place = f"[v2:127.0.0.1:{mon_port}/0]"
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", place, monmap)
        run("ceph-mon", *config_options, "-i", "a", "--mkfs", "--monmap", monmap)
        start("mon", "ceph-mon", *config_options, "-i", "a", "-f")
        run("ceph-osd", *config_options, "-i", "0", "--mkfs", "--osd-uuid", osd, "--no-mon-config")
        ceph = ("ceph", *config_options, "--connect-timeout", str(int(_WAIT_S)))
        run(*ceph, "osd", "new", osd)
        run(*ceph, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=local")
        start("osd", "ceph-osd", *config_options, "-i", "0", "-f")
        _until(lambda: " 1 up" in run(*ceph, "osd", "stat"))
        run(
            *(
                "radosgw-admin",
                *config_options,
                "user",
                "create",
                "--uid=test",
                "--display-name=test",
            ),
            *(f"--access-key={KEY}", f"--secret-key={SECRET}"),
        )
        start("rgw", "radosgw", *config_options, "-n", "client.rgw", "-f")
        address = f"http://127.0.0.1:{port}"
        _until(lambda: _responds(address))
        yield address
    finally:
        for process in reversed(running):
            process.kill()
            process.wait(_WAIT_S)


def _until(is_ready: object, wait_s: float = _WAIT_S) -> None:
    end = time.monotonic() + wait_s
    while not is_ready():  # type: ignore[operator]
        assert time.monotonic() < end, "Ceph did not start in time"
        time.sleep(0.1)


def _responds(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=2):
            return True
    except OSError:
        return False


def environment(address: str) -> dict[str, str]:
    """Environment of a new process whose S3 clients use the gateway."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
