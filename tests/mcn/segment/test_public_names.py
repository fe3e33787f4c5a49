import subprocess
import sys

import pytest

import mcn.segment


def test_the_public_names_are_importable() -> None:
    assert set(mcn.segment.__all__) <= set(dir(mcn.segment))
    for name in mcn.segment.__all__:
        assert getattr(mcn.segment, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'segment_all'"):
        mcn.segment.segment_all  # noqa: B018


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import sys, mcn.segment; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
