from __future__ import annotations

from pathlib import Path

from appliance.hardware import chip

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu sse avx2 fma f16c avx512f

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu sse avx2 fma f16c
"""
RK3588 = """processor\t: 0
Features\t: fp asimd aes asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 4
Features\t: fp asimd aes asimddp asimdhp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


def test_a_processor_has_what_all_of_its_cores_have() -> None:
    found = chip.parse(X86, architecture="x86_64")
    assert found.name == "Intel(R) Xeon(R) Processor @ 2.80GHz"
    assert "avx2" in found.features
    assert "avx512f" not in found.features
    assert found.mark == "x86_64 Intel(R) Xeon(R) Processor @ 2.80GHz, 2 cores (avx2 f16c fma)"


def test_big_and_little_cores_are_named_by_their_numbers() -> None:
    found = chip.parse(RK3588, architecture="aarch64")
    assert found.name == "implementer 0x41 part 0xd05 + implementer 0x41 part 0xd0b"
    assert found.mark.endswith(", 2 cores (asimd asimddp)")


def test_instructions_that_decide_nothing_make_no_other_chip() -> None:
    newer_kernel = X86.replace("fpu sse", "fpu sse invented")
    assert chip.parse(newer_kernel, architecture="x86_64").mark == chip.parse(X86, architecture="x86_64").mark


def test_a_tree_without_processors_reads_as_a_chip_of_no_features(tmp_path: Path) -> None:
    found = chip.read(tmp_path)
    assert (found.features, found.cores, found.name) == (frozenset(), 0, "")


def test_garbage_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_bytes(b"\xff\x00flags : \nflags\t: avx2\x80\n" * 3)
    assert chip.read(tmp_path).cores == 0
