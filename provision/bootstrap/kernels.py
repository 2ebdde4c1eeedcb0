"""Our matrix kernels, compiled against the llama.cpp that is installed.

    CACHE/headers/llama.cpp-VERSION/     the headers of the pinned sdist that an extension of ggml includes
    CACHE/kernels/KEY/                   the library, and its SHA-256
    .venv/lib/outpost/                   a copy of it, where the runner looks

KEY names the wheel and the sources: another llama.cpp, processor, compiler or source is another library.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Final

from provision.bootstrap import llama, places
from provision.bootstrap.environment import digest_of, stamp, stamped
from provision.bootstrap.steps import BootstrapError, run, say, step

SOURCES: Final = places.ROOT / "appliance/engine/llama/kernel_sources"
NAME: Final = "libggml-outpost.so"
_DIGEST: Final = "sha256"
_NEEDED: Final = frozenset({"avx2", "fma", "f16c"})
_FLAGS: Final = ("-O3", "-std=c++17", "-fPIC", "-shared")
_WARNINGS: Final = ("-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-Wno-uninitialized")  # GCC bug 105593
_HEADERS: Final = ("ggml/include", "ggml/src", "ggml/src/ggml-cpu")
_HINT: Final = "the compiler's words are above; without this step llama.cpp would compute alone"


def ensure(wheel_key: str) -> None:
    """Have the kernels in .venv, or say why this machine has none. Raises BootstrapError."""
    key = digest_of([wheel_key.encode(), " ".join(_FLAGS).encode(), _DIGEST.encode(), *_source_bytes()])[:16]
    if stamped("kernels", key):
        return
    with places.exclusive(places.ROOT / ".cache/environment.lock", doing="setting up .venv"):
        target = places.VENV / "lib/outpost" / NAME
        target.unlink(missing_ok=True)
        if (lacking := lacking_here()) is not None:
            say(f"  no kernels of our own for this processor ({lacking}): llama.cpp computes alone")
        elif (library := _built(key)) is None:
            say("  no compiler for our kernels: llama.cpp computes alone until `make` finds one")
            return
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        stamp("kernels", key)


def lacking_here() -> str | None:
    """What this machine's processor lacks for them; None: nothing."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return lacks(llama.parse_cpuinfo(told)[1])


def lacks(features: AbstractSet[str]) -> str | None:
    """What the processor lacks for them."""
    missing = sorted(_NEEDED - features)
    return f"it has no {', '.join(missing)}" if missing else None


def _source_bytes() -> list[bytes]:
    files = sorted(SOURCES.iterdir())
    return [part for file in files for part in (file.name.encode(), file.read_bytes())]


def _built(key: str) -> Path | None:
    """From the cache, or compiled now. A machine without a compiler has its llama.cpp out of the cache, too,
    and shall not need one for this: None.
    """
    folder = places.cache() / "kernels" / key
    if not folder.exists() and llama.read_facts().compiler is None:
        return None
    with places.exclusive(folder.parent / f".{key}.lock", doing="compiling the kernels"):
        if not folder.exists():
            headers = headers_folder()
            with (
                step("compiling the kernels"),
                tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as work,
            ):
                result = Path(work) / "result"
                result.mkdir()
                compile_to(result / NAME, headers=headers)
                (result / _DIGEST).write_text(places.sha256_of(result / NAME), encoding="ascii")
                for file in result.iterdir():
                    places.flush(file)
                places.place(result, folder)
    return checked(folder)


def checked(folder: Path) -> Path:
    """The library in a finished folder, after its digest was compared with the one it was built with."""
    library = folder / NAME
    if places.sha256_of(library) != (folder / _DIGEST).read_text(encoding="ascii"):
        raise BootstrapError(f"{library} is damaged", hint=f"remove {folder} and run make again")
    return library


def compile_to(target: Path, *, headers: Path, processor: str = "native") -> None:
    """Linked to ggml by name alone: in the runner it is loaded already. `processor`: as of -march."""
    (libraries,) = places.VENV.glob("lib/python3*/site-packages/llama_cpp/lib")
    includes = [argument for name in _HEADERS for argument in ("-isystem", str(headers / name))]
    linked = [f"-L{libraries}", "-lggml-cpu", "-lggml-base"]
    source = str(SOURCES / "buffer_type.cpp")
    compiler = os.environ.get("CXX", "c++")
    run(
        [compiler, f"-march={processor}", *_FLAGS, *_WARNINGS, *includes, source, "-o", str(target), *linked],
        hint=_HINT,
    )


def headers_folder() -> Path:
    """Unpacked from the pinned sdist, which is fetched by its hash."""
    folder = places.cache() / "headers" / f"llama.cpp-{llama.VERSION}"
    with places.exclusive(folder.parent / ".lock", doing="fetching headers"):
        if folder.exists():
            return folder
        with (
            step(f"fetching the headers of llama-cpp-python {llama.VERSION}"),
            tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as work,
        ):
            llama.download_sdist(Path(work) / "sdist")
            (sdist,) = (Path(work) / "sdist").glob("*.tar.gz")
            result = Path(work) / "result"
            unpack_headers(sdist, result)
            places.place(result, folder)
    return folder


def unpack_headers(sdist: Path, target: Path) -> None:
    """The `.h` files of the folders that are included, without the way to them."""
    found = 0
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            inner = PurePosixPath(*path.parts[3:])  # llama_cpp_python-VERSION/vendor/llama.cpp/…
            if not member.isfile() or path.suffix != ".h" or str(inner.parent) not in _HEADERS:
                continue
            content = archive.extractfile(member)
            assert content is not None
            place = target / inner
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.read())
            places.flush(place)
            found += 1
    if not found:
        raise BootstrapError(
            f"{sdist.name} holds no headers of ggml", hint="remove the cache and run make again"
        )
