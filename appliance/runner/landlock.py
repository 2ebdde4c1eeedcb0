"""Landlock by ctypes: this process may from now on read the named files and nothing else of the file system.

Numbers and structs from linux/landlock.h; the three system calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from appliance.runner.identity import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_FILE = 1 << 5
_MAKE_REG = 1 << 8
_TRUNCATE = 1 << 14
_TRUNCATE_ABI = 3
_FS_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Rights each ABI adds: the first thirteen, then REFER, TRUNCATE and IOCTL_DEV."""
_NET_BIND_AND_CONNECT = 0b11
_SCOPE_SOCKETS_AND_SIGNALS = 0b11
NET_ABI = 4
SCOPE_ABI = 6


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """The kernel's Landlock ABI; 0 where it has none or does not use it."""
    version = int(
        libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    )
    return max(0, version)


def restrict(
    readable: Iterable[str], *, writable: Iterable[str] = (), directories: Iterable[str] = ()
) -> int:
    """Only `readable` (files, and directories with all below) can be opened from now on, and only to read;
    the files of `writable` also to write, and in `directories` plain files may be made, written, renamed and
    removed.

    Acts on the calling thread and those it starts later. Paths that do not exist are left out. Also denies
    TCP (from ABI 4) and signals to others (from ABI 6). Returns the ABI used; 0: the kernel has no Landlock.
    Raises OSError.
    """
    version = abi()
    if version == 0:
        return 0
    ruleset = _create(version)
    try:
        for path in readable:
            _allow(ruleset, path)
        for path in writable:
            _allow(ruleset, path, more=_WRITE_FILE | (_TRUNCATE if version >= _TRUNCATE_ABI else 0))
        for path in directories:
            _allow(ruleset, path, below=_WRITE_FILE | _MAKE_REG | _REMOVE_FILE)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _create(version: int) -> int:
    attributes = _Ruleset(
        handled_access_fs=sum(rights for since, rights in _FS_RIGHTS.items() if version >= since),
        handled_access_net=_NET_BIND_AND_CONNECT if version >= NET_ABI else 0,
        scoped=_SCOPE_SOCKETS_AND_SIGNALS if version >= SCOPE_ABI else 0,
    )
    # A kernel refuses a struct that is longer than the one it knows, unless the rest is zero: which it is.
    return _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)


def _allow(ruleset: int, path: str, *, more: int = 0, below: int = 0) -> None:
    """`more`: of a file; `below`: of all in a directory."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = _READ_FILE | (_READ_DIR | below if is_directory else more)
        rule = _PathBeneath(allowed_access=rights, parent_fd=descriptor)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock system call {number}: {os.strerror(code)}")
    return result
