"""Streams that outlive their connections: exactly what is missing comes, to whom it belongs, in bounds."""

from __future__ import annotations

import threading
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import EventsLost, InvalidRequest, RequestIdInUse, RequestNotFound, RunnerDied
from tests.fakes.fake_inference import Act, Silence
from tests.unit.api.resuming.kept import Client, Kept, events_of, eventually, kept, lines_of, words

MANY = words(40)


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(1, 300), max_size=12), batch=st.integers(1, 5))
def test_wherever_the_connection_is_lost_every_event_comes_once_and_in_order(
    cuts: list[int], batch: int
) -> None:
    with kept() as streams:
        streams.inference.batch = batch
        client = Client()
        is_whole = client.read(streams.keep(lines_of(MANY)), most_bytes=cuts[0] if cuts else None)
        for cut in [*cuts[1:], None]:
            reader = None if is_whole else streams.resume(client.last_id)
            if reader is None:
                break
            is_whole = client.read(reader, most_bytes=cut)
        assert client.events == events_of(MANY)


@settings(max_examples=20)
@given(after=st.integers(0, 43))
def test_a_finished_stream_is_taken_up_again_and_again(after: int) -> None:
    with kept() as streams:
        Client().read(streams.keep(lines_of(MANY)))
        for _ in range(2):
            reader = streams.resume(after)
            assert (reader is None) == (after == 43)
            if reader is not None:
                client = Client()
                assert client.read(reader)
                assert client.events == events_of(MANY)[after:]


def test_without_a_reader_it_goes_on() -> None:
    went_on = threading.Event()
    with kept() as streams:
        reader = streams.keep([*lines_of(MANY)[:20], Act(went_on.wait), *lines_of(MANY)[20:]])
        client = Client()
        assert not client.read(reader, most_bytes=100)
        went_on.set()
        eventually(lambda: streams.inference.running == 0)
        again = streams.resume(client.last_id)
        assert again is not None
        assert client.read(again)
        assert client.events == events_of(MANY)


def test_what_is_live_comes_behind_what_was_missed() -> None:
    more = threading.Event()
    with kept() as streams:
        reader = streams.keep([*lines_of(MANY)[:20], Act(lambda: more.wait(5)), *lines_of(MANY)[20:]])
        client = Client()
        assert not client.read(reader, most_bytes=60)
        again = streams.resume(client.last_id)
        assert again is not None

        def heard() -> None:
            if len(client.events) > 10:
                more.set()

        assert client.read(again, on_data=heard)
        assert client.events == events_of(MANY)


def test_nobody_comes_back_and_it_is_given_up() -> None:
    with kept(keep_s=0.05) as streams:
        reader = streams.keep([*lines_of(MANY)[:1], *([Silence(0.02)] * 500), *lines_of(MANY)[1:]])
        reader.close()
        eventually(lambda: streams.inference.running == 0 and len(streams.streams) == 0)
        with pytest.raises(RequestNotFound):
            streams.resume()
    assert streams.inference.generations[0].closed_after < 100


def test_a_finished_stream_is_forgotten_after_its_time() -> None:
    with kept(keep_s=0.02) as streams:
        assert Client().read(streams.keep(lines_of(MANY)))
        eventually(lambda: len(streams.streams) == 0)


def test_too_much_for_nobody_cancels_it_and_the_client_hears_why() -> None:
    pieces = ["x" * 1000] * 200
    with kept(bytes_per_stream=20_000) as streams:
        streams.keep(lines_of(pieces)).close()
        eventually(lambda: streams.inference.running == 0)
        assert streams.inference.generations[0].closed_after < 30
        reader = streams.resume()
        assert reader is not None
        client = Client()
        assert client.read(reader)
        assert client.events[:-1] == events_of(pieces)[: len(client.events) - 1]
        assert b'"code":"cancelled"' in client.events[-1]
        assert b"20000 bytes" in client.events[-1]


def test_a_slow_reader_is_waited_for_and_holds_no_more_than_the_bound() -> None:
    pieces = ["x" * 1000] * 200
    with kept(bytes_per_stream=20_000) as streams:
        reader = streams.keep(lines_of(pieces))
        (stream,) = streams.streams._streams.values()
        client = Client()
        sizes: list[int] = []
        assert client.read(reader, on_data=lambda: sizes.append(stream._log.size_bytes))
        assert client.events == events_of(pieces)
        assert max(sizes) <= 20_000


def test_events_that_are_forgotten_are_told_to_be_lost() -> None:
    pieces = ["x" * 1000] * 200
    with kept(bytes_per_stream=20_000) as streams:
        assert Client().read(streams.keep(lines_of(pieces)))
        with pytest.raises(EventsLost, match="from 2 on"):
            streams.resume(1)
        with pytest.raises(InvalidRequest, match="the last one is 203"):
            streams.resume(204)
        reader = streams.resume(200)
        assert reader is not None
        client = Client()
        assert client.read(reader)
        assert client.events == events_of(pieces)[200:]


def test_the_next_reader_sends_the_one_before_away() -> None:
    more = threading.Event()
    with kept() as streams:
        reader = streams.keep([*lines_of(MANY)[:1], Act(lambda: more.wait(5)), *lines_of(MANY)[1:]])
        first = iter(reader)
        assert next(first)
        second = streams.resume()
        assert second is not None
        assert list(first) == []
        reader.close()
        more.set()
        client = Client()
        assert client.read(second)
        assert client.events == events_of(MANY)


def test_a_fault_in_mid_stream_is_kept_too() -> None:
    with kept() as streams:
        fault = RunnerDied(model="m", cause="SIGKILL")
        assert not Client().read(streams.keep([*lines_of(MANY)[:3], fault]), most_bytes=10)
        reader = streams.resume()
        assert reader is not None
        client = Client()
        assert client.read(reader)
        assert b"runner_died" in client.events[-1]
        assert len(client.events) == 6


def test_a_cancel_by_id_ends_it_with_its_reason() -> None:
    with kept() as streams:
        stream = streams.stream([*lines_of(MANY)[:1], *([Silence(0.01)] * 500), *lines_of(MANY)[1:]])
        reader = streams.streams.keep("owner", stream, lambda: False)
        assert not isinstance(reader, str)
        stream.exchange.cancelled = "by its id"
        client = Client()
        assert client.read(reader)
        assert b'"code":"cancelled"' in client.events[-1]


def test_its_exchange_ends_once_and_not_before_answer_and_connection_have() -> None:
    with kept() as streams:
        reader = streams.keep(lines_of(MANY))
        eventually(lambda: streams.inference.running == 0)
        assert streams.ended == []
        reader.close()
        reader.close()
        assert streams.ended == ["r"]
        again = streams.resume()
        assert again is not None
        again.close()
        assert streams.ended == ["r"]


def test_an_answer_outlives_its_connection_and_then_ends_its_exchange() -> None:
    go_on = threading.Event()
    with kept() as streams:
        streams.keep([Act(lambda: go_on.wait(5)), *lines_of(MANY)]).close()
        assert streams.ended == []
        go_on.set()
        eventually(lambda: streams.ended == ["r"])


# ── whose, and how many ─────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_takes_it_up() -> None:
    with kept() as streams:
        streams.keep(lines_of(MANY)).close()
        with pytest.raises(RequestNotFound):
            streams.resume(owner="other")
        with pytest.raises(RequestNotFound):
            streams.resume(request_id="R")


def test_an_id_is_taken_while_it_is_kept() -> None:
    with kept(keep_s=5) as streams:
        streams.keep(lines_of(MANY)).close()
        with pytest.raises(RequestIdInUse):
            streams.streams.require_free("owner", "r")
        streams.streams.require_free("other", "r")
        refusal = streams.streams.keep("owner", streams.stream(lines_of(MANY)), lambda: False)
        assert refusal == "a stream with this id is kept already"
        streams.inference.generations[-1].close()


def busy(streams: Kept, request_id: str, *, owner: str = "owner") -> threading.Event:
    """A stream that goes on until the event is set."""
    done = threading.Event()
    streams.keep([Act(lambda: done.wait(5)), *lines_of(MANY)], request_id, owner=owner).close()
    return done


def refused(streams: Kept, *, owner: str = "owner") -> str:
    told = streams.streams.keep(owner, streams.stream(lines_of(MANY), "one-more"), lambda: False)
    streams.inference.generations[-1].close()
    assert isinstance(told, str)
    return told


def test_a_key_has_so_many_and_its_finished_ones_give_way() -> None:
    with kept(streams_per_owner=2) as streams:
        ends = [busy(streams, "a"), busy(streams, "b")]
        assert refused(streams) == "2 streams of yours are kept already"
        ends[0].set()
        eventually(lambda: streams.streams._streams["owner", "a"].is_over)
        streams.keep(lines_of(MANY), "c").close()
        with pytest.raises(RequestNotFound):
            streams.resume(request_id="a")
        assert streams.resume(request_id="b") is not None
        ends[1].set()


def test_over_all_there_are_so_many_and_nobody_elses_give_way() -> None:
    with kept(streams=2) as streams:
        streams.keep(lines_of(MANY), "a", owner="x").close()
        streams.keep(lines_of(MANY), "b", owner="y").close()
        eventually(lambda: streams.inference.running == 0)
        assert refused(streams, owner="z") == "2 streams are kept already"
        streams.keep(lines_of(MANY), "c", owner="x").close()
        with pytest.raises(RequestNotFound):
            streams.resume(request_id="a", owner="x")


def test_what_is_held_is_told_in_streams_and_bytes() -> None:
    with kept() as streams:
        assert asdict(streams.streams.held()) == {"running": 0, "over": 0, "size_bytes": 0}
        go_on = busy(streams, "b")
        Client().read(streams.keep(lines_of(MANY), "a"))
        eventually(lambda: (streams.streams.held().running, streams.streams.held().over) == (1, 1))
        assert 0 < streams.streams.held().size_bytes <= 2 * streams.streams.limits.bytes_per_stream
        go_on.set()
        eventually(lambda: streams.streams.held().over == 2)


def test_when_it_stops_all_are_given_up_and_none_is_kept_any_more() -> None:
    with kept() as streams:
        streams.keep([*lines_of(MANY)[:1], *([Silence(0.01)] * 900), *lines_of(MANY)[1:]]).close()
        streams.streams.close()
        assert streams.inference.running == 0
        assert refused(streams) == "the Outpost is stopping"
