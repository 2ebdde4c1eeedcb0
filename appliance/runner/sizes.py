"""The sizer's entry: `python -I -m appliance.runner.sizes --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Measure → libraries → is llama.cpp as we know it? → sandbox → dry runs → Sized, and the end

In the same box as a runner. There is no cancel: whoever wants no more kills it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from appliance.runner import sandbox
from appliance.runner.child import serve_order
from appliance.runner.entry import leave
from appliance.wire.channel import Channel
from appliance.wire.sizer import sizer_end
from appliance.wire.sizes import DryRunChecked, DryRunUnavailable, Measure, Sized


def main(argv: Sequence[str]) -> int:
    return serve_order(argv, name="sizes", end=sizer_end, kind=Measure, work=_work)


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
