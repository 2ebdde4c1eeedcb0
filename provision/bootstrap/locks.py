"""`make lock`: write the hash-pinned locks anew from pyproject.toml, for all supported Pythons at once.

llama-cpp-python is left out: it is built by `llama.py`, from the sdist that llama-cpp-python.lock pins.
"""

from __future__ import annotations

import venv
from typing import Final

from provision.bootstrap import places
from provision.bootstrap.steps import run, step

_UV_LOCK: Final = places.HERE / "uv.lock"
_HINT: Final = "look at the network and at [project] and [dependency-groups] in pyproject.toml"
_COMMON: Final = (
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--no-emit-package=llama-cpp-python",
    # The pip of Debian 12 takes `name[extra]`, asked for by a package, for a name of its own: unless that is
    # pinned too, it looks at the newest release, which no lock has, and stops.
    "--no-strip-extras",
)
_PYPROJECT: Final = str(places.ROOT / "pyproject.toml")


def write() -> None:
    """Write the locks. requirements-dev.lock holds all of ours, two are cut from its versions; strangers'
    clients have one of their own.
    """
    tool = places.ROOT / ".cache/uv"
    with step("getting uv"):
        venv.create(tool, with_pip=True)
        pip = [str(tool / "bin/pip"), "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
        run([*pip, "-r", str(_UV_LOCK)], hint=_HINT)
    everything = str(places.ROOT / "requirements-dev.lock")
    compile_lock = [str(tool / "bin/uv"), "pip", "compile", *_COMMON]
    for name, source in (
        ("requirements-dev.lock", [_PYPROJECT, "--group=dev"]),
        ("requirements.lock", [_PYPROJECT, f"--constraints={everything}"]),
        ("requirements-tools.lock", [f"--group={_PYPROJECT}:tools", f"--constraints={everything}"]),
        ("tests/clients/requirements.lock", [f"--group={_PYPROJECT}:clients"]),
    ):
        with step(f"locking {name}"):
            run([*compile_lock, *source, f"--output-file={places.ROOT / name}"], hint=_HINT)
