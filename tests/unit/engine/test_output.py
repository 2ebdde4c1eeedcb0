"""Text is the same however tokens cut it: characters, stop strings, parsers."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.chat_output import make_parser
from appliance.engine.output import Emitted, OutputStream, StopStrings
from appliance.engine.template_format import ReasoningTags, ToolFormat

ANY_BYTES = st.lists(st.sampled_from([*"aé€😀".encode(), *b"xyz", 0xFF, 0xC0, 0xE2]), max_size=40).map(bytes)


def cut(whole: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`whole` in pieces, cut at `cuts` (taken modulo its length)."""
    places = sorted({place % (len(whole) + 1) for place in cuts})
    return [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]


def fed(stream: OutputStream, pieces: Sequence[bytes]) -> tuple[str, str | None]:
    """All text of a stream, and the stop string that ended it."""
    text = ""
    for piece in pieces:
        emitted = stream.feed(piece)
        text += emitted.text
        if emitted.stop is not None:
            return text + stream.finish(stopped=True).text, emitted.stop
    return text + stream.finish(stopped=False).text, None


def plain() -> OutputStream:
    return OutputStream(stops=[], parser=None)


@given(whole=ANY_BYTES, cuts=st.lists(st.integers(0, 40)))
def test_bytes_cut_anywhere_give_the_text_of_the_whole(whole: bytes, cuts: list[int]) -> None:
    assert fed(plain(), cut(whole, cuts)) == (whole.decode("utf-8", "replace"), None)


@given(text=st.text(max_size=20), cuts=st.lists(st.integers(0, 80)))
def test_no_piece_of_text_holds_half_a_character(text: str, cuts: list[int]) -> None:
    stream, said = plain(), ""
    for piece in cut(text.encode("utf-8"), cuts):
        emitted = stream.feed(piece).text
        said += emitted
        assert text.startswith(said), "a character came in part"
    assert said == text


def test_a_character_cut_off_at_the_end_is_marked() -> None:
    stream = plain()
    assert stream.feed("€".encode()[:2]).text == ""
    assert stream.finish(stopped=False).text == "\N{REPLACEMENT CHARACTER}"


@given(
    text=st.text("abc", max_size=24),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 24)),
)
def test_stop_strings_cut_anywhere_give_the_text_of_the_whole(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    whole = fed(OutputStream(stops=stops, parser=None), [text.encode()])
    in_pieces = fed(OutputStream(stops=stops, parser=None), cut(text.encode(), cuts))
    assert in_pieces == whole


@given(text=st.text("abc", max_size=24), stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1))
def test_the_text_ends_before_the_stop_string_that_is_complete_first(text: str, stops: list[str]) -> None:
    said, stop = fed(OutputStream(stops=stops, parser=None), [text.encode()])
    ends = {one: text.find(one) + len(one) for one in stops if one in text}
    if not ends:
        assert (said, stop) == (text, None)
        return
    first = min(ends.values())
    assert stop in ends and ends[stop] == first
    assert said == text[: first - len(stop)]


@given(text=st.text("abc€", max_size=24), stops=st.lists(st.text("abc€", min_size=1, max_size=4), min_size=1))
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    finder, said = StopStrings(stops), ""
    for place, character in enumerate(text):
        released, stop = finder.feed(character)
        said += released
        if stop is not None:
            return
        held = text[len(said) : place + 1]
        assert not held or any(one.startswith(held) and one != held for one in stops)


def test_an_empty_stop_string_stops_nothing() -> None:
    assert fed(OutputStream(stops=[""], parser=None), [b"abc"]) == ("abc", None)


def test_a_stop_string_over_three_tokens_is_found() -> None:
    stream = OutputStream(stops=["END"], parser=None)
    assert stream.feed(b"the E") == Emitted("the ")
    assert stream.feed(b"N") == Emitted("")
    assert stream.feed(b"D of it") == Emitted("", stop="END")
    assert stream.finish(stopped=True) == Emitted("")


def test_what_was_held_back_comes_when_no_stop_string_follows() -> None:
    stream = OutputStream(stops=["END"], parser=None)
    assert stream.feed(b"the EN").text == "the "
    assert stream.finish(stopped=False).text == "EN"


@given(cuts=st.lists(st.integers(0, 80)))
def test_reasoning_and_tool_calls_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    whole = '<think>so ü</think>well <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    stream = OutputStream(
        stops=[],
        parser=make_parser(
            ToolFormat.HERMES,
            ReasoningTags("<think>", "</think>"),
            tools_active=True,
            tool_names=frozenset({"f"}),
            call_id=lambda: "call_1",
        ),
    )
    said = Emitted()
    for piece in cut(whole.encode(), cuts):
        said.add(_as_parsed(stream.feed(piece)))
    said.add(_as_parsed(stream.finish(stopped=False)))
    assert stream.saw_tool_call
    assert said.reasoning.strip() == "so ü"
    assert said.text.strip() == "well"
    calls = said.tool_calls or []
    assert {call.name for call in calls if call.name} == {"f"}
    assert "".join(call.arguments for call in calls).replace(" ", "") == '{"x":1}'


class _as_parsed:  # noqa: N801  # reads as the verb it is
    """An `Emitted` as `Emitted.add` takes it."""

    def __init__(self, emitted: Emitted) -> None:
        self.text = emitted.text
        self.reasoning = emitted.reasoning
        self.tool_calls = emitted.tool_calls or []
