"""The language itself: what is converted, and what is refused and how that is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.prompt import ChatTemplate
from appliance.errors import TemplateInvalid
from appliance.go_template import recognise, to_jinja

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]


def rendered(go: str, messages: list[dict[str, Any]] = HELLO, now: datetime | None = None) -> str:
    return ChatTemplate(to_jinja(go), "<s>", "</s>").render(
        messages, now=now or datetime(2026, 11, 22, tzinfo=UTC)
    )


def inside(go: str) -> str:
    """What one action prints, in a template that is run once."""
    return rendered(go + "{{ with .Messages }}{{ end }}")


@pytest.mark.parametrize(
    "text",
    [
        "{% for x in messages %}{{ `{{` }}",
        "{# comment #} {{ `}}` }} %} #}",
        "{%- raw -%}'\"\\n \\' {% endraw %}",
        "line\n    {% set x = 1 %}\n",
        "{{ `{%` }} {{ `{{ 7 * 7 }}` }}",
        "# line statement\n## comment",
        "\r\n\x0b\x85\u2028\x00\x7f\U0001f600",
    ],
)
def test_jinja_in_the_text_is_text(text: str) -> None:
    plain = text
    for go in ("{%", "{{ 7 * 7 }}", "{{", "}}"):
        plain = plain.replace(f"{{{{ `{go}` }}}}", go)
    assert inside(text) == plain


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])).filter(lambda text: "{{" not in text))
def test_any_text_without_actions_comes_out_as_it_is(text: str) -> None:
    if text.endswith("{"):  # it would open the next action
        text += " "
    assert inside(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters='"\\\n')))
def test_any_string_comes_out_as_it_is(text: str) -> None:
    assert inside(f'{{{{ "{text}" }}}}') == text


@pytest.mark.parametrize(
    ("go", "shown"),
    [
        ("a {{- 1 -}} b", "a1b"),
        ("a {{-1}} b", "a -1 b"),
        ("a\n\t{{- /* no\n thing */ -}}\n b", "ab"),
        ("a {{/* c */}} b", "a  b"),
        (r"{{ `\n` }}{{ 'x' }}{{ 0x10 }}{{ 017 }}{{ 1.5 }}{{ true }}{{ nil }}", "\\n1201615" + "1.5true"),
        ('{{ "a\\t\\"b\\" \\u00e9 \\x41 \\101" }}', 'a\t"b" é A A'),
        ("{{ $a := 1 }}{{ if true }}{{ $a := 2 }}{{ $a }}{{ end }}{{ $a }}", "21"),
        ("{{ $a := 1 }}{{ if true }}{{ $a = 2 }}{{ end }}{{ $a }}", "2"),
        ('{{ $a := "x" }}{{ $a = true }}{{ $a }}', "true"),
        ("{{ range $i, $e := .Messages }}{{ $i }}{{ $e.Role }}{{ else }}none{{ end }}", "0user"),
        ("{{ range .Tools }}x{{ else }}none{{ end }}", "none"),
        ("{{ range 3 }}{{ break }}{{ else }}none{{ end }}", ""),
        ("{{ range 3 }}{{ continue }}{{ else }}none{{ end }}", ""),
        ("{{ range 0 }}x{{ else }}none{{ end }}{{ range -1 }}x{{ else }}none{{ end }}", "nonenone"),
        ('{{ $x := 1 }}{{ $y := 2 }}{{ print $x $y }}{{ $x = "a" }}{{ print $x $y }}{{ $y = 3 }}', "1 2a2"),
        ("{{ with .System }}x{{ else with 3 }}{{ . }}{{ end }}", "3"),
        ("{{ if .System }}a{{ else if eq 1 2 }}b{{ else if $x := 5 }}{{ $x }}{{ else }}c{{ end }}", "5"),
        ('{{ printf "%s|%d|%v|%t|%q|%%" "a" 2 3 false "b" }}', 'a|2|3|false|"b"|%'),
        ('{{ "a" | printf "%s%s" "b" }}', "ba"),
        ('{{ print 1 2 "x" 3 }}|{{ println "a" 1 }}|{{ print }}', "1 2x3|a 1\n|"),
        ('{{ len "größe" }} {{ slice "größe" 1 4 }} {{ len .Messages }}', "7 rö 1"),
        ("{{ and 1 0 2 }}{{ or 0 3 }}{{ not 1 }}{{ eq 1 2 1 }}{{ ne 1 1 }}", "03falsetruefalse"),
        ('{{ define "a" }}<{{ . }}>{{ end }}{{ template "a" "x" }}{{ template "a" }}', "<x><>"),
        (
            ("{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}"
            "{{ if gt . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}"),
            "02",
        ),
        ("{{ print currentDate (currentDate) }}", "2026-11-222026-11-22"),
        ("{{ range .Messages }}{{ continue }}{{ end }}{{ with index .Messages 0 }}y{{ end }}", "y"),
        ("{{ if index .Messages 0 }}y{{ end }}{{ toTypeScriptType .System }}", "yany"),
        ("{{ (index .Messages 0).Content }}{{ index .Messages 0 | json | len }}", "refused"),
    ],
)  # fmt: skip
def test_what_go_would_print(go: str, shown: str) -> None:
    if shown == "refused":
        with pytest.raises(TemplateInvalid, match="json of a message is not supported"):
            to_jinja(go)
    else:
        assert inside(go) == shown


def test_json_values_are_reached_by_field_index_and_key() -> None:
    call = {"function": {"name": "f", "arguments": {"a": {"b": [5, "six"]}, "n": None}}}
    go = (
        '{{ range .Messages }}{{ range .ToolCalls }}{{ $a := .Function.Arguments }}{{ $a.a.b }} '
        '{{ index $a "a" "b" 1 }} {{ index $a.a.b 0 }} {{ len $a }} {{ $a.n }}{{ $a.missing.too }}'
        "{{ range $i, $e := $a.a.b }}<{{ $i }}={{ $e }}>{{ end }}{{ end }}{{ end }}"
    )  # fmt: skip
    variables = {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]}
    shown = ChatTemplate(to_jinja(go), "", "")._render_bounded(variables)
    assert shown == '[5,"six"] six 5 2 <0=5><1=six>'


def test_properties_are_reached_by_name() -> None:
    go = (
        "{{ range .Tools }}{{ with .Function.Parameters.Properties }}{{ .city.Description }}"
        '{{ (index . "city").Type }}{{ .none.Description }}{{ end }}{{ end }}{{ with .Messages }}{{ end }}'
    )
    properties = {"city": {"type": "string", "description": "Where "}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}
    compiled = ChatTemplate(to_jinja(go), "", "")
    assert compiled._render_bounded({"messages": HELLO, "tools": [tool]}) == "Where string"


def test_the_last_answer_is_cut_wherever_it_stands() -> None:
    chat = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    for go in (
        "{{ .Prompt }}>{{ if $p := .Prompt }}{{ .Response }}{{ $p }}{{ end }};",
        '{{ .Prompt }}>{{ if .Prompt }}{{ printf "%s" .Response }}{{ .Prompt }}{{ end }};',
        "{{ .Prompt }}>{{ range 1 }}{{ $.Prompt }}{{ end }}{{ .Response }}{{ .Prompt }};",
    ):
        whole = "a>aba;c>c" if "range" in go else "a>ba;c>"
        assert rendered(go, chat) == whole


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        ((2026, 11, 22), "2026-11-21 2026-11-22"),
        ((2026, 1, 1), "2025-12-31 2026-01-01"),
        ((2026, 3, 1), "2026-02-28 2026-03-01"),
        ((2028, 3, 1), "2028-02-29 2028-03-01"),
        ((2100, 3, 1), "2100-02-28 2100-03-01"),
        ((2026, 5, 1), "2026-04-30 2026-05-01"),
    ],
)
def test_dates_are_those_of_the_rendering(now: tuple[int, int, int], shown: str) -> None:
    go = "{{ yesterdayDate }} {{ currentDate }}{{ if .Messages }}{{ end }}"
    assert rendered(go, now=datetime(*now, tzinfo=UTC)) == shown


def test_a_tool_message_knows_the_name_of_what_was_called() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    go = (
        "{{ if .Tools }}[TOOL_CALLS]{{ end }}"
        "{{ range .Messages }}{{ .Role }}:{{ .ToolName }}:{{ .ToolCallID }};{{ end }}"
    )
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [{**call, "id": "abcdefgh1"}]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "x"},
    ]
    assert rendered(go, messages) == "assistant::;tool:weather:abcdefgh1;"


@pytest.mark.parametrize(
    ("go", "reason"),
    [
        ("{{ if .System }}", "line 1: a block is not closed with {{ end }}"),
        ("\n\n{{ end }}", "line 3: {{ end }} closes nothing"),
        ("{{ else }}", "line 1: {{ else }} closes nothing"),
        ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "line 1: {{ end }} was expected"),
        ("a\n{{ .Prompt", "line 2: an action is not closed with }}"),
        ("{{ }}", "line 1: '}}' cannot stand here"),
        ("{{ . ; }}", "line 1: ';' cannot stand in an action"),
        ("{{ /* x */}}", "line 1: '/' cannot stand in an action"),
        ("{{- /* x */ .Prompt }}", "line 1: a comment is not closed with */}}"),
        ("{{ $x }}", "line 1: undefined variable $x"),
        ("{{ $x = 1 }}", "line 1: undefined variable $x"),
        ("{{ if $x := 1 }}{{ end }}{{ $x }}", "line 1: undefined variable $x"),
        ('{{ define "a" }}{{ $y }}{{ end }}', "line 1: undefined variable $y"),
        ("{{ $ := 1 }}", "line 1: $ cannot be set"),
        ("{{ break }}", "line 1: break stands outside of range"),
        ("{{ shout .Prompt }}", "line 1: function 'shout' not defined"),
        ("{{ html .Prompt }}", "line 1: the function html is not supported"),
        ("{{ .Prompt .System }}", "line 1: only functions take arguments"),
        ("{{ .Prompt | .System }}", "line 1: only a function can stand behind |"),
        ("{{ (.Prompt }}", "line 1: a parenthesis is not closed"),
        ("{{ 1.x }}", "line 1: '1' cannot stand in an action"),
        ("{{ .First }}", "line 1: the template's input has no field First"),
        ("{{ range .Messages }}{{ .Contents }}{{ end }}", "line 1: a message has no field Contents"),
        ("{{ range .Messages }}{{ . }}{{ end }}", "line 1: a message is no text to print"),
        ("{{ range .Messages }}{{ eq . 1 }}{{ end }}", "line 1: a message cannot be compared"),
        ("{{ .Messages.Role }}", "line 1: the messages has no field Role"),
        ("{{ json . }}", "line 1: json of the template's whole input is not supported"),
        ("{{ range . }}{{ end }}", "line 1: range over the template's input is not supported"),
        ("{{ range .Prompt }}{{ end }}", "line 1: range over text is not supported"),
        ("{{ index .Prompt 1 }}", "line 1: index of text is not supported"),
        ('{{ printf "%5d" 1 }}', "line 1: printf's %5 is not supported"),
        ("{{ printf .Prompt }}", "line 1: printf takes a format that is written out"),
        ('{{ printf "%s" }}', "line 1: printf has fewer values than its format names"),
        ('{{ printf "" 1 }}', "line 1: printf has more values than its format names"),
        *(
            (f"{{{{ {name} }}}}", f"line 1: wrong number of arguments for {name}")
            for name in ("not", "and", "or", "eq", "len", "index", "slice", "json", "toTypeScriptType")
        ),
        ("{{ lt 1 }}", "line 1: wrong number of arguments for <"),
        ("{{ len 5 }}", "line 1: len of a number is not supported"),
        ("{{ slice 5 }}", "line 1: slice of a number is not supported"),
        ("{{ if 1 }}{{ else with 1 }}{{ end }}", "line 1: else with cannot follow if"),
        ("{{ range 1 }}{{ else with 1 }}{{ end }}", "line 1: else with cannot follow range"),
        ("{{ with 1 }}{{ else if 1 }}{{ end }}", "line 1: else if cannot follow with"),
        (
            "{{ $i := 1 }}{{ range $i = .Messages }}{{ end }}",
            "line 1: range into variables that exist already",
        ),
        (r"{{ '\nab' }}", r"line 1: '\nab' is no character"),
        ("{{ eq end 1 }}", "line 1: end cannot stand here"),
        ('{{ "a".Role }}', "line 1: a constant has no fields"),
        ("{{ template .x }}", "line 1: string was expected, not 'x'"),
        ("{{ 'ab' }}", 'line 1: "\'" cannot stand in an action'),
        ("{{ '\\u00' }}", "line 1: a string holds an escape that Go does not know"),
        ("{{ '\\x41\\x' }}", 'line 1: "\'" cannot stand in an action'),
        ("{{ 0o99 }}", "line 1: '0' cannot stand in an action"),
        ("{{ 1__2 }}", "line 1: 1__2 is no number"),
        ('{{ template "x" . }}', "line 1: template 'x' is not defined"),
        ('{{ if 1 }}{{ define "x" }}{{ end }}{{ end }}', "line 1: define stands inside of another block"),
        ("{{ $x := .System }}{{ $x = .Tools }}", "line 1: $x was a JSON value and becomes the tools"),
        (r'{{ "\q" }}', "line 1: a string holds an escape that Go does not know"),
        (r'{{ "\xff" }}', "line 1: a string holds an escape that Go does not know"),
        (r'{{ "\ud800" }}', "line 1: a string holds an escape that Go does not know"),
        ("{{ 99999999999999999999 }}", "line 1: 99999999999999999999 is too large a number"),
        ("{{ 1e99 }}", "line 1: 1e99: numbers with an exponent are not supported"),
        ("\ud800", "line 1: it holds half a surrogate pair"),
    ],
)
def test_what_cannot_be_converted_is_told_with_its_line(go: str, reason: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        to_jinja(go)
    assert reason in caught.value.message


WORDS = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{ ",
            " }}",
            "{{- ",
            " -}}",
            "if ",
            "else ",
            "end",
            "range ",
            "with ",
            "define ",
            "block ",
        ),
        *("template ", "break", "continue", ".", ".Messages", ".Prompt", ".Response", ".Role"),
        *(
            ".ToolCalls",
            "$",
            "$x",
            " := ",
            " = ",
            "|",
            "(",
            ")",
            ",",
            " ",
            '"a"',
            "`b`",
            "'c'",
            "1",
            "-2",
            "eq ",
            "and ",
        ),
        *("len ", "index ", "slice ", "json ", "printf ", "text", "\n", "/*", "*/", "{%", "{#"),
    ]
)


@given(st.lists(WORDS, max_size=30).map("".join) | st.text())
def test_any_text_becomes_jinja_that_compiles_or_a_typed_error(go: str) -> None:
    try:
        converted = to_jinja(go)
    except TemplateInvalid:
        return
    recognise(go)
    ChatTemplate(converted, "", "")
