"""The sizer's entry: `python -I -m appliance.runner.sizes --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Measure → libraries → is llama.cpp what we know? → sandbox → dry runs → Measured*, Sized, the end

In the same box as a runner. There is no cancel: whoever wants no more kills it.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence

from appliance.errors import OutpostError, to_wire
from appliance.runner import identity, sandbox
from appliance.runner.entry import EX_SOFTWARE, leave, parse
from appliance.wire.channel import Channel
from appliance.wire.messages import LoadFailed, WireError
from appliance.wire.sizes import DryRunChecked, DryRunUnavailable, Measure, Sized, sizer_end


def main(argv: Sequence[str]) -> int:
    """The exit code. 0: done, or not wanted any more."""
    options = parse(argv, program="appliance.runner.sizes")
    identity.show_as(f"outpost-sizer {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    channel = sizer_end(socket.socket(fileno=options.fd))
    order = channel.receive()
    if order is None:
        return 0
    try:
        _work(order, options.sandbox, channel)
    except OutpostError as error:
        name, fields = to_wire(error)
        channel.send(LoadFailed(error=WireError(name=name, fields=fields)))
        return EX_SOFTWARE
    return 0


def _work(order: Measure, mode: str, channel: Channel[Measure]) -> None:
    # Imported before the sandbox stands, as in a runner.
    from appliance.engine.llama.dry_run import missing  # noqa: PLC0415
    from appliance.engine.sizing import measure  # noqa: PLC0415

    reason = missing()
    if reason is not None:
        channel.send(DryRunUnavailable(reason=reason))
        return
    sandbox.preload()
    drafts = [] if order.draft_path is None else [order.draft_path]
    readable = [order.path, *order.paths, *drafts, *sandbox.system_paths()]
    sandbox.enter(mode, model=order.model, readable=readable)
    channel.send(DryRunChecked())
    measure(order, channel.send)
    channel.send(Sized())


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
