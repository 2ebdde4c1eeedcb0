"""The judge's entry: `python -I -m appliance.runner.judge --fd N --parent PID`. Started by the daemon, or by
the command line when no daemon runs.

    identity → Judge → libraries → low priority → sandbox → both files → Step and Go in turn → Judged

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
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.judge import Go, Judge, JudgeOrder, Step, judge_end
from appliance.wire.messages import LoadFailed, Loading, WireError

_NICENESS = 5
"""Requests that are served come first; what else runs on the board does not."""


def main(argv: Sequence[str]) -> int:
    """The exit code. 0: done, or not wanted any more."""
    options = parse(argv, program="appliance.runner.judge")
    identity.show_as(f"outpost-judge {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    channel = judge_end(socket.socket(fileno=options.fd))
    order = channel.receive()
    if order is None:
        return 0
    if not isinstance(order, Judge):
        raise ProtocolError(f"expected Judge, got {order!r:.200}")
    try:
        _work(order, options.sandbox, channel)
    except OutpostError as error:
        name, fields = to_wire(error)
        channel.send(LoadFailed(error=WireError(name=name, fields=fields)))
        return EX_SOFTWARE
    return 0


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
            on_progress=progress(lambda told: _send(channel, told)),
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


def _send(channel: Channel[JudgeOrder], told: Loading) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: PDEATHSIG is on its way
        channel.send(told)


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
