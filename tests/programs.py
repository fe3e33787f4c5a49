"""Programs that tests call: those of this Python's environment first, then those of the machine."""

import shutil
import sys
from pathlib import Path

import pytest


def program(name: str, cure: str) -> str:
    """Path of a program; skips where there is none, saying how to get it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing; {cure}")
    return found
