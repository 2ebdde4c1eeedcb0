"""What stands behind the Makefile, as far as it needs neither network nor compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
START = ROOT / "provision/bootstrap/start"

HOLDER = """
import sys, time
from pathlib import Path
from provision.bootstrap import places
with places.exclusive(Path(sys.argv[1]), doing="holding the lock"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    print("released", flush=True)
"""


def program(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(child: subprocess.Popen[str]) -> str:
    output, _ = child.communicate(timeout=20)
    return output


@pytest.mark.integration
def test_make_alone_prints_every_target_with_its_help() -> None:
    help_text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    assert [target for target in targets if f"make {target} " not in help_text] == []


@pytest.mark.integration
def test_of_two_makes_at_once_the_second_waits_for_the_first(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    first = program("-c", HOLDER, lock, "0.6")
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    began_s = time.monotonic()
    second = program("-c", HOLDER, lock, "0")
    assert said(second).splitlines() == [
        "  another make is holding the lock; waiting for it",
        "held",
        "released",
    ]
    assert said(first) == "released\n"
    assert time.monotonic() - began_s < 15


@pytest.mark.integration
def test_a_killed_make_gives_its_lock_back(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    first = program("-c", HOLDER, lock, "60")
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    first.kill()
    said(first)
    assert said(program("-c", HOLDER, lock, "0")) == "held\nreleased\n"


@pytest.mark.integration
def test_a_python_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    old.chmod(0o755)
    done = subprocess.run(
        [START, "run"], env={**os.environ, "PYTHON": str(old)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 69
    assert done.stderr == f"error: {old} is older than 3.11; name another with PYTHON=…\n"


@pytest.mark.integration
def test_without_apt_the_missing_packages_are_named_with_the_command() -> None:
    text = """
from provision.bootstrap import debian
from provision.bootstrap.steps import BootstrapError
try:
    debian.ensure(debian.TO_BUILD)
except BootstrapError as error:
    print(error, error.hint, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "compiles llama.cpp" in done.stdout
    assert done.stdout.rstrip().endswith("--no-install-recommends build-essential cmake ninja-build")
