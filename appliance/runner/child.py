"""What a throw-away child does around its work: one order in, answers out, and an error of ours told as such.

    identity → the order → `work` (libraries, sandbox, the files) → the exit code

There is no cancel: whoever wants no more kills it. Run as a process by `entry.leave`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from appliance.errors import OutpostError, to_wire
from appliance.runner import identity
from appliance.runner.entry import EX_SOFTWARE, parse, progress
from appliance.wire.channel import Channel, ProtocolError
from appliance.wire.messages import LoadFailed, Loading, WireError

Order = TypeVar("Order")


def serve_order(
    argv: Sequence[str],
    *,
    name: str,
    end: Callable[[socket.socket], Channel[Any]],
    kind: type[Order],
    work: Callable[[Order, str, Channel[Any]], None],
) -> int:
    """The exit code. 0: done, or not wanted any more. `name`: of the module, and of the process, `outpost-…`;
    `end` makes the child's end of the channel; `work` gets the order, the sandbox's mode and the channel.
    """
    options = parse(argv, program=f"appliance.runner.{name}")
    identity.show_as(f"outpost-{name} {options.name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not identity.die_with_parent(options.parent):
        return 0
    channel = end(socket.socket(fileno=options.fd))
    order = channel.receive()
    if order is None:
        return 0
    if not isinstance(order, kind):
        raise ProtocolError(f"expected {kind.__name__}, got {order!r:.200}")
    try:
        work(order, options.sandbox, channel)
    except OutpostError as error:
        told, fields = to_wire(error)
        channel.send(LoadFailed(error=WireError(name=told, fields=fields)))
        return EX_SOFTWARE
    return 0


def progress_to(channel: Channel[Any]) -> Callable[[float], None]:
    """Tells the share that is done, a few times a second."""

    def send(told: Loading) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: PDEATHSIG is on its way
            channel.send(told)

    return progress(send)
