"""The quantiser's entry: `python -I -m appliance.runner.quantize --fd N --parent PID`. Started by the daemon,
or by the command line when no daemon runs.

    identity → Quantize → libraries → low priority → sandbox → llama.cpp → Quantized, and the end

In the same box as a runner, but for one file that it may write: the one its parent has opened for it. There
is no cancel: whoever wants no more kills it.
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
from appliance.wire.channel import Channel
from appliance.wire.messages import LoadFailed, Loading, WireError
from appliance.wire.quantize import Quantize, Quantized, quantizer_end

_NICENESS = 10
"""Requests that are served come first."""


def main(argv: Sequence[str]) -> int:
    """The exit code. 0: done, or not wanted any more."""
    options = parse(argv, program="appliance.runner.quantize")
    identity.show_as(f"outpost-quantize {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    channel = quantizer_end(socket.socket(fileno=options.fd))
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


def _work(order: Quantize, mode: str, channel: Channel[Quantize]) -> None:
    # Imported before the sandbox stands, as in a runner.
    from appliance.engine.llama.quantize import quantize  # noqa: PLC0415

    output = f"/proc/self/fd/{order.output_fd}"
    os.nice(_NICENESS)
    sandbox.preload()
    sandbox.enter(
        mode,
        model=order.model,
        readable=[*order.paths, *sandbox.system_paths()],
        output=sandbox.Output(path=output, limit_bytes=order.output_limit_bytes),
    )
    quantize(
        order.path,
        output,
        model=order.model,
        kind=order.kind,
        allow_requantize=order.allow_requantize,
        n_threads=order.n_threads,
        on_progress=progress(lambda told: _send(channel, told)),
    )
    channel.send(Quantized(size_bytes=os.fstat(order.output_fd).st_size))


def _send(channel: Channel[Quantize], told: Loading) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: PDEATHSIG is on its way
        channel.send(told)


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
