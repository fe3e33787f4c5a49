"""The check of a wheel detects missing and superfluous files."""

import zipfile
from pathlib import Path

import pytest

from deploy.release.check import SHIPPED, missing_from


def wheel_of(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return path


@pytest.fixture
def names() -> list[str]:
    return [f"mcn-0.1.0{each}" if each.startswith(".") else each for each in SHIPPED]


def test_a_complete_wheel(tmp_path: Path, names: list[str]) -> None:
    assert missing_from(wheel_of(tmp_path / "a.whl", names)) == []


def test_a_wheel_without_weights_or_notices(tmp_path: Path, names: list[str]) -> None:
    remaining = [n for n in names if not n.endswith(("compact.safetensors", "NOTICES.md"))]
    assert missing_from(wheel_of(tmp_path / "a.whl", remaining)) == [
        "mcn/weights/compact.safetensors",
        ".dist-info/licenses/THIRD_PARTY_NOTICES.md",
    ]


def test_a_wheel_with_other_folders(tmp_path: Path, names: list[str]) -> None:
    assert missing_from(wheel_of(tmp_path / "a.whl", [*names, "tests/test_it.py"])) == ["tests"]
