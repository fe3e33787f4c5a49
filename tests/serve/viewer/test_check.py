"""The page fits the endpoint: its types are those of the OpenAPI document."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[3] / "serve/viewer/check.py"


@pytest.mark.skipif(
    not (CHECK.parent / "node_modules/.bin/tsc").exists(),
    reason="TypeScript is not installed; run: make setup",
)
def test_the_types_of_the_page_fit_the_endpoint() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECK)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
