"""A runner program: the real runner around a FakeEngine, or, for hostile knobs, raw nonsense on the wire.

Run as the daemon runs the real one. The knobs `ignore_eof` and `frames` (see `_misbehave`) are read here, all
other knobs by `fake_engine`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from appliance.engine.interface import EngineCore
from appliance.runner.__main__ import OpenEngine, Parts, run
from appliance.wire.channel import Channel, runner_end
from appliance.wire.messages import (
    DaemonMessage,
    Delta,
    EngineStats,
    Failed,
    Heartbeat,
    Load,
    Ready,
    Result,
    Sandbox,
    Step,
    WireError,
)
from tests.fakes.fake_engine import FakeEngine, read_knobs

_STEP = Step(deltas=[Delta(id=1, choice=0, text="x", tokens=1)])


def _import_engine() -> OpenEngine:
    def open_engine(load: Load, *, render: Any, on_progress: Callable[[float], None]) -> EngineCore:
        knobs = read_knobs(load.path)
        engine = FakeEngine(load, on_progress=on_progress)
        if "ignore_eof" in knobs:
            _be_deaf(engine)
        if "frames" in knobs:
            threading.Thread(target=_misbehave, args=(knobs["frames"],), daemon=True).start()
        return engine

    return open_engine


def _be_deaf(engine: EngineCore) -> None:
    """Ready, alive, and not interested in EOF or SIGTERM: for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = runner_end(socket.socket(fileno=os.dup(_fd())))
    sandbox = Sandbox(
        level="none", no_new_privs=False, non_dumpable=False, rlimits=False, landlock_abi=0, seccomp=False
    )
    channel.send(Ready(facts=engine.facts, sandbox=sandbox, load_s=0.0, measured_bytes=1))
    while True:
        with contextlib.suppress(OSError):
            channel.send(Heartbeat(stats=EngineStats()))
        time.sleep(0.1)


def _fd() -> int:
    return int(sys.argv[sys.argv.index("--fd") + 1])


def _misbehave(how: str) -> None:
    """Shortly after Ready, on the runner's own socket."""
    time.sleep(0.3)
    sock = socket.socket(fileno=os.dup(_fd()))
    channel = runner_end(sock)
    match how:
        case "garbage":
            sock.sendall(struct.pack("<I", 5) + b"\xc1\xff\x00zz")
        case "not_utf8":
            sock.sendall(struct.pack("<I", 3) + b"\xa2\xff\xfe")
        case "oversize":
            sock.sendall(struct.pack("<I", 0xFFFFFFFF))
        case "unknown":
            channel.send(Step(deltas=[Delta(id=999, choice=0, text="x", tokens=1)]))
        case "out_of_turn":
            channel.send(Result(id=1))
        case "wrong_choice":
            channel.send(Step(deltas=[Delta(id=1, choice=7, text="x", tokens=1)]))
        case "wrong_error":
            fields = {"waiting": 1, "limit": 1, "retry_after_s": "soon"}
            channel.send(Failed(id=1, error=WireError(name="Overloaded", fields=fields)))
        case "flood":
            _flood(channel, _STEP)
        case "heartbeats":
            _flood(channel, Heartbeat(stats=EngineStats()))
        case "trickle":
            sock.sendall(struct.pack("<I", 1000))
            while True:
                sock.sendall(b"\0")
                time.sleep(0.1)


def _flood(channel: Channel[DaemonMessage], message: Any) -> None:
    while True:
        channel.send(message)


if __name__ == "__main__":
    run(sys.argv[1:], Parts(start_renderer=lambda: None, import_engine=_import_engine))
