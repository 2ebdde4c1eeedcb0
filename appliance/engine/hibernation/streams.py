"""A slot's state without its context's number of slots.

llama.cpp writes the state of one sequence of a context with N streams like this (llama-context.cpp and
`llama_kv_cache::state_write`; words of 4 bytes):

    head 2 | N | 0 ... 0 | n_cells | metadata and cells | 0 ... 0
               `--- before ---'                          `- after: N-1 counts of 0 in all

and takes it back, into whichever slot, only where N is the same. How many slots a context has depends on the
memory that was free when it was opened, so a snapshot holds the form with N = 1. Both ways move 12 bytes and
nothing else. Only for caches of this one part: a sliding window has two, a recurrent model a state beside.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = 4
_HEAD_WORDS: Final = 2


class StateUnknown(Exception):
    """The bytes do not look as drawn above."""


def to_one_stream(data: NDArray[np.uint8], n_streams: int) -> NDArray[np.uint8]:
    """A part of `data`, in which 12 bytes are overwritten. Raises StateUnknown."""
    words = data[: _WORD * (_HEAD_WORDS + 1 + n_streams)].view("<u4")
    if words.size != _HEAD_WORDS + 1 + n_streams or words[_HEAD_WORDS] != n_streams:
        raise StateUnknown(f"no state of a context with {n_streams} streams")
    counts = words[_HEAD_WORDS + 1 :]
    before = int(np.argmax(counts != 0))
    after = n_streams - 1 - before
    if counts[before] == 0 or data[data.size - _WORD * after :].any():
        raise StateUnknown("not the state of one stream")
    head = words[: _HEAD_WORDS + 1].copy()
    head[_HEAD_WORDS] = 1
    begin = _WORD * before
    data[begin : begin + head.nbytes] = head.view(np.uint8)
    return data[begin : data.size - _WORD * after]


def room_before(n_streams: int) -> int:
    """Bytes that `from_one_stream` needs in front."""
    return _WORD * (n_streams - 1)


def from_one_stream(buffer: NDArray[np.uint8], n_streams: int) -> NDArray[np.uint8]:
    """What a context with `n_streams` takes. `buffer`: `room_before` bytes, then the state; overwritten.
    Raises StateUnknown.
    """
    room = room_before(n_streams)
    head_bytes = _WORD * (_HEAD_WORDS + 1)
    head = buffer[room : room + head_bytes].view("<u4").copy()
    if head.size != _HEAD_WORDS + 1 or head[_HEAD_WORDS] != 1:
        raise StateUnknown("no state of one stream")
    head[_HEAD_WORDS] = n_streams
    buffer[:head_bytes] = head.view(np.uint8)
    buffer[head_bytes : head_bytes + room] = 0
    return buffer
