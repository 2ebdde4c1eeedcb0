"""The fake runner on a kernel without Landlock: its system call does not exist, as before Linux 5.13."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pyseccomp as seccomp

rules = seccomp.SyscallFilter(seccomp.ALLOW)
rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "landlock_create_ruleset")
rules.load()
runner = Path(__file__).with_name("fake_runner.py")
os.execv(sys.executable, [sys.executable, "-I", str(runner), *sys.argv[1:]])
