"""Laws and examples of the stream parsers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.engine.chat_output import Parsed, make_parser
from appliance.engine.template_format import ReasoningTags, ToolFormat

THINK = ReasoningTags("<think>", "</think>")
WEATHER = '{"city": "Rome", "days": [1, {"x": "}"}]}'


def parse(
    pieces: Sequence[str],
    tool_format: ToolFormat = ToolFormat.HERMES,
    *,
    reasoning: ReasoningTags | None = None,
    tools: bool = True,
    names: frozenset[str] = frozenset(),
    opened: bool = False,
) -> tuple[str, str, list[tuple[str, str]]]:
    """(text, reasoning, [(name, arguments)]), all joined."""
    ids = (f"call_{number}" for number in itertools.count())
    parser = make_parser(
        tool_format,
        reasoning,
        tools_active=tools,
        tool_names=names,
        reasoning_open=opened,
        call_id=lambda: next(ids),
    )
    parts: list[Parsed] = [parser.feed(piece) for piece in pieces]
    parts.append(parser.finish())
    calls: list[tuple[str, str]] = []
    for delta in itertools.chain.from_iterable(part.tool_calls for part in parts):
        if delta.name is not None:
            assert delta.index == len(calls)
            assert delta.call_id == f"call_{len(calls)}"
            calls.append((delta.name, delta.arguments))
        else:
            assert delta.index == len(calls) - 1
            assert delta.call_id is None
            calls[-1] = (calls[-1][0], calls[-1][1] + delta.arguments)
    assert parser.saw_tool_call == bool(calls)
    return "".join(part.text for part in parts), "".join(part.reasoning for part in parts), calls


@pytest.mark.parametrize(
    ("tool_format", "answer", "text", "calls"),
    [
        (
            ToolFormat.HERMES,
            f'<tool_call>\n{{"name": "weather", "arguments": {WEATHER}}}\n</tool_call>',
            "",
            [("weather", WEATHER)],
        ),
        (
            ToolFormat.HERMES,
            (
                'Sure.\n<tool_call>{"name": "a", "arguments": {}}</tool_call>\n'
                f'<tool_call>{{"name": "b", "arguments": {WEATHER}}}</tool_call>\n'
            ),
            "Sure.\n",
            [("a", "{}"), ("b", WEATHER)],
        ),
        (
            ToolFormat.HERMES,
            f'<tool_call>{{"arguments": {WEATHER}, "name": "late"}}</tool_call>',
            "",
            [("late", WEATHER)],
        ),
        (
            ToolFormat.HERMES,
            '<tool_call>{"name": "s", "arguments": "{\\"a\\": 1}"}</tool_call>done',
            "done",
            [("s", '{"a": 1}')],
        ),
        (ToolFormat.LLAMA3, f'{{"name": "weather", "parameters": {WEATHER}}}', "", [("weather", WEATHER)]),
        (
            ToolFormat.LLAMA3,
            f'<|python_tag|>{{"type": "function", "name": "weather", "parameters": {WEATHER}}}',
            "",
            [("weather", WEATHER)],
        ),
        (
            ToolFormat.LLAMA3,
            '{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}}',
            "",
            [("a", "{}"), ("b", "{}")],
        ),
        (
            ToolFormat.MISTRAL,
            (
                f'[TOOL_CALLS][{{"name": "a", "arguments": {WEATHER}, "id": "abcdefghi"}}, '
                '{"name": "b", "arguments": {}}]'
            ),
            "",
            [("a", WEATHER), ("b", "{}")],
        ),
        (ToolFormat.MISTRAL, f"[TOOL_CALLS]weather[ARGS]{WEATHER}", "", [("weather", WEATHER)]),
        (
            ToolFormat.MISTRAL_ARGS,
            f"Ok.[TOOL_CALLS]a[CALL_ID]abcdefghi[ARGS]{WEATHER}[TOOL_CALLS]b{{}}",
            "Ok.",
            [("a", WEATHER), ("b", "{}")],
        ),
        (ToolFormat.JSON, f'{{"name": "weather", "arguments": {WEATHER}}}', "", [("weather", WEATHER)]),
        (ToolFormat.JSON, '{"name": "unknown", "arguments": {}}', '{"name": "unknown", "arguments": {}}', []),
        (ToolFormat.JSON, '{"age": 3, "name": "a"}', '{"age": 3, "name": "a"}', []),
        (ToolFormat.HERMES, "<tool_call>no call</tool_call>", "<tool_call>no call</tool_call>", []),
        (
            ToolFormat.HERMES,
            '<tool_call>{"name": 3, "arguments": {}}',
            '<tool_call>{"name": 3, "arguments": {}}',
            [],
        ),
        (ToolFormat.HERMES, '<tool_call>{"na', '<tool_call>{"na', []),
        (ToolFormat.HERMES, '<tool_call>{"name": "a", "arguments": {"x": [1', "", [("a", '{"x": [1')]),
        (ToolFormat.HERMES, '<tool_call>{"name": "a", "arguments": {}} and on', " and on", [("a", "{}")]),
        (ToolFormat.HERMES, "1 < 2 <tool", "1 < 2 <tool", []),
        (ToolFormat.MISTRAL, "[TOOL_CALLS]say (hello)", "[TOOL_CALLS]say (hello)", []),
        (ToolFormat.LLAMA3, "<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
    ],
)
def test_calls_of_each_family_are_read_however_the_text_is_cut(
    tool_format: ToolFormat, answer: str, text: str, calls: list[tuple[str, str]]
) -> None:
    names = frozenset({"weather", "a", "b"})
    expected = (text, "", calls)
    assert parse([answer], tool_format, names=names) == expected
    assert parse(list(answer), tool_format, names=names) == expected


@pytest.mark.parametrize(
    ("answer", "opened", "expected"),
    [
        ("<think>\nI see.\n</think>\n\nYes.", False, ("Yes.", "I see.")),
        ("I see.\n</think>\n\nYes.", True, ("Yes.", "I see.")),
        ("<think>I see.</think>Yes.", True, ("Yes.", "I see.")),
        ("\n<think></think>\nYes.", False, ("Yes.", "")),
        ("Yes, <think> is a tag.", False, ("Yes, <think> is a tag.", "")),
        ("<think>never ends </th", False, ("", "never ends </th")),
        ("a\n\nb  </think>c", True, ("c", "a\n\nb")),
        ("  plain", False, ("  plain", "")),
        ("<thi", False, ("<thi", "")),
    ],
)
def test_the_reasoning_block_is_split_off_the_front(
    answer: str, opened: bool, expected: tuple[str, str]
) -> None:
    for pieces in ([answer], list(answer)):
        text, reasoning, _ = parse(pieces, reasoning=THINK, tools=False, opened=opened)
        assert (text, reasoning) == expected


def test_a_call_after_reasoning_is_a_call() -> None:
    answer = '<think>hm</think>\n<tool_call>{"name": "a", "arguments": {"b": 1}}</tool_call>'
    assert parse(list(answer), reasoning=THINK) == ("", "hm", [("a", '{"b": 1}')])


def test_arguments_are_streamed_as_they_arrive() -> None:
    parser = make_parser(ToolFormat.HERMES, None, tools_active=True)
    first = parser.feed('<tool_call>{"name": "a", "arguments": {"city": "Ro')
    second = parser.feed("me")
    assert [delta.name for delta in first.tool_calls] == ["a", None]
    assert first.tool_calls[1].arguments == '{"city": "Ro'
    assert [delta.arguments for delta in second.tool_calls] == ["me"]


def test_plain_text_is_not_held_back() -> None:
    parser = make_parser(ToolFormat.HERMES, THINK, tools_active=True)
    assert parser.feed("Hello").text == "Hello"
    assert parser.feed(" world <").text == " world "
    assert parser.feed("3").text == "<3"


def test_without_tools_and_reasoning_everything_passes() -> None:
    assert parse(["<tool_call>", "<think>"], tools=False) == ("<tool_call><think>", "", [])


FRAGMENTS = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "<|python_tag|>",
        '{"name": "a", "arguments": ',
        '{"name": "a", "parameters": {"k": "v\\""}}',
        '{"arguments": {"q": 1}, "name": "a"}',
        '{"name"',
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        '"',
        "\\",
        " ",
        "\n",
        "a",
        "name",
        "<",
        "é",
    ]
)
WORDS = st.text(alphabet='a"\\{}[]<é\n ', max_size=6)
ANSWERS = st.lists(FRAGMENTS, max_size=25).map("".join)


@settings(max_examples=40, deadline=None)
@given(
    answer=ANSWERS,
    cuts=st.lists(st.integers(0, 400), max_size=12),
    tool_format=st.sampled_from(ToolFormat),
    reasoning=st.sampled_from([None, THINK]),
    opened=st.booleans(),
)
def test_any_cut_gives_the_same_result(
    answer: str, cuts: list[int], tool_format: ToolFormat, reasoning: ReasoningTags | None, *, opened: bool
) -> None:
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges)]
    whole = parse([answer], tool_format, reasoning=reasoning, opened=opened)
    assert parse(pieces, tool_format, reasoning=reasoning, opened=opened) == whole
    assert parse(list(answer), tool_format, reasoning=reasoning, opened=opened) == whole


@settings(max_examples=40, deadline=None)
@given(answer=ANSWERS, tool_format=st.sampled_from(ToolFormat))
def test_without_a_call_the_text_comes_out_whole(answer: str, tool_format: ToolFormat) -> None:
    text, _, calls = parse([answer], tool_format)
    if not calls:
        assert text == answer


@settings(max_examples=40, deadline=None)
@given(
    tool_format=st.sampled_from(ToolFormat),
    before=st.text(alphabet="ab .\n", max_size=8),
    arguments=st.dictionaries(
        WORDS, st.none() | st.booleans() | WORDS | st.lists(WORDS, max_size=2), max_size=3
    ),
)
def test_every_json_object_survives_as_arguments(
    tool_format: ToolFormat, before: str, arguments: dict[str, object]
) -> None:
    body = json.dumps(arguments, ensure_ascii=False)
    key = "parameters" if tool_format is ToolFormat.LLAMA3 else "arguments"
    call = f'{{"name": "a", "{key}": {body}}}'
    answer = {
        ToolFormat.HERMES: f"{before}<tool_call>{call}</tool_call>",
        ToolFormat.JSON: f"{before}<tool_call>{call}</tool_call>",
        ToolFormat.LLAMA3: f"{before}<|python_tag|>{call}",
        ToolFormat.MISTRAL: f"{before}[TOOL_CALLS][{call}]",
        ToolFormat.MISTRAL_ARGS: f"{before}[TOOL_CALLS]a[ARGS]{body}",
    }[tool_format]
    text, _, calls = parse([answer], tool_format)
    assert calls == [("a", body)]
    assert text.strip() == before.strip()


@pytest.mark.parametrize(
    ("tool_format", "answer"),
    [
        (
            ToolFormat.HERMES,
            f'Well. <tool_call>\n{{"name": "weather", "arguments": {WEATHER}}}\n</tool_call>',
        ),
        (ToolFormat.JSON, f'{{"name": "weather", "arguments": {WEATHER}}}'),
        (ToolFormat.LLAMA3, f'<|python_tag|>{{"name": "weather", "parameters": {WEATHER}}}; '),
        (ToolFormat.MISTRAL, f'[TOOL_CALLS][{{"name": "weather", "arguments": {WEATHER}}}, '),
        (ToolFormat.MISTRAL_ARGS, f"[TOOL_CALLS]weather[ARGS]{WEATHER}"),
    ],
)
def test_where_one_call_is_wanted_the_answer_ends_with_it(tool_format: ToolFormat, answer: str) -> None:
    parser = make_parser(tool_format, THINK, tools_active=True, most_calls=1)
    told = list[Parsed]()
    for character in answer + answer:
        told.append(parser.feed(character))
        if parser.has_ended:
            break
    told.append(parser.finish())
    calls = [delta for part in told for delta in part.tool_calls]
    assert [delta.name for delta in calls if delta.name] == ["weather"]
    assert json.loads("".join(delta.arguments for delta in calls)) == json.loads(WEATHER)
    assert parser.has_ended
    assert len(told) <= len(answer) + 1


def test_an_answer_without_a_bound_on_calls_never_ends_by_itself() -> None:
    parser = make_parser(ToolFormat.JSON, None, tools_active=True)
    parser.feed(f'{{"name": "weather", "arguments": {WEATHER}}}')
    assert not parser.has_ended
