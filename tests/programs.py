"""Programs that tests call: those of this Python's environment first, then those of the machine."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def program(name: str, cure: str) -> str:
    """Path of a program; skips where there is none, saying how to get it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing; {cure}")
    return found


def program_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For a program of Python that imports `tests.fakes`, and starts a Ray of its own."""
    without = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    return {**without, "PYTHONPATH": str(Path(__file__).parents[1])}
