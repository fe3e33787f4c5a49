"""Names of segmenters are read without torch, which takes seconds to import."""

import subprocess
import sys
from pathlib import Path

import pytest

from mcn.segment.names import SegmenterError, absolute_path, with_prompts


def test_a_file_gets_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pth").touch()
    assert absolute_path("model.pth") == str(tmp_path / "model.pth")
    assert absolute_path("model.pth+grid") == f"{tmp_path / 'model.pth'}+grid"
    assert absolute_path("compact") == "compact"


def test_prompts_are_part_of_the_name() -> None:
    assert with_prompts("vit_b", "grid") == with_prompts("vit_b+proposals", "grid") == "vit_b+grid"
    assert with_prompts("vit_b", None) == "vit_b"
    with pytest.raises(SegmenterError, match="'lines' is not one of proposals, grid"):
        with_prompts("vit_b", "lines")


@pytest.mark.parametrize("module", ["mcn.segment.names", "serve.app", "serve.http.application"])
def test_what_starts_the_endpoint_loads_no_models(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True)
