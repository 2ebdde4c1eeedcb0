"""The judge's entry: `python -I -m appliance.runner.judge --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Judge → libraries → low priority → sandbox → both files → Step and Go in turn → Judged

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
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.judge import Go, Judge, JudgeOrder, Step, judge_end

_NICENESS = 5
"""Requests that are served come first; what else runs on the board does not."""


def main(argv: Sequence[str]) -> int:
    return serve_order(argv, name="judge", end=judge_end, kind=Judge, work=_work)


def _work(order: Judge, mode: str, channel: Channel[JudgeOrder]) -> None:
    # Imported before the sandbox stands, as in a runner.
    from appliance.engine.judging import judge  # noqa: PLC0415

    os.nice(_NICENESS)
    sandbox.preload()
    sandbox.enter(
        mode, model=order.model, readable=[*order.original, *order.candidate, *sandbox.system_paths()]
    )
    channel.send(
        judge(
            order,
            permit=lambda step: _permitted(channel, step),
            on_progress=progress_to(channel),
        )
    )


def _permitted(channel: Channel[JudgeOrder], step: Step) -> bool:
    channel.send(step)
    answer = channel.receive()
    if answer is None:
        raise BrokenPipeError  # nobody listens any more
    if not isinstance(answer, Go):
        raise ProtocolError(f"expected Go, got {answer!r:.200}")
    return answer.again


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
