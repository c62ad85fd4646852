"""Detects the number formats for which this machine's CPU has dedicated instructions.

Everything asks `units()`. VIDEOMAE_CPU_UNITS, a comma-separated list such as "bfloat16,int8" or empty, hides all other
units, to simulate a lesser CPU; it can't add missing ones. oneDNN's own ONEDNN_MAX_CPU_ISA is respected too.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache

from videomae_cli import system

# Formats shorter than float32 that a CPU may have instructions for. int8: VNNI, AMX, or Arm's dot products.
SHORT_FORMATS = ("bfloat16", "float16", "int8")
_LIMIT = "VIDEOMAE_CPU_UNITS"
# x86 CPU features (named as in torch.cpu.get_capabilities), any of which provides fast multiplication in the format.
_X86 = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "avx10_2"),
    "float16": ("avx512_fp16", "amx_fp16", "avx10_2"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "avx_vnni_int8"),
}
# What oneDNN still uses under these limits (its documentation, "CPU Dispatcher Control"); a higher limit hides nothing.
_BELOW = {
    "SSE41": (),
    "AVX": (),
    "AVX2": (),
    "AVX512_CORE": (),
    "AVX2_VNNI": ("int8",),
    "AVX512_CORE_VNNI": ("int8",),
    "AVX512_CORE_BF16": ("bfloat16", "int8"),
}


def units() -> frozenset[str]:
    """Return the formats of `SHORT_FORMATS` that this CPU has units for, minus those hidden by the environment."""
    found = _detected()
    limit = os.environ.get(_LIMIT)
    if limit is not None:
        found &= {name.strip() for name in limit.split(",")}
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return found & frozenset(_BELOW.get(isa.upper(), SHORT_FORMATS))


@cache
def machine_name() -> str:
    """Return the CPU model and number of cores, which identify how fast this machine is."""
    return f"{system.cpu_model()}, {system.usable_cpus()} cores"


def threads() -> int:
    """Return how many threads an engine should use: torch's number if it is loaded, else what torch would choose."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if (given := os.environ.get(name, "").partition(",")[0]).isdecimal() and int(given) > 0:
            return int(given)
    return system.physical_cores()


@cache
def _detected() -> frozenset[str]:
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and (flags := system.cpu_flags()):
        return frozenset(name for name, any_of in _X86.items() if not flags.isdisjoint(any_of))
    import torch

    if x86:
        if hasattr(torch.cpu, "get_capabilities"):  # from torch 2.11 on
            features = torch.cpu.get_capabilities()
            return frozenset(name for name, any_of in _X86.items() if any(features.get(one) for one in any_of))
        asked = {"bfloat16": "_is_avx512_bf16_supported", "int8": "_is_vnni_supported"}
        return frozenset(name for name, question in asked.items() if getattr(torch.cpu, question, bool)())
    asked = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    found = {name for name, question in asked.items() if available and getattr(torch.ops.mkldnn, question)()}
    return frozenset(found | {"int8"})  # 64-bit Arm: dot products of bytes exist since Armv8.2 (2017)
