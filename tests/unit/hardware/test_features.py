"""Features of processors, from the kernel's list."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hardware.features import parse_features, read_features

PI_5 = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp\n"
PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
GRACE = "Features\t: fp asimd sve asimddp i8mm sve2\n"
OLD_X86 = "vendor_id\t: GenuineIntel\nflags\t\t: fpu sse2 avx avx512f\n"
NEW_X86 = "flags\t\t: avx avx2 fma avx512f avx512cd avx512vl avx512dq avx512bw amx_int8\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (PI_5, {"neon", "dotprod"}),
        (PI_4, {"neon"}),
        (GRACE, {"neon", "dotprod", "matmul_int8"}),
        (OLD_X86, set()),
        (NEW_X86, {"avx2", "avx512", "amx_int8"}),
        ("", set()),
        ("garbage\n:\n", set()),
    ],
)
def test_the_kernels_names_become_those_of_ggml(cpuinfo: str, expected: set[str]) -> None:
    assert parse_features(cpuinfo) == expected


def test_without_the_file_nothing_is_known(tmp_path: Path) -> None:
    assert read_features(tmp_path) == frozenset()
