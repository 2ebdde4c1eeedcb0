"""What is kept of a stream: numbered, bounded, and whole from wherever a client takes it up."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.resuming.event_log import EventLog, split

PLENTY = 1 << 20
events = st.lists(
    st.binary(min_size=1, max_size=40).map(lambda data: b"data: " + data.hex().encode()), max_size=30
)


def numbered(parts: list[bytes], *, first: int = 1) -> bytes:
    return b"".join(b"id: %d\n%b\n\n" % (first + at, part) for at, part in enumerate(parts))


@given(events, st.lists(st.booleans(), max_size=30))
def test_a_write_is_split_into_its_events_and_its_last_comment(parts: list[bytes], talks: list[bool]) -> None:
    chunk = b""
    for at, part in enumerate(parts):
        if at < len(talks) and talks[at]:
            chunk += b": note %d\n\n" % at
        chunk += part + b"\n\n"
    told = split(chunk)
    assert told.events == parts
    notes = [at for at, talk in enumerate(talks[: len(parts)]) if talk]
    assert told.comment == (b": note %d\n\n" % notes[-1] if notes else b"")


def test_a_named_event_keeps_its_lines() -> None:
    told = split(b'event: ping\ndata: {"type":"ping"}\n\ndata: [DONE]\n\n')
    assert told.events == [b'event: ping\ndata: {"type":"ping"}', b"data: [DONE]"]


@given(events, st.data())
def test_from_any_event_on_exactly_the_missing_ones_come(parts: list[bytes], data: st.DataObject) -> None:
    log = EventLog(PLENTY)
    at = 0
    while at < len(parts):
        count = data.draw(st.integers(1, 5))
        log.append(parts[at : at + count])
        at += count
    position = start = data.draw(st.integers(0, len(parts)))
    found = b""
    while position < log.last_id:
        piece, position = log.after(position, most_bytes=data.draw(st.integers(1, 200)))
        assert piece
        found += piece
    assert found == numbered(parts[start:], first=start + 1)
    assert log.after(position, most_bytes=100) == (b"", position)


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=60))
def test_the_bound_holds_and_nothing_is_forgotten_that_was_not_handed_out(
    steps: list[tuple[int, bool]],
) -> None:
    limit, taken = 2000, 0
    log = EventLog(limit)
    for size, takes in steps:
        event = [b"x" * size]
        if log.make_room(event, through_id=taken):
            log.append(event)
        if takes:
            taken = log.last_id
        assert log.size_bytes <= limit
        assert log.first_id <= taken + 1
    kept, last = log.after(log.first_id - 1, most_bytes=PLENTY)
    ids = [int(found) for found in re.findall(rb"^id: (\d+)$", kept, re.MULTILINE)]
    assert ids == list(range(log.first_id, last + 1))


def test_half_of_the_room_is_free_when_the_reader_keeps_up() -> None:
    log = EventLog(2000)
    for _ in range(100):
        assert log.make_room([b"x" * 100], through_id=log.last_id)
        log.append([b"x" * 100])
    assert log.size_bytes <= 1200
    alone = 0
    while log.make_room([b"x" * 100], through_id=0):
        log.append([b"x" * 100])
        alone += 1
    assert alone >= 4


def test_an_event_larger_than_the_log_is_taken_alone() -> None:
    log = EventLog(100)
    assert log.make_room([b"x" * 500], through_id=0)
    log.append([b"x" * 500])
    assert not log.make_room([b"y"], through_id=0)
    assert log.make_room([b"y"], through_id=1)
