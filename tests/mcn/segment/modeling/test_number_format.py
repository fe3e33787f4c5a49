import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mcn
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import match
from mcn.segment.modeling import number_format as formats
from mcn.segment.segmenter import CompactSegmenter
from mcn.synthetic.renderer import TileSettings, render_tile

ROOT = Path(mcn.__file__).resolve().parents[1]
CPU = torch.device("cpu")


def test_only_one_file_mentions_bfloat16() -> None:
    mentions = [
        str(file.relative_to(ROOT))
        for folder in ("mcn", "pipelines", "serve", "benchmarks")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"bfloat16|bf16", file.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert mentions == ["mcn/segment/modeling/number_format.py"]


@pytest.fixture
def fresh_processor_cache() -> Iterator[None]:
    """Clear the cached capability of the processor before and after a test."""
    formats.cpu_has_bf16.cache_clear()
    yield
    formats.cpu_has_bf16.cache_clear()


@pytest.mark.usefixtures("fresh_processor_cache")
@pytest.mark.parametrize(
    ("native", "capability", "most", "expected"),
    [
        ({"avx512_bf16": True}, "AVX512", None, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": True}, "AVX512", None, torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "ALL", torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "default", torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "AVX512_CORE_AMX", torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "avx512_core_bf16", torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "AVX10_1_512", torch.bfloat16),
        ({"amx_bf16": True}, "AVX512", "AVX512_CORE_VNNI", torch.float32),
        ({"amx_bf16": True}, "AVX512", "AVX512_CORE", torch.float32),
        ({"amx_bf16": True}, "AVX512", "AVX2", torch.float32),
        ({"amx_bf16": True}, "AVX512", "avx2_vnni", torch.float32),
        ({"amx_bf16": True}, "AVX2", None, torch.float32),
        ({"amx_bf16": True}, "DEFAULT", None, torch.float32),
        (
            {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False},
            "AVX512",
            None,
            torch.float32,
        ),
        ({"avx2": True}, "AVX2", None, torch.float32),
        ({"neon": True}, "DEFAULT", None, torch.float32),
        ({}, "DEFAULT", None, torch.float32),
    ],
)
def test_half_precision_needs_a_supported_and_enabled_processor(
    native: dict[str, bool],
    capability: str,
    most: str | None,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: native)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    if most is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert formats.number_format(CPU) == expected


def test_a_gpu_computes_in_half_precision_and_other_devices_in_single() -> None:
    assert formats.number_format(torch.device("cuda", 1)) == torch.bfloat16
    assert formats.number_format(torch.device("meta")) == torch.float32


@pytest.mark.parametrize(
    "limit",
    [
        {"ATEN_CPU_CAPABILITY": "avx2"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    ],
)
def test_a_limited_processor_computes_in_single_precision(limit: dict[str, str]) -> None:
    """Torch reads its limits only when it loads, so another process is needed."""
    code = (
        "import torch; from mcn.segment.modeling.number_format import autocast, number_format\n"
        "cpu = torch.device('cpu')\n"
        "with autocast(cpu): print(number_format(cpu), torch.is_autocast_enabled('cpu'))"
    )
    run = subprocess.run(
        timeout=300,
        args=[sys.executable, "-c", code],
        env={**os.environ, **limit, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["torch.float32", "False"]


def test_both_formats_find_the_same_crystals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each format that the processor lacks is emulated, which is slow, so the picture is small."""
    tile = render_tile(5, TileSettings(height=128, width=160, diameter_um=2.0)).image
    segmenter = load_segmenter("compact", device="cpu")
    assert isinstance(segmenter, CompactSegmenter)
    segmenter.settings = replace(segmenter.settings, magnify_below=0.0, min_estimated_iou=0.0)
    masks_by_format = {}
    for half in (False, True):
        monkeypatch.setattr(formats, "cpu_has_bf16", lambda half=half: half)
        (masks_by_format[half],) = segmenter.segment([tile])
    assert len(masks_by_format[False]) >= 5
    overlaps = match(masks_by_format[False], masks_by_format[True], (128, 160))
    assert len(overlaps) >= 0.9 * max(len(masks_by_format[False]), len(masks_by_format[True]))
    assert np.median(overlaps) > 0.95
