"""Debian packages that this machine needs: which are missing, and apt to get them.

A need is asked of the machine, not of dpkg: a compiler from elsewhere is as good as Debian's.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from provision.bootstrap.steps import BootstrapError, run, step


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One Debian package and the question whether the machine can do without it."""

    package: str
    reason: str
    met: Callable[[], bool]


_ADMIN_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def _programs(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name, path=_ADMIN_PATH) for name in names)


def _can_make_environments() -> bool:
    return find_spec("venv") is not None and find_spec("ensurepip") is not None


def _has_seccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


TO_RUN: Final = (
    Need(package="python3-venv", reason="makes .venv", met=_can_make_environments),
    Need(package="libseccomp2", reason="boxes the runners in", met=_has_seccomp),
)
TO_BUILD: Final = (
    Need(package="build-essential", reason="compiles llama.cpp", met=_programs("gcc", "g++", "make")),
    Need(package="cmake", reason="configures llama.cpp", met=_programs("cmake")),
    Need(package="ninja-build", reason="builds llama.cpp", met=_programs("ninja")),
)
TO_TEST: Final = (
    Need(package="strace", reason="shows the store's system calls", met=_programs("strace")),
    Need(package="e2fsprogs", reason="makes and checks ext4", met=_programs("mkfs.ext4", "e2fsck")),
    Need(
        package="qemu-system-common",
        reason="logs the writes to a disk",
        met=_programs("qemu-storage-daemon"),
    ),
    Need(package="docker-registry", reason="a registry to pull from", met=_programs("docker-registry")),
    Need(package="nodejs", reason="runs strangers' clients", met=_programs("node")),
    Need(package="npm", reason="gets them", met=_programs("npm")),
    Need(package="haproxy", reason="stands before the door", met=_programs("haproxy")),
    Need(package="prometheus", reason="checks metrics and alerts (promtool)", met=_programs("promtool")),
    Need(package="skopeo", reason="a stranger's OCI tool", met=_programs("skopeo")),
    Need(package="curl", reason="runs the examples of the documents", met=_programs("curl")),
    Need(package="chromium", reason="opens the page of routes", met=_programs("chromium")),
)


def ensure(needs: Sequence[Need]) -> None:
    """Install what is missing, or raise BootstrapError with the command that would."""
    missing = [need for need in needs if not need.met()]
    if not missing:
        return
    packages = [need.package for need in missing]
    apt = _apt()
    if apt is None:
        reasons = "\n".join(f"    {need.package:16} {need.reason}" for need in missing)
        raise BootstrapError(
            f"these packages are missing, and neither root nor sudo is at hand:\n{reasons}",
            hint=f"let an administrator run: apt-get install --no-install-recommends {' '.join(packages)}",
        )
    with step(f"installing Debian packages: {' '.join(packages)}"):
        hint = "look at /etc/apt/sources.list and the network, or install them by hand"
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        run([*apt, "update"], hint=hint, env=environment)
        run([*apt, "install", "--yes", "--no-install-recommends", *packages], hint=hint, env=environment)
    if still := [need.package for need in needs if not need.met()]:
        raise BootstrapError(
            f"installed, but {sys.executable} does not see: {' '.join(still)}",
            hint="use Debian's own Python: make PYTHON=/usr/bin/python3 …",
        )


def _apt() -> list[str] | None:
    """The command that may install, or None. sudo is used only where it asks no question or somebody can
    answer.
    """
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    if shutil.which("sudo") is None:
        return None
    silent = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    if silent:
        return ["sudo", "-n", "apt-get"]
    if sys.stdin.isatty() and subprocess.run(["sudo", "-v"], check=False).returncode == 0:
        return ["sudo", "-n", "apt-get"]
    return None
