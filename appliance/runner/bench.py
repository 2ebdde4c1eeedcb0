"""The bench's entry: `python -I -m appliance.runner.bench --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Bench → libraries → low priority → sandbox → Take, answered by Taken or NotTaken, and again

In the same box as a runner, and with nothing that it may write. There is no cancel: whoever wants no more
kills it; whoever needs the machine stops it (SIGSTOP) and lets it go on later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from appliance.runner import sandbox
from appliance.runner.child import progress_to, serve_order
from appliance.runner.entry import leave
from appliance.wire.calibrate import Bench, BenchOrder, Take, bench_end
from appliance.wire.channel import Channel, ProtocolError

_NICENESS = 5
"""Requests that are served come first; what else runs on the board does not."""


def main(argv: Sequence[str]) -> int:
    return serve_order(argv, name="bench", end=bench_end, kind=Bench, work=_work)


def _work(order: Bench, mode: str, channel: Channel[BenchOrder]) -> None:
    # Imported before the sandbox stands, as in a runner.
    from appliance.engine.benching import Benches  # noqa: PLC0415

    os.nice(_NICENESS)
    sandbox.preload()
    sandbox.enter(mode, model=order.model, readable=[*order.paths, *sandbox.system_paths()])
    benches = Benches(order, progress_to(channel))
    while (take := channel.receive()) is not None:
        if not isinstance(take, Take):
            raise ProtocolError(f"expected Take, got {take!r:.200}")
        channel.send(benches.take(take))


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
