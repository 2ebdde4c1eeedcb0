"""Templates made to exhaust the converter, or Jinja and CPython behind it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from appliance.engine.prompt import MAX_SOURCE_BYTES, ChatTemplate
from appliance.errors import TemplateInvalid
from appliance.go_template import recognise, to_jinja
from appliance.go_template.expression_parser import MAX_DEPTH
from appliance.go_template.parser import MAX_LOOP_DEPTH
from tests.unit.cpu_time import least_cpu_s

HOSTILE = {
    "a megabyte of text": "a" * 1024 * 1024,
    "a megabyte of open actions": "{{" * 512 * 1024,
    "half a megabyte of wide letters": "ä" * 256 * 1024,
    "blocks in blocks": "{{ if 1 }}" * 5_000 + "{{ end }}" * 5_000,
    "parentheses in parentheses": "{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
    "ranges in ranges": "{{ range .Messages }}" * 20 + "{{ end }}" * 20,
    "else after else": "{{ with 1 }}" + "{{ else with 1 }}" * 2_000 + "{{ end }}",
    "declarations in else if": "{{ if $a := 1 }}" + "{{ else if $a := 1 }}" * 2_000 + "{{ end }}",
    "a definition that includes itself": '{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}',
    "two that include each other": '{{ define "a" }}{{ template "b" }}{{ end }}'
    '{{ define "b" }}x{{ template "a" }}{{ end }}{{ template "a" }}',
    "definitions that double": "".join(
        f'{{{{ define "{n}" }}}}{{{{ template "{n + 1}" }}}}{{{{ template "{n + 1}" }}}}{{{{ end }}}}'
        for n in range(30)
    )
    + '{{ define "30" }}{{ end }}{{ template "0" }}',
    "ranges in ranges by inclusion": "".join(
        f'{{{{ define "{n}" }}}}{{{{ range 1 }}}}{{{{ template "{n + 1}" }}}}{{{{ end }}}}{{{{ end }}}}'
        for n in range(30)
    )
    + '{{ define "30" }}{{ end }}{{ template "0" }}',
    "eq that doubles": "{{ " + "eq (" * 20 + "1" + ") 2 3" * 20 + " }}",
    "a chain of fields": "{{ range $k, $v := .Tools }}{{ $v" + ".Function" * 10_000 + " }}{{ end }}",
    "types in types": "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Arguments"
    + ".x" * 20_000
    + " }}{{ end }}{{ end }}",
    "a chain of pipes": "{{ 1" + " | not" * 10_000 + " }}",
    "a hundred thousand parts": "{{ 1 }}" * 18_000,
    "an open comment": "{{/*" * 30_000,
    "blanks before a mark": "{{ 1" + " " * 100_000 + "-",
    "an open string": '{{ "' + '\\"' * 60_000,
    "a long number": "{{ " + "1" * 100_000 + " }}",
    "a long word": "{{ " + "a" * 100_000 + " }}",
}


def rendered(go: str) -> str:
    return ChatTemplate(to_jinja(go), "", "").render(
        [{"role": "user", "content": "Hello"}], now=datetime(2026, 11, 22, tzinfo=UTC)
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_time(name: str) -> None:
    def refused() -> None:
        with pytest.raises(TemplateInvalid) as caught:
            to_jinja(HOSTILE[name])
        assert len(caught.value.message) < 500

    assert least_cpu_s(refused) < 2


def test_the_deepest_template_that_is_taken_compiles_and_renders() -> None:
    loops, blocks = MAX_LOOP_DEPTH, MAX_DEPTH - MAX_LOOP_DEPTH
    go = (
        "{{ range 1 }}" * loops
        + "{{ if 1 }}" * (blocks - 1)
        + "{{ ($.Prompt) }}"
        + "{{ end }}" * (blocks - 1)
        + "{{ end }}" * loops
    )  # fmt: skip
    assert rendered(go) == "Hello"


def test_ranges_that_an_inclusion_nests_compile_and_render() -> None:
    inner = "{{ range 1 }}{{ if 1 }}" * 3
    chained = f'{{{{ define "a" }}}}{inner}x{"{{ end }}" * 6}{{{{ end }}}}'
    outer = "{{ range 1 }}" * 8 + '{{ template "a" }}' + "{{ end }}" * 8
    assert rendered(chained + outer) == "x"


def test_a_long_chain_of_else_if_is_no_depth() -> None:
    branches = "".join(f'{{{{ else if eq .Prompt "{n}" }}}}{n}' for n in range(500))
    assert rendered("{{ if .System }}s" + branches + "{{ else }}e{{ end }}") == "e"


def test_what_grows_beyond_the_engines_bound_is_refused() -> None:
    with pytest.raises(TemplateInvalid, match="too large"):
        to_jinja("{{ .Prompt }}" + "\x01" * 60_000)
    assert len(to_jinja("{{ .Prompt }}" + "\x01" * 20_000)) <= MAX_SOURCE_BYTES


def test_a_template_of_sixty_kilobytes_is_taken() -> None:
    text = "word " * 12_000
    assert text in to_jinja("{{ .Prompt }}" + text)
    assert not recognise(text).tools
