from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.hibernation.streams import StateUnknown, from_one_stream, room_before, to_one_stream


def state(n_streams: int, slot: int, cells: bytes = b"cellcell") -> np.ndarray:
    """As llama.cpp writes it: two words, the streams, a count for each, and behind one of them its cells."""
    words = [0xAF143CD8, 1, n_streams, *([0] * slot), 2]
    return np.frombuffer(
        np.array(words, "<u4").tobytes() + cells + bytes(4 * (n_streams - 1 - slot)), np.uint8
    ).copy()


@given(one=st.integers(1, 70), other=st.integers(1, 70), data=st.data())
def test_a_state_goes_from_a_context_of_any_size_to_any_other(
    one: int, other: int, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, one - 1))
    apart = to_one_stream(state(one, slot), one)
    assert apart.tobytes() == state(1, 0).tobytes()
    buffer = np.concatenate([np.full(room_before(other), 255, np.uint8), apart])
    assert from_one_stream(buffer, other).tobytes() == state(other, other - 1).tobytes()


@pytest.mark.parametrize(
    "broken",
    [
        state(4, 1)[:8],
        state(3, 1),
        np.zeros(64, np.uint8),
        np.concatenate([state(4, 1)[:-4], np.full(4, 1, np.uint8)]),
    ],
    ids=["short", "another number", "no cells", "two streams in use"],
)
def test_what_does_not_look_like_it_is_not_touched(broken: np.ndarray) -> None:
    with pytest.raises(StateUnknown):
        to_one_stream(broken, 4)


def test_a_state_of_several_streams_is_not_taken_for_one_of_one() -> None:
    buffer = np.concatenate([np.zeros(room_before(4), np.uint8), state(2, 1)])
    with pytest.raises(StateUnknown):
        from_one_stream(buffer, 4)
