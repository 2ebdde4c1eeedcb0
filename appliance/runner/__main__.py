"""The runner's entry: `python -I -m appliance.runner --fd N --parent PID`. The daemon starts it and nobody
else.

    identity → renderer (its own process, made while this one is small and may still fork) → Load →
    libraries → sandbox → reader thread → model → Ready → loop, until EOF

`main` takes the engine and the renderer as arguments, so that tests run all of this with others.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msgspec import structs

from appliance.engine.interface import EngineCore
from appliance.errors import OutpostError, RunnerStartFailed, to_wire
from appliance.runner import identity, sandbox
from appliance.runner.entry import EX_SOFTWARE, leave, parse, progress
from appliance.runner.serve import Listener, Loop, last_words
from appliance.runner.template_worker import start_template_worker
from appliance.wire.channel import Channel, ProtocolError, runner_end
from appliance.wire.messages import (
    PROTOCOL,
    DaemonMessage,
    Load,
    LoadFailed,
    Ready,
    Sandbox,
    WireError,
)


class OpenEngine(Protocol):
    def __call__(self, load: Load, *, render: Any, on_progress: Callable[[float], None]) -> EngineCore:
        """Load the model. Raises `errors.OutpostError`; ModelInvalid for what the file is to blame for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a runner is made of."""

    start_renderer: Callable[[], Any]
    """Called first, in a process of one thread. It must not keep the channel's descriptor open."""
    import_engine: Callable[[], OpenEngine]
    """Imports the native libraries. Called before the sandbox stands, and must start no thread."""


def main(argv: Sequence[str], parts: Parts) -> int:
    """The exit code. 0: ended by EOF."""
    options = parse(argv, program="appliance.runner")
    identity.show_as(f"outpost-runner {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    identity.steady_heap()
    renderer = parts.start_renderer()
    channel = runner_end(socket.socket(fileno=options.fd))
    load = channel.receive()
    if load is None:
        return 0
    if not isinstance(load, Load) or load.protocol != PROTOCOL:
        raise ProtocolError(f"expected Load of protocol {PROTOCOL}, got {load!r:.200}")
    return _serve(channel, load, options.sandbox, renderer, parts)


def _serve(channel: Channel[DaemonMessage], load: Load, mode: str, renderer: Any, parts: Parts) -> int:
    started_s = time.monotonic()
    listener = Listener(channel)
    try:
        open_engine = parts.import_engine()
        sandbox.preload()
        keep = sandbox.keep_of(load, mode)
        reached = sandbox.enter(mode, model=load.model, readable=sandbox.readable_paths(load), keep=keep)
        load, missing = _fenced(load, mode, reached)
        listener.start()
        engine = open_engine(load, render=renderer, on_progress=progress(channel.send))
    except OutpostError as error:
        _load_failed(channel, error)
        return EX_SOFTWARE
    except Exception as fault:  # noqa: BLE001  # process top, load half
        last_words(fault)
        _load_failed(channel, RunnerStartFailed(model=load.model, reason=f"{type(fault).__name__}: {fault}"))
        return EX_SOFTWARE
    # PERF: what is loaded now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    channel.send(_ready(engine, reached, started_s, missing))
    loop = Loop(engine=engine, channel=channel, listener=listener, heartbeat_s=load.settings.heartbeat_s)
    with suppress(BrokenPipeError, ConnectionResetError):  # EOF, met while it spoke
        loop.run()
    engine.hibernate()
    return 0


def _fenced(load: Load, mode: str, reached: Sandbox) -> tuple[Load, str | None]:
    """Without hibernation where the fence around its directory does not stand, and why."""
    if load.hibernation is None or mode == "off" or reached.landlock_abi:
        return load, None
    return structs.replace(load, hibernation=None), "the kernel has no Landlock to fence its directory in"


def _ready(engine: EngineCore, reached: Sandbox, started_s: float, missing: str | None) -> Ready:
    load_s = time.monotonic() - started_s
    facts = structs.replace(engine.facts, hibernation_missing=missing) if missing else engine.facts
    return Ready(facts=facts, sandbox=reached, load_s=load_s, measured_bytes=_rss_bytes())


def _rss_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _load_failed(channel: Channel[DaemonMessage], error: OutpostError) -> None:
    name, fields = to_wire(error)
    channel.send(LoadFailed(error=WireError(name=name, fields=fields)))


def run(argv: Sequence[str], parts: Parts) -> None:
    """`main` as a whole process."""
    leave(lambda: main(argv, parts))


def _import_engine() -> OpenEngine:
    from appliance.engine.loader import open_engine  # noqa: PLC0415  # in a runner, and after the fork

    return open_engine


if __name__ == "__main__":
    run(sys.argv[1:], Parts(start_renderer=start_template_worker, import_engine=_import_engine))
