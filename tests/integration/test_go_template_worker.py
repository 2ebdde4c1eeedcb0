"""Converted templates in the process that renders them for real, within its bounds of time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.engine.template_format import TemplateSource, ToolFormat
from appliance.errors import InvalidRequest
from appliance.go_template import to_jinja
from appliance.runner.template_worker import TemplateClient, start_template_worker
from appliance.wire.messages import ChatPrompt
from tests.fakes.go_templates import FAMILIES

pytestmark = [pytest.mark.alone, pytest.mark.integration, pytest.mark.timeout(60)]

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client() -> Iterator[TemplateClient]:
    started = start_template_worker()
    yield started
    started.close()


def converted(go: str) -> TemplateSource:
    return TemplateSource(source=to_jinja(go), model="tiny")


def test_every_family_is_taken_and_answers_in_its_form(client: TemplateClient) -> None:
    formats = {name: client.set_template(converted(go)).tool_format for name, go in FAMILIES.items()}
    assert {name: found for name, found in formats.items() if found is not ToolFormat.JSON} == {
        "llama3_tools": ToolFormat.LLAMA3,
        "mistral_tools": ToolFormat.MISTRAL,
        "qwen_tools": ToolFormat.HERMES,
    }
    assert client.set_template(converted(FAMILIES["qwen3_thinking"])).reasoning is not None


@pytest.mark.parametrize("family", ["chatml", "qwen_tools", "llama3_tools", "qwen3_thinking"])
def test_a_chat_of_a_thousand_messages_is_rendered_in_time(client: TemplateClient, family: str) -> None:
    client.set_template(converted(FAMILIES[family]))
    chat = [
        {"role": "assistant" if turn % 2 else "user", "content": f"turn {turn} " + "x" * 1000}
        for turn in range(1001)
    ]
    start = time.monotonic()
    prompt = client.render(ChatPrompt(messages=chat))
    assert time.monotonic() - start < 2
    assert all(f"turn {turn} " in prompt for turn in range(1001))


@pytest.mark.parametrize(
    "go",
    [
        "{{ range $m := .Messages }}" + "{{ range 99999 }}" * 3 + "x" + "{{ end }}" * 4,
        '{{ $x := "aaaaaaaa" }}{{ range 99999 }}{{ $x = print $x $x }}{{ end }}{{ .Prompt }}',
        "{{ range 99999 }}{{ range 99999 }}{{ end }}{{ end }}{{ .Prompt }}",
        "{{ slice (index .Messages 5).Content 9 }}",
    ],
)  # fmt: skip
def test_a_template_that_runs_away_costs_one_request(client: TemplateClient, go: str) -> None:
    trap = "{{ if .System }}" + go + "{{ end }}" + ("" if ".Messages" in go else "{{ .Prompt }}")
    trap += "{{ range .Messages }}{{ .Content }}{{ end }}" if ".Messages" in go else ""
    client.set_template(converted(trap.replace("{{ if .System }}", '{{ if eq .System "now" }}')))
    with pytest.raises(InvalidRequest) as refused:
        client.render(ChatPrompt(messages=[{"role": "system", "content": "now"}, *HELLO]))
    assert refused.value.param == "messages"
    assert client.render(ChatPrompt(messages=HELLO)) == "Hello"


def test_a_hostile_tools_schema_is_refused_and_not_followed(client: TemplateClient) -> None:
    client.set_template(converted(FAMILIES["qwen_tools"]))
    for parameters in ("text", ["list"], {"properties": "text"}, {"properties": {"a": {"type": {"x": 1}}}}):
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        assert '"name":"f"' in client.render(ChatPrompt(messages=HELLO, tools=[tool]))
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = {"anyOf": [deep, deep] if len(str(deep)) < 100 else [deep]}
    typed = (
        "{{ range .Tools }}{{ range $name, $p := .Function.Parameters.Properties }}{{ toTypeScriptType $p }}"
    )
    go = "[TOOL_CALLS]" + typed + "{{ end }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}"
    client.set_template(converted(go))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": deep}}}}
    text = ""
    try:
        text = client.render(ChatPrompt(messages=HELLO, tools=[tool]))
    except InvalidRequest as error:
        text = error.message
    assert text
    assert client.render(ChatPrompt(messages=HELLO)) == "[TOOL_CALLS]Hello"
