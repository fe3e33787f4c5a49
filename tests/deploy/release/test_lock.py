"""The locks have every package of the images, and nothing else can be installed."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.release.lock import LOCKS, ROOT, locked_wheels, supported_tags, text_of
from deploy.release.notices import run_time_packages

from ...waiting import DEADLINE_S

COMMON, CPU, GPU = (LOCKS / f"{name}.lock" for name in ("requirements", "torch-cpu", "torch-gpu"))


def packages_of(lock: Path) -> dict[str, str]:
    """Name → version; every package has a hash."""
    text = lock.read_text("utf-8").replace(" \\\n    ", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line), line
    return dict(line.split()[0].split("==") for line in lines)


def test_the_locks_have_the_tested_versions() -> None:
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"))
    tested = {canonicalize_name(name): version for name, version in pins}
    locked = packages_of(COMMON) | packages_of(GPU)
    differing = {n: v for n, v in locked.items() if tested.get(n, v) != v}
    assert differing == {}
    assert packages_of(CPU) == {"torch": f"{tested['torch']}+cpu"}


def test_the_locks_have_every_package_and_no_other() -> None:
    locked = packages_of(COMMON) | packages_of(CPU)
    assert set(locked) == set(run_time_packages())
    only_gpu = set(packages_of(GPU)) - {"torch"}
    assert {name.split("-")[0] for name in only_gpu} == {"nvidia", "cuda", "triton"}


def test_a_wheel_for_another_machine_is_left_out() -> None:
    def wheel(tags: str, digest: str) -> dict[str, object]:
        return {"url": f"a/x-1.0-{tags}.whl", "hashes": {"sha256": digest * 64}}

    tags = supported_tags()
    wheels = [
        wheel("cp311-cp311-manylinux_2_28_x86_64", "1"),
        wheel("cp312-abi3-manylinux_2_17_x86_64", "2"),
        wheel("cp311-cp311-macosx_11_0_arm64", "3"),
        wheel("cp310-cp310-manylinux_2_28_x86_64", "4"),
    ]
    locked = locked_wheels([{"name": "x", "version": "1.0", "wheels": wheels}], tags)
    assert locked == {"x": ("1.0", {"1" * 64, "2" * 64})}
    with pytest.raises(LookupError, match=r"x 1\.0: no wheel"):
        locked_wheels([{"name": "x", "version": "1.0", "wheels": wheels[2:]}], tags)


@pytest.mark.long
@pytest.mark.parametrize("changed", [False, True])
def test_a_file_with_another_hash_is_refused(tmp_path: Path, changed: bool) -> None:
    """With the images' own script, and packages of this test."""
    shutil.copy(LOCKS / "packages.sh", tmp_path)
    for name in ("torch", "other"):
        wheel = tmp_path / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(
                f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
            )
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lock = "torch-gpu.lock" if name == "torch" else "requirements.lock"
        (tmp_path / lock).write_text(text_of({name: ("1.0", {digest})}))
    if changed:
        with zipfile.ZipFile(tmp_path / "other-1.0-py3-none-any.whl", "a") as archive:
            archive.writestr("other.py", "malice = True")
    done = subprocess.run(
        ["sh", tmp_path / "packages.sh", tmp_path / "venv", "gpu"],
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(tmp_path),
            "PIP_CONFIG_FILE": "/dev/null",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode != 0) == changed, done.stderr
    assert ("DO NOT MATCH THE HASHES" in done.stderr) == changed
