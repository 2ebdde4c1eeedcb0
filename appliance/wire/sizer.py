"""The two ends of a sizer's channel (`sizes`)."""

from __future__ import annotations

import socket
from typing import Union

from appliance.wire.channel import Channel
from appliance.wire.load import LoadFailed
from appliance.wire.sizes import DryRunChecked, DryRunUnavailable, Measure, Measured, Sized

SizerMessage = Union[DryRunChecked, DryRunUnavailable, Measured, Sized, LoadFailed]


def daemon_end(sock: socket.socket) -> Channel[SizerMessage]:
    return Channel(sock, SizerMessage)  # type: ignore[arg-type]  # a Union is what msgspec decodes


def sizer_end(sock: socket.socket) -> Channel[Measure]:
    return Channel(sock, Measure)
