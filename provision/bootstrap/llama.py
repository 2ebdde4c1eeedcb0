"""llama-cpp-python, built once from its pinned sdist with our flags; the wheel is kept outside the clone.

    CACHE/wheels/KEY/llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl
    CACHE/wheels/KEY/build.json    what KEY was made from, the wheel's SHA-256, how long it took
    CACHE/wheels/KEY/build.log     all that the build said

KEY names version, flags, processor, compiler and libc: a native build must never reach a machine that it does
not fit. The wheel holds no Python extension, so all Python versions share it. The folder gets its name by
rename when all of it is there.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from provision.bootstrap import debian, ninja, places
from provision.bootstrap.environment import digest_of
from provision.bootstrap.steps import BootstrapError, failure, is_terminal, run, say, step

VERSION: Final = "0.3.36"
FLAGS: Final[Mapping[str, str]] = {
    "GGML_CCACHE": "OFF",
    "GGML_NATIVE": "ON",
    "GGML_OPENMP": "OFF",  # its barriers collapse beside a busy neighbour: docs/adr/0004
    "GGML_RPC": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "LLAMA_OPENSSL": "OFF",  # no part of it opens a connection
}
_LOCK: Final = places.HERE / "llama-cpp-python.lock"
_BYTES_PER_JOB: Final = 1_200_000_000
"""The largest compiler process took 680 MB; a board with little memory must not swap."""
_TELL_PERCENT: Final = 10
"""Where no terminal redraws a line, one is printed this often."""
_NETWORK_HINT: Final = "look at the network and the disk, and run make again"
_HINT: Final = "the flags are in provision/bootstrap/llama.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a built wheel depends on."""

    version: str
    flags: Mapping[str, str]
    sdist_lock: str
    """Digest of the lock that pins the sdist."""
    machine: str
    cpu: str
    """Name of the processor."""
    cpu_features: str
    """Digest of the feature set that a native build may use."""
    libc: str
    compiler: str | None
    """None: there is none on this machine."""

    @property
    def key(self) -> str:
        told = json.dumps({**asdict(self), "flags": dict(self.flags)}, sort_keys=True)
        return f"llama_cpp_python-{self.version}-{self.machine}-{digest_of([told.encode()])[:16]}"


def ensure() -> tuple[Path, str]:
    """Have the wheel in the cache, and return it with its key. Builds at most once, whatever number of makes
    run.

    A machine without a compiler takes a wheel that fits in all else; only if there is none is a compiler
    installed.
    """
    facts = read_facts()
    if facts.compiler is None and (key := _fitting(facts)) is not None:
        return wheel_in(_folder(key)), key
    debian.ensure(debian.TO_BUILD)
    facts = read_facts()
    folder = _folder(facts.key)
    if not folder.exists():
        with places.exclusive(folder.parent / f".{facts.key}.lock", doing="building llama-cpp-python"):
            if not folder.exists():
                _build(folder, facts)
    return wheel_in(folder), facts.key


def download_sdist(folder: Path) -> Path:
    """Fetch the pinned sdist into `folder` by name, version and hash. Its metadata needs no build."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [str(places.PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    pip += ["--no-deps", "--no-binary=:all:", "--require-hashes", "--no-build-isolation"]
    run([*pip, "-r", str(_LOCK), "-d", str(folder)], hint=_NETWORK_HINT)
    (path,) = folder.glob("*.tar.gz")
    return path


def read_facts() -> Facts:
    """The facts of this machine now."""
    name, features = parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    return Facts(
        version=VERSION,
        flags=FLAGS,
        sdist_lock=places.sha256_of(_LOCK)[:16],
        machine=platform.machine(),
        cpu=name,
        cpu_features=digest_of([feature.encode() for feature in sorted(features)])[:16],
        libc="-".join(platform.libc_ver()),
        compiler=_compiler(),
    )


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """Name and features of the first processor in /proc/cpuinfo. ARM gives numbers for a name."""
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    arm = "-".join(fields.get(f"CPU {part}", "") for part in ("implementer", "variant", "part")).strip("-")
    return fields.get("model name") or arm, frozenset(fields.get("flags", fields.get("Features", "")).split())


def _compiler() -> str | None:
    program = os.environ.get("CXX", "c++")
    if shutil.which(program) is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", check=False).stdout
    return told.partition("\n")[0]


def _folder(key: str) -> Path:
    return places.cache() / "wheels" / key


def wheel_in(folder: Path) -> Path:
    """The wheel in a finished folder, after its digest was compared with the one recorded when it was
    built.
    """
    record = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    wheel = folder / str(record["wheel"])
    if places.sha256_of(wheel) != record["sha256"]:
        raise BootstrapError(f"{wheel} is damaged", hint=f"remove {folder} and run make again")
    return wheel


def _fitting(facts: Facts) -> str | None:
    """The key of a cached wheel that fits this machine, whatever compiler built it."""
    wanted = {**asdict(facts), "flags": dict(facts.flags), "compiler": None}
    for record in (places.cache() / "wheels").glob("*/build.json"):
        built: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))["facts"]
        if {**built, "compiler": None} == wanted:
            return record.parent.name
    return None


def _build(folder: Path, facts: Facts) -> None:
    with (
        step(f"building llama-cpp-python {VERSION} for {facts.cpu}: once, some minutes"),
        tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as work,
    ):
        result = Path(work) / "result"
        result.mkdir()
        began_s = time.monotonic()
        _compile(Path(work), result)
        (wheel,) = result.glob("*.whl")
        record = {
            "wheel": wheel.name,
            "sha256": places.sha256_of(wheel),
            "took_s": round(time.monotonic() - began_s),
            "facts": {**asdict(facts), "flags": dict(facts.flags)},
        }
        told = result / "build.json"
        told.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for file in result.iterdir():
            places.flush(file)
        places.place(result, folder)


def _compile(work: Path, result: Path) -> None:
    """Let pip fetch the sdist by its hash and build it; all output goes to build.log, its progress to the
    terminal.

    Not from pip's own cache of built wheels: that knows nothing of flags, and would hand out a build with
    others.
    """
    log = result / "build.log"
    argv = [str(places.PYTHON), "-m", "pip", "wheel", "--verbose", "--no-cache-dir", "--no-deps"]
    argv += [
        "--no-build-isolation",
        "--require-hashes",
        "--no-binary=:all:",
        "-r",
        str(_LOCK),
        "-w",
        str(result),
    ]
    environment = {
        **os.environ,
        "CMAKE_ARGS": " ".join(f"-D{name}={value}" for name, value in FLAGS.items()),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(_jobs()),
        "CMAKE_GENERATOR": "Ninja",
        "TMPDIR": str(work),  # /tmp is memory on Debian 13; sources and objects take 700 MB
    }
    with (
        log.open("w", encoding="utf-8") as copy,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            encoding="utf-8",
            errors="replace",
        ) as child,
    ):
        follow(child.stdout or (), copy, live=is_terminal())
    if child.returncode != 0:
        kept = shutil.copy(log, places.cache() / "wheels" / "failed-build.log")
        raise failure(
            argv[2:5],
            child.returncode,
            log.read_text(encoding="utf-8"),
            hint=f"{kept} has all of it; {_HINT}",
        )


def follow(lines: Iterable[str], copy: TextIO, *, live: bool) -> None:
    """Copy the build's output, and show how far it is: redrawn on a terminal, now and then elsewhere."""
    began_s: float | None = None
    told_percent = -_TELL_PERCENT
    for line in lines:
        copy.write(line)
        progress = ninja.parse(line)
        if progress is None:
            continue
        began_s = began_s if began_s is not None else time.monotonic()
        text = ninja.render(progress, elapsed_s=time.monotonic() - began_s)
        if live:
            print(f"\r  {text}\x1b[K", end="", flush=True)
        elif progress.percent >= told_percent + _TELL_PERCENT:
            told_percent = progress.percent
            say(f"  {text}")
    if live and began_s is not None:
        say("")


def _jobs() -> int:
    """As many compilers at once as there are cores, and memory for them."""
    cores = len(os.sched_getaffinity(0))
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores, memory_bytes // _BYTES_PER_JOB))
