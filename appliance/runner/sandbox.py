"""Boxing a runner in, before it opens a file from outside.

The order matters: import all libraries (pyseccomp looks for its library by running programs), then rlimits,
no_new_privs,
non-dumpable, Landlock, seccomp; then start threads, then open the model. Landlock holds only for the
calling thread and those it starts later, which is why nothing may have started threads before.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import RunnerStartFailed
from appliance.runner import identity, landlock
from appliance.wire.messages import Load, Sandbox

MODES = ("auto", "strict", "off")
"""auto: as far as the kernel goes. strict: no runner without all of it. off: none (a debugger, a strange
board)."""

_FILTER_MODULE = "appliance.runner.seccomp_filter"
"""Imported late: pyseccomp raises where there is no libseccomp; that is to be reported, not to be fatal."""
_NOFILE = 64
_SYSTEM_PATHS = (
    # shared libraries, and the file the loader finds them by
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    # what the engine reads of the board: cores and their load, memory, its own usage. Not /proc as a whole:
    # other processes' environments are there.
    *("/sys/devices/system", "/proc/self", "/proc/stat", "/proc/loadavg", "/proc/meminfo", "/proc/cpuinfo"),
    *("/proc/pressure", "/proc/sys/kernel/osrelease", "/dev/null", "/dev/zero", "/dev/urandom"),
)


def readable_paths(load: Load) -> list[str]:
    """The model's own files, and what Python and its libraries may still want to read."""
    of_model = [load.path, *load.paths, *(adapter.path for adapter in load.adapters)]
    if load.draft_path is not None:
        of_model.append(load.draft_path)
    return [*of_model, *system_paths()]


def system_paths() -> list[str]:
    """What Python and its libraries may still want to read."""
    return [*installation_paths(), *_SYSTEM_PATHS]


def installation_paths() -> list[str]:
    """Python, its packages and this one: nothing that is not public."""
    installation = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    installation.add(str(Path(os.__file__).parent))
    installation.add(str(Path(__file__).parents[1]))
    return sorted(installation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The one file that a quantiser may write."""

    path: str
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The one directory in which a runner may keep files."""

    directory: str
    limit_bytes: int
    """Of each file."""


def keep_of(load: Load, mode: str) -> Keep | None:
    """What the box must leave open for hibernation. None: nothing, also where the kernel has no Landlock: no
    other fence tells one directory from another, and no prefix is worth that.
    """
    rules = load.hibernation
    if rules is None or mode == "off" or landlock.abi() == 0:
        return None
    return Keep(directory=rules.directory, limit_bytes=rules.limit_bytes)


def enter(
    mode: str,
    *,
    model: str,
    readable: Iterable[str],
    output: Output | None = None,
    keep: Keep | None = None,
) -> Sandbox:
    """Box this process in for good; returns how far it got. Main thread, before any other exists.

    `output`, `keep`: writing is denied by Landlock alone then, and so only as far as the kernel has it.

    Raises RunnerStartFailed in mode strict when anything is missing.
    """
    if mode == "off":
        return _report(reached={}, landlock_abi=0)
    abi = 0
    writers = [one for one in (output, keep) if one is not None]

    def fence_files() -> None:
        nonlocal abi
        abi = landlock.restrict(
            readable,
            writable=() if output is None else (output.path,),
            directories=() if keep is None else (keep.directory,),
        )
        if abi == 0:
            raise OSError("the kernel has no Landlock")

    def may_keep() -> bool:
        return keep is not None and abi > 0  # where the fence does not stand, the filter does

    steps: dict[str, Callable[[], None]] = {
        "rlimits": lambda: _limit(max(one.limit_bytes for one in writers) if writers else 0),
        "no_new_privs": lambda: _set(identity.PR_SET_NO_NEW_PRIVS, 1),
        "non_dumpable": lambda: _set(identity.PR_SET_DUMPABLE, 0),
        "one_thread": _check_threads,
        "landlock": fence_files,
        "seccomp": lambda: filter_calls(may_write=output is not None or may_keep(), may_keep=may_keep()),
    }
    report = _report(reached={name: attempt(step) for name, step in steps.items()}, landlock_abi=abi)
    if mode == "strict" and report.level != "full":
        raise RunnerStartFailed(
            model=model, reason=f"sandbox is strict, and this is missing: {', '.join(report.missing)}"
        )
    return report


def preload() -> None:
    """Import what the sandbox itself needs, while that is still allowed."""
    with contextlib.suppress(ImportError, OSError, RuntimeError):  # no libseccomp: `enter` will report it
        importlib.import_module(_FILTER_MODULE)


def attempt(step: Callable[[], object]) -> bool:
    """Whether `step` could be taken on this kernel."""
    try:
        step()
    except (OSError, ValueError, RuntimeError, ImportError):
        return False
    return True


def _limit(file_bytes: int) -> None:
    """No core files (they hold prompts), few descriptors, no file may grow past `file_bytes`. No
    RLIMIT_AS: it would count the mapped model.
    """
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _NOFILE),
    ):
        resource.setrlimit(kind, (value, value))


def _set(option: int, value: int) -> None:
    identity.prctl(option, value)


def _check_threads() -> None:
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise OSError("a library has started threads, which Landlock would not hold")


def filter_calls(*, may_write: bool, may_keep: bool = False) -> None:
    importlib.import_module(_FILTER_MODULE).load(may_write=may_write, may_keep=may_keep)


def _report(*, reached: dict[str, bool], landlock_abi: int) -> Sandbox:
    parts = ("rlimits", "no_new_privs", "non_dumpable", "landlock", "seccomp", "one_thread")
    missing = [part for part in parts if not reached.get(part, False)]
    if landlock_abi and landlock_abi < landlock.NET_ABI:
        # Not a hole: seccomp denies sockets. Named, because the second fence is not there.
        missing.append("landlock_net")
    essential = [part for part in missing if part != "landlock_net"]
    return Sandbox(
        level="full" if not essential else "partial" if any(reached.values()) else "none",
        no_new_privs=reached.get("no_new_privs", False),
        non_dumpable=reached.get("non_dumpable", False),
        rlimits=reached.get("rlimits", False),
        landlock_abi=landlock_abi,
        seccomp=reached.get("seccomp", False),
        missing=missing,
    )
