"""When another machine is asked again, and after how long. Pure, but for `patiently`, which sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from appliance.errors import OutpostError, RemoteRefused, RemoteUnreachable

TRIES: Final = 6
"""As Ollama's client."""
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
FIRST_WAIT_S: Final = 1.0
_MAX_WAIT_S: Final = 32.0
_SMALL_TRIES: Final = 3

T = TypeVar("T")


def is_transient(error: OutpostError) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, RemoteRefused):
        return error.fields["status"] in _LATER
    return isinstance(error, RemoteUnreachable)


def wait_s(failures: int) -> float:
    """After so many failures in a row, from 1: 1, 2, 4 … seconds."""
    return min(FIRST_WAIT_S * 2.0 ** (failures - 1), _MAX_WAIT_S)


def patiently(work: Callable[[], T]) -> T:
    """A small request, made up to three times; blocks 3 s longer than the requests themselves."""
    for failures in range(1, _SMALL_TRIES):
        try:
            return work()
        except (RemoteRefused, RemoteUnreachable) as error:
            if not is_transient(error):
                raise
        time.sleep(wait_s(failures))
    return work()
