"""A boxed-in runner may keep files in one directory, and nowhere else; without the fence not even there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.runner import landlock
from appliance.runner.__main__ import _fenced
from appliance.runner.sandbox import keep_of
from appliance.wire.messages import Hibernation, Load, Placement, Sandbox

pytestmark = pytest.mark.integration

_TRIES = """
import json, os, signal, sys
from appliance.runner import landlock, sandbox
kept, other, fence = sys.argv[1:]
if fence == "broken":
    landlock.restrict = lambda *_, **__: 0
sandbox.preload()
report = sandbox.enter(
    "auto", model="m", readable=[], keep=sandbox.Keep(directory=kept, limit_bytes=4096)
)

def tried(act):
    try:
        act()
    except OSError as error:
        return error.strerror
    return "allowed"

def make(path, size=10):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while size > 0:
            size -= os.write(descriptor, bytes(size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outcomes = {
    "make": tried(lambda: make(f"{kept}/a.part")),
    "rename": tried(lambda: os.rename(f"{kept}/a.part", f"{kept}/a.kv")),
    "list": tried(lambda: os.listdir(kept)),
    "read": tried(lambda: os.close(os.open(f"{kept}/a.kv", os.O_RDONLY))),
    "remove": tried(lambda: os.unlink(f"{kept}/a.kv")),
    "past the limit": tried(lambda: make(f"{kept}/c.part", 8192)),
    "truncate": tried(lambda: os.truncate(f"{kept}/c.part", 9)),
    "make elsewhere": tried(lambda: make(f"{other}/x")),
    "overwrite elsewhere": tried(lambda: os.close(os.open(f"{other}/secret", os.O_WRONLY))),
    "remove elsewhere": tried(lambda: os.unlink(f"{other}/secret")),
    "rename elsewhere": tried(lambda: os.rename(f"{other}/secret", f"{other}/gone")),
    "move in": tried(lambda: os.rename(f"{other}/secret", f"{kept}/stolen")),
    "link": tried(lambda: os.symlink("/etc/passwd", f"{kept}/link.kv")),
    "hard link": tried(lambda: os.link(f"{other}/secret", f"{kept}/hard.kv")),
    "folder": tried(lambda: os.mkdir(f"{kept}/folder")),
    "chmod": tried(lambda: os.chmod(kept, 0o777)),
}
print(json.dumps(outcomes))
"""


def tries(tmp_path: Path, *, fence: str = "stands") -> dict[str, str]:
    kept, other = tmp_path / "kept", tmp_path / "other"
    for directory in (kept, other):
        directory.mkdir()
    (other / "secret").write_text("secret")
    ran = subprocess.run(
        [sys.executable, "-c", _TRIES, str(kept), str(other), fence],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    outcomes = json.loads(ran.stdout)
    assert isinstance(outcomes, dict)
    assert (other / "secret").read_text() == "secret"
    return outcomes


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_one_directory_can_be_kept_in_order_and_nothing_else(tmp_path: Path) -> None:
    outcomes = tries(tmp_path)
    allowed = {name for name, outcome in outcomes.items() if outcome == "allowed"}
    assert allowed == {"make", "rename", "list", "read", "remove"}
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} <= {".part"}


def test_where_the_fence_does_not_stand_the_filter_does(tmp_path: Path) -> None:
    outcomes = tries(tmp_path, fence="broken")
    assert {name for name, outcome in outcomes.items() if outcome == "allowed"} == {"list"}
    assert list((tmp_path / "kept").iterdir()) == []


def test_no_landlock_or_no_wish_leaves_the_box_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Hibernation(
        directory=str(tmp_path),
        key=b"k",
        identity="",
        limit_bytes=9,
        floor_bytes=0,
        min_tokens=1,
        write_bytes_per_min=1,
        stop_s=0.0,
    )
    load = Load(
        protocol=1,
        model="m",
        path="/m",
        placement=Placement(n_ctx_seq=1, n_seq_max=1, kv_cells=1),
        hibernation=told,
    )
    monkeypatch.setattr(landlock, "abi", lambda: 7)
    keep = keep_of(load, "auto")
    assert keep is not None
    assert (keep.directory, keep.limit_bytes) == (str(tmp_path), 9)
    assert keep_of(load, "off") is None
    assert _fenced(load, "auto", _reached(7)) == (load, None)
    assert _fenced(load, "off", _reached(0)) == (load, None)
    without, reason = _fenced(load, "auto", _reached(0))
    assert without.hibernation is None
    assert reason == "the kernel has no Landlock to fence its directory in"
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert keep_of(load, "auto") is None


def _reached(abi: int) -> Sandbox:
    return Sandbox(
        level="full", no_new_privs=True, non_dumpable=True, rlimits=True, landlock_abi=abi, seccomp=True
    )
