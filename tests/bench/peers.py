"""The peers we are measured against, built once from the very tree our own wheel is built from, and kept in a
cache.

    ${XDG_CACHE_HOME:-~/.cache}/outpost/peer/<key>/
        bin/          llama-server, llama-batched-bench and their shared libraries
        example/      server.py (llama-cpp-python's examples/server) and a virtual env for it
        complete      written last; without it the folder is built again

The key is a digest of the sdist, the flags, the processor and the compiler. llama.cpp is built with
upstream's default flags, because that is what people run: OpenMP on, native code for this processor. Only
downloads during the build are switched off. A lock makes a second caller wait instead of building twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provision.bootstrap import debian, llama, places
from provision.bootstrap.environment import digest_of
from tests.bench.load import BenchError

CMAKE_FLAGS: Final = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF")
"""Those that decide speed; everything else is upstream's default."""
_BUILD_FLAGS: Final = (
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # downloads
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",  # the result is moved into place
)
_TARGETS: Final = ("llama-server", "llama-batched-bench")
_EXAMPLE_PACKAGES: Final = (
    "fastapi",
    "jinja2",
    "numpy",
    "openai",
    "pydantic",
    "safetensors",
    "uvicorn",
    "websockets",
)
"""Those of the script's own header."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the built peers are."""

    root: Path

    @property
    def llama_server(self) -> Path:
        return self.root / "bin" / "llama-server"

    @property
    def llama_batched_bench(self) -> Path:
        return self.root / "bin" / "llama-batched-bench"

    @property
    def library_env(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.root / "bin")}

    @property
    def example_server(self) -> Path:
        return self.root / "example" / "server.py"

    @property
    def example_python(self) -> Path:
        return self.root / "example" / "venv" / "bin" / "python"


def provide() -> Peers:
    """The peers, built first when they are missing (minutes; progress goes to the terminal). Raises
    BenchError.
    """
    debian.ensure(debian.TO_BUILD)
    root = places.cache() / "peer" / _key()
    root.mkdir(parents=True, exist_ok=True)
    with places.exclusive(root.with_suffix(".lock"), doing="building the benchmark's peers"):
        if not (root / "complete").exists():
            try:
                _build(root)
            except subprocess.CalledProcessError as error:
                raise BenchError(
                    f"{error.cmd[0]} failed with {error.returncode} while building the peers"
                ) from error
            (root / "complete").write_text("\n".join([*CMAKE_FLAGS, *_BUILD_FLAGS, ""]))
    return Peers(root)


def _key() -> str:
    facts = llama.read_facts()
    parts = [
        facts.sdist_lock,
        facts.cpu_features,
        facts.libc,
        str(facts.compiler),
        *CMAKE_FLAGS,
        *_EXAMPLE_PACKAGES,
    ]
    return f"llama.cpp-{facts.version}-{facts.machine}-{digest_of([part.encode() for part in parts])[:16]}"


def _build(root: Path) -> None:
    source = root / "source"
    if not (root / "bin" / _TARGETS[-1]).exists() or not (root / "example" / "server.py").exists():
        _unpack(llama.download_sdist(root / "sdist"), source)
    if not (root / "bin" / _TARGETS[-1]).exists():
        _build_llama_cpp(source / "vendor" / "llama.cpp", root)
    if not (root / "example" / "server.py").exists():
        (root / "example").mkdir(exist_ok=True)
        shutil.copy(source / "examples" / "server" / "server.py", root / "example")
    _build_example_env(root / "example" / "venv")
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(root / "sdist", ignore_errors=True)


def _unpack(sdist: Path, source: Path) -> None:
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(source.with_suffix(".tmp"), filter="data")
    (source.with_suffix(".tmp") / f"llama_cpp_python-{llama.VERSION}").rename(source)
    source.with_suffix(".tmp").rmdir()


def _build_llama_cpp(tree: Path, root: Path) -> None:
    print(f"building {' and '.join(_TARGETS)}: about six minutes on two cores, once", flush=True)
    build = tree / "build"
    _run(["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(build), *CMAKE_FLAGS, *_BUILD_FLAGS])
    _run(["cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 1), "--target", *_TARGETS])
    shutil.copytree(build / "bin", root / "bin", symlinks=True)


def _build_example_env(folder: Path) -> None:
    """A virtual env of its own, with the very wheel of llama-cpp-python that serves us."""
    venv.create(folder, with_pip=True, clear=True)
    _run([str(folder / "bin" / "pip"), "install", "--quiet", *_EXAMPLE_PACKAGES, "diskcache"])
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    shutil.copytree(_our_llama_cpp(), site / "llama_cpp")


def _our_llama_cpp() -> Path:
    import llama_cpp

    assert llama_cpp.__file__ is not None
    return Path(llama_cpp.__file__).parent


def _run(command: list[str]) -> None:
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True)
