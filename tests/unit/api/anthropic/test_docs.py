"""`docs/anthropic.md` and the models name the same fields, types and reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.api import anthropic_errors, error_responses
from appliance.api.anthropic import outcome, schema
from appliance.api.dialect.fields import Body
from appliance.wire.messages import FinishReason, Usage

PAGE = (Path(__file__).parents[4] / "docs" / "anthropic.md").read_text()
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))
MODELS = [
    schema.MessagesBody,
    schema.CountTokensBody,
    schema.TextBlock,
    schema.ThinkingBlock,
    schema.RedactedThinkingBlock,
    schema.ToolUseBlock,
    schema.ToolResultBlock,
    schema.Tool,
    schema.ToolChoiceField,
    schema.Thinking,
    schema.OutputConfig,
    schema.Metadata,
]


def rows(head: str) -> Iterator[list[str]]:
    """The cells of the table that begins with `head`."""
    for line in PAGE.split(head)[1].split("\n\n")[0].splitlines()[1:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_on_the_page(model: type[Body]) -> None:
    assert set(model.model_fields) - {"type"} <= NAMED


def test_the_table_names_the_fields_of_a_message_and_no_others() -> None:
    told = {name for cells in rows("| field | |\n") for name in re.findall(r"`([a-z_]+)`", cells[0])}
    assert told == set(schema.MessagesBody.model_fields)


def test_what_is_counted_is_on_the_page() -> None:
    paragraph = next(part for part in PAGE.split("\n\n") if part.startswith("`count_tokens` takes"))
    assert set(schema.CountTokensBody.model_fields) <= set(re.findall(r"`([a-z_]+)`", paragraph))


def test_every_status_stands_beside_its_type() -> None:
    told = {
        int(status): cells[1].split("`")[1]
        for cells in rows("| status | type |\n")
        for status in re.findall(r"\d+", cells[0])
    }
    for row in error_responses.TABLE.values():
        status = anthropic_errors.status_of(row.status, row.code)
        body = {"error": {"message": "m"}}
        assert told[status] == anthropic_errors.error_object(body, status, "r")["error"]["type"], row


def test_every_reason_to_end_is_on_the_page() -> None:
    usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=1)
    found = {
        outcome.stop_of(reason, stop, usage, stop_sequences=("X",), max_tokens=most)[0]
        for reason in FinishReason
        for stop in (None, "X")
        for most in (1, 2)
    }
    assert len(found) == 5
    assert found <= NAMED
