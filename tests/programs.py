"""Programs that tests call: those of this Python environment first, then those of the machine."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def program(name: str, advice: str) -> str:
    """Path of a program; if it is missing, skips the test with advice."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing; {advice}")
    return path


def program_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment of a Python program that imports `tests.fakes` and starts its own Ray."""
    without = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    return {**without, "PYTHONPATH": str(Path(__file__).parents[1])}
