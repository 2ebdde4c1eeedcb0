"""`outpost` as a program, asked of a fake daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.fake_daemon import FakeDaemon

OUTPOST = [sys.executable, "-m", "appliance"]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


def outpost(
    daemon: FakeDaemon | None, home: Path, *arguments: str, piped: str | bytes = b"", **env: str
) -> subprocess.CompletedProcess[str]:
    if daemon is not None:
        env.setdefault("OUTPOST_HOST", daemon.address)
    done = subprocess.run(
        [*OUTPOST, *arguments],
        input=piped.encode() if isinstance(piped, str) else piped,
        env=environment(home, **env),
        cwd=home,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(daemon: FakeDaemon, home: Path, arguments: Sequence[str], *, stdin: int) -> subprocess.Popen[bytes]:
    env = environment(home, OUTPOST_HOST=daemon.address)
    return subprocess.Popen(
        [*OUTPOST, *arguments], env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def one_line(text: str) -> str:
    """The one line of `text`, without the program's name."""
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert text.startswith("outpost: ")
    return text.removeprefix("outpost: ").strip()


def run(
    *arguments: str, env: dict[str, str], cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*OUTPOST, *arguments],
        input=stdin,
        env=env,
        cwd=cwd,
        capture_output=True,
        timeout=40,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


HEAVY = {"asyncio", "falcon", "httpx", "prompt_toolkit", "pydantic", "structlog", "urllib3", "waitress"}


SLOW = {
    "asyncio",
    "concurrent.futures",
    "email",
    "http.client",
    "importlib.metadata",
    "inspect",
    "ssl",
    "uuid",
}
"""Of the standard library: milliseconds each, most of them for what they load in turn."""


def loaded_modules(home: Path, *arguments: str, env: dict[str, str]) -> set[str]:
    """The modules that the process of this command has loaded when it ends."""
    code = (
        "import sys\nfrom appliance.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\nprint(*sys.modules, file=sys.stderr)"
    )
    told = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(told, env=env, cwd=home, capture_output=True, text=True, timeout=30, check=True)
    return set(done.stderr.split())
