"""The quantiser's entry: `python -I -m appliance.runner.quantize --fd N --parent PID`. Started by the daemon,
or by the command line when no daemon runs.

    identity → Quantize → libraries → low priority → sandbox → llama.cpp → Quantized, and the end

In the same box as a runner, but for one file that it may write: the one its parent has opened for it. There
is no cancel: whoever wants no more kills it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from appliance.runner import sandbox
from appliance.runner.child import progress_to, serve_order
from appliance.runner.entry import leave
from appliance.wire.channel import Channel
from appliance.wire.quantize import Quantize, Quantized, quantizer_end

_NICENESS = 10
"""Requests that are served come first."""


def main(argv: Sequence[str]) -> int:
    return serve_order(argv, name="quantize", end=quantizer_end, kind=Quantize, work=_work)


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
        on_progress=progress_to(channel),
    )
    channel.send(Quantized(size_bytes=os.fstat(order.output_fd).st_size))


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
