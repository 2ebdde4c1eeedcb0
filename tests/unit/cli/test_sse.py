from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.sse import Comment, Event, events


def test_data_and_comments_come_in_order() -> None:
    lines = [": ping", "", 'data: {"a":1}', "", "data: [DONE]", ""]
    assert list(events(lines)) == [Comment("ping"), Event('{"a":1}'), Event("[DONE]")]


def test_several_data_lines_are_one_event() -> None:
    assert list(events(["data: a", "data:b", ""])) == [Event("a\nb")]


def test_a_name_holds_for_one_event_and_unknown_fields_are_skipped() -> None:
    lines = ["event: error", "id: 7", "retry: 10", "nonsense", "data: x", "", "data: y", ""]
    assert list(events(lines)) == [Event("x", "error"), Event("y")]


def test_an_event_that_was_cut_off_is_dropped() -> None:
    assert list(events(["data: whole", "", "data: half"])) == [Event("whole")]


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_any_text_comes_through(texts: list[str]) -> None:
    lines = [line for text in texts for line in (f"data: {text}", "")]
    assert [event.data for event in events(lines) if isinstance(event, Event)] == texts
