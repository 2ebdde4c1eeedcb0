"""The bench's entry: `python -I -m appliance.runner.bench --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Bench → libraries → low priority → sandbox → Take, answered by Taken or NotTaken, and again

In the same box as a runner, and with nothing that it may write. There is no cancel: whoever wants no more
kills it; whoever needs the machine stops it (SIGSTOP) and lets it go on later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from appliance.errors import OutpostError, to_wire
from appliance.runner import identity, sandbox
from appliance.runner.entry import EX_SOFTWARE, leave, parse, progress
from appliance.wire.calibrate import Bench, BenchOrder, Take, bench_end
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import LoadFailed, Loading, WireError

_NICENESS = 5
"""Requests that are served come first; what else runs on the board does not."""


def main(argv: Sequence[str]) -> int:
    """The exit code. 0: done, or not wanted any more."""
    options = parse(argv, program="appliance.runner.bench")
    identity.show_as(f"outpost-bench {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    channel = bench_end(socket.socket(fileno=options.fd))
    order = channel.receive()
    if order is None:
        return 0
    if not isinstance(order, Bench):
        raise ProtocolError(f"expected Bench, got {order!r:.200}")
    try:
        _work(order, options.sandbox, channel)
    except OutpostError as error:
        name, fields = to_wire(error)
        channel.send(LoadFailed(error=WireError(name=name, fields=fields)))
        return EX_SOFTWARE
    return 0


def _work(order: Bench, mode: str, channel: Channel[BenchOrder]) -> None:
    # Imported before the sandbox stands, as in a runner.
    from appliance.engine.benching import Benches  # noqa: PLC0415

    os.nice(_NICENESS)
    sandbox.preload()
    sandbox.enter(mode, model=order.model, readable=[*order.paths, *sandbox.system_paths()])
    benches = Benches(order, progress(lambda told: _send(channel, told)))
    while (take := channel.receive()) is not None:
        if not isinstance(take, Take):
            raise ProtocolError(f"expected Take, got {take!r:.200}")
        channel.send(benches.take(take))


def _send(channel: Channel[BenchOrder], told: Loading) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: PDEATHSIG is on its way
        channel.send(told)


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
