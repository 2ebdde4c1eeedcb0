"""The command line against a real daemon, for the end-to-end tests of the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.daemon import Daemon

OUTPOST = Path(sys.executable).parent / "outpost"


def argv(daemon: Daemon, *arguments: str) -> list[str]:
    return [str(OUTPOST), arguments[0], "--data", str(daemon.data), *arguments[1:]]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": str(home)}


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(daemon, *arguments),
        env=environment(daemon.data),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outpost(daemon: Daemon, *arguments: str) -> str:
    """What it printed; the test fails unless it ended well."""
    done = command(daemon, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr + daemon.log()[-2000:]
    return done.stdout


def models(daemon: Daemon) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in json.loads(outpost(daemon, "list", "--json"))["models"]}
