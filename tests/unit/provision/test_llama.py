from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from provision.bootstrap import llama, places
from provision.bootstrap.steps import BootstrapError

FACTS = llama.Facts(
    version="0.3.36",
    flags={"GGML_OPENMP": "OFF"},
    sdist_lock="aa",
    machine="aarch64",
    cpu="0x41-0x4-0xd0b",
    cpu_features="bb",
    libc="glibc-2.36",
    compiler="c++ (Debian 12.2.0-14) 12.2.0",
)

PI5 = """processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

processor	: 1
Features	: fp
"""

PC = """processor	: 0
model name	: AMD EPYC
flags		: fpu avx2 avx512f

processor	: 1
"""


def test_an_arm_processor_is_named_by_its_numbers() -> None:
    assert llama.parse_cpuinfo(PI5) == ("0x41-0x4-0xd0b", frozenset({"fp", "asimd", "asimddp"}))


def test_a_pc_processor_is_named_by_its_model() -> None:
    assert llama.parse_cpuinfo(PC) == ("AMD EPYC", frozenset({"fpu", "avx2", "avx512f"}))


def test_the_key_is_stable_and_readable() -> None:
    assert FACTS.key == replace(FACTS).key
    assert FACTS.key.startswith("llama_cpp_python-0.3.36-aarch64-")


@pytest.mark.parametrize(
    "other",
    [
        replace(FACTS, flags={"GGML_OPENMP": "ON"}),
        replace(FACTS, cpu_features="cc"),
        replace(FACTS, cpu="0x41-0x4-0xd0c"),
        replace(FACTS, libc="glibc-2.41"),
        replace(FACTS, compiler="c++ (Debian 14.2.0-19) 14.2.0"),
        replace(FACTS, sdist_lock="ab"),
    ],
)
def test_whatever_the_build_depends_on_changes_the_key(other: llama.Facts) -> None:
    assert other.key != FACTS.key


def test_the_build_has_no_openmp_no_rpc_and_is_native() -> None:
    assert (llama.FLAGS["GGML_OPENMP"], llama.FLAGS["GGML_RPC"], llama.FLAGS["GGML_NATIVE"]) == (
        "OFF",
        "OFF",
        "ON",
    )


def test_the_version_is_the_one_that_the_lock_pins() -> None:
    lock = (places.HERE / "llama-cpp-python.lock").read_text(encoding="utf-8")
    assert lock.startswith(f"llama-cpp-python=={llama.VERSION} ")


def kept(folder: Path, content: bytes) -> Path:
    """A finished folder in the cache, whose record says that its wheel holds b"wheel"."""
    (folder / "a.whl").write_bytes(content)
    sha256 = hashlib.sha256(b"wheel").hexdigest()
    (folder / "build.json").write_text(json.dumps({"wheel": "a.whl", "sha256": sha256}), encoding="ascii")
    return folder


def test_a_whole_wheel_is_used(tmp_path: Path) -> None:
    assert llama.wheel_in(kept(tmp_path, b"wheel")) == tmp_path / "a.whl"


def test_a_wheel_with_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match=r"a\.whl is damaged"):
        llama.wheel_in(kept(tmp_path, b"wheem"))


def test_progress_is_told_every_ten_percent_where_no_terminal_redraws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = io.StringIO()
    lines = ["-- Configuring\n", *(f"  [{step}/40] cc\n" for step in range(1, 41))]
    llama.follow(lines, copy, live=False)
    told = [line.split("]")[1].split("%")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert told == ["2", "12", "22", "32", "42", "52", "62", "72", "82", "92"]
    assert copy.getvalue() == "".join(lines)


def test_progress_is_one_redrawn_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    llama.follow(["[1/2] cc\n", "[2/2] ld\n"], io.StringIO(), live=True)
    output = capsys.readouterr().out
    assert (output.count("\r"), output.count("\n")) == (2, 1)
