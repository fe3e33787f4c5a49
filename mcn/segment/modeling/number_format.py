"""The number format in which networks run, chosen by the abilities of the processor."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache

import torch


def number_format(device: torch.device) -> torch.dtype:
    """The fastest format that a device computes natively.

    Returns
    -------
    torch.dtype
        bf16 on CUDA and on processors with AVX-512 BF16 or AMX; else fp32, as processors
        without bf16 instructions emulate them several times slower.
    """
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Run a network in the `number_format` of its device."""
    dtype = number_format(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Run a part in fp32 within `autocast`."""
    return torch.autocast(device.type, enabled=False)


@cache
def cpu_has_bf16() -> bool:
    """Whether bf16 is native and not disabled by `ATEN_CPU_CAPABILITY` or `ONEDNN_MAX_CPU_ISA`."""
    native = torch.cpu.get_capabilities()
    if not (native.get("avx512_bf16") or native.get("amx_bf16")):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    names = "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"
    max_isa = next((os.environ[name].upper() for name in names if name in os.environ), "ALL")
    return any(isa in max_isa for isa in ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10"))
