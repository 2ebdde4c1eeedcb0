"""The system calls a runner has no business with, denied by seccomp (libseccomp through pyseccomp).

A deny-list: llama.cpp, numpy and Python keep what they need (reading files, memory, threads, clocks, the
one socket they have), and the ways out are closed. An allow-list would be tighter and would break with every
libc; it needs a traced run per board.
"""

from __future__ import annotations

import errno
import os

import pyseccomp as seccomp

_CLONE_THREAD = 0x00010000
_PRCTL_DENIED = (1, 4, 0x59616D61)
"""PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER: what the sandbox has set, stays."""

DENIED = {
    "another program or process": """
        execve execveat fork vfork setns unshare ptrace process_vm_readv process_vm_writev kill
        tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd
        process_madvise process_mrelease kcmp setpriority sched_setscheduler sched_setattr
    """,
    "the network, and any socket but the one it has": """
        socket socketpair connect bind listen accept accept4 sendmmsg sendmsg
    """,
    "changes of the file system": """
        creat truncate rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat
        symlink symlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
        utime utimes utimensat futimesat setxattr lsetxattr fsetxattr removexattr lremovexattr
        fremovexattr mount umount2 move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr
        chroot pivot_root chdir fchdir open_by_handle_at name_to_handle_at fanotify_init
        inotify_init1
    """,
    "large or young parts of the kernel that only attackers would want here": """
        io_uring_setup io_uring_enter io_uring_register userfaultfd bpf perf_event_open memfd_create
        memfd_secret add_key request_key keyctl vmsplice landlock_create_ruleset modify_ldt
        personality msgget semget shmget mq_open io_setup io_submit quotactl quotactl_fd
        lookup_dcookie
    """,
    "the board": """
        reboot kexec_load kexec_file_load init_module finit_module delete_module swapon swapoff
        settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname syslog acct
        ioperm iopl vhangup nfsservctl setuid setgid setreuid setregid setresuid setresgid setgroups
        capset setsid setpgid
    """,
}


NEEDED_TO_KEEP = frozenset({"rename", "renameat", "renameat2", "unlink", "unlinkat"})
"""By one that keeps a directory of its own in order; only where Landlock says which."""


def load(*, may_write: bool = False, may_keep: bool = False) -> None:
    """Install the filter on all threads of this process. Raises OSError where the kernel refuses.

    `may_write`: files may be opened for writing, as far as Landlock lets them; a filter sees no paths.
    `may_keep`: they may be renamed and removed, too, as far.
    """
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    denied = seccomp.ERRNO(errno.EPERM)
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    for names in DENIED.values():
        for name in names.split():
            if may_keep and name in NEEDED_TO_KEEP:
                continue
            _add(rules, denied, name)
    # fork by another name. clone3 hides its flags in memory, where no filter can look: as if this kernel
    # had none, so that libc makes its threads by clone.
    _add(rules, denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
    for name in ("clone3", "openat2"):
        _add(rules, seccomp.ERRNO(errno.ENOSYS), name)
    for writing in () if may_write else (os.O_WRONLY, os.O_RDWR):
        _add(rules, denied, "open", seccomp.Arg(1, seccomp.MASKED_EQ, os.O_ACCMODE, writing))
        _add(rules, denied, "openat", seccomp.Arg(2, seccomp.MASKED_EQ, os.O_ACCMODE, writing))
    # abort() raises its signal by tgkill, and must: but only in this process.
    _add(rules, denied, "tgkill", seccomp.Arg(0, seccomp.NE, os.getpid()))
    # libc asks by prlimit64 for its own limits, with no new value.
    _add(rules, denied, "prlimit64", seccomp.Arg(2, seccomp.NE, 0))
    for option in _PRCTL_DENIED:
        _add(rules, denied, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    rules.load()


def _add(rules: object, action: int, name: str, *arguments: object) -> None:
    try:
        rules.add_rule(action, name, *arguments)  # type: ignore[attr-defined]
    except (OSError, ValueError):
        # This architecture or this libseccomp has no such call; then there is nothing to deny.
        if name in _EVERYWHERE:
            raise


_EVERYWHERE = frozenset(
    {"execve", "socket", "connect", "ptrace", "clone", "openat", "unlinkat", "kill", "tgkill"}
)
"""Known to every libseccomp: a failure here is one of the filter, and must be seen."""
