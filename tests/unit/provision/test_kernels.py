from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from provision.bootstrap import environment, kernels, places
from provision.bootstrap.steps import BootstrapError


def test_a_pc_of_the_last_ten_years_can_have_them() -> None:
    assert kernels.lacks(frozenset({"fpu", "avx2", "fma", "f16c", "avx512f"})) is None


@pytest.mark.parametrize("features", [set(), {"fp", "asimd", "asimddp"}, {"avx", "f16c"}])
def test_others_are_told_what_they_lack(features: set[str]) -> None:
    told = kernels.lacks(features)
    assert told is not None
    assert "avx2" in told


def test_the_runner_looks_where_they_are_put() -> None:
    door = (kernels.SOURCES.parent / "kernels.py").read_text(encoding="utf-8")
    assert f'Path("lib") / "outpost" / "{kernels.NAME}"' in door
    assert (kernels.SOURCES / "buffer_type.cpp").is_file()


def test_headers_are_taken_from_the_sdist_and_nothing_else(tmp_path: Path) -> None:
    root = "llama_cpp_python-0.3.36/vendor/llama.cpp"
    sdist = packed(
        tmp_path / "sdist.tar.gz",
        {
            f"{root}/ggml/include/ggml.h": b"one",
            f"{root}/ggml/src/ggml-cpu/traits.h": b"two",
            f"{root}/ggml/src/ggml-cpu/arch/x86/other.h": b"no",
            f"{root}/ggml/src/ggml.c": b"no",
            f"{root}/src/llama.h": b"no",
            "../../outside.h": b"no",
        },
    )
    kernels.unpack_headers(sdist, tmp_path / "headers")
    found = {path.relative_to(tmp_path / "headers").as_posix() for path in tmp_path.rglob("*.h")}
    assert found == {"ggml/include/ggml.h", "ggml/src/ggml-cpu/traits.h"}
    assert (tmp_path / "headers/ggml/src/ggml-cpu/traits.h").read_bytes() == b"two"


def test_an_sdist_without_headers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="holds no headers"):
        kernels.unpack_headers(packed(tmp_path / "s.tar.gz", {"a/b/c/d.py": b""}), tmp_path / "headers")


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_machine_without_a_compiler_is_told_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "_STAMPS", tmp_path / "stamps")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(kernels, "lacking_here", lambda: None)
    kernels.ensure("some wheel")
    assert "no compiler" in capsys.readouterr().out
    assert not (tmp_path / ".venv/lib/outpost" / kernels.NAME).exists()
    assert not (tmp_path / "stamps/kernels").exists()


def test_a_library_with_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    library = tmp_path / kernels.NAME
    library.write_bytes(b"machine code")
    (tmp_path / "sha256").write_text(places.sha256_of(library), encoding="ascii")
    assert kernels.checked(tmp_path) == library

    library.write_bytes(b"machine codd")
    with pytest.raises(BootstrapError, match="is damaged"):
        kernels.checked(tmp_path)
