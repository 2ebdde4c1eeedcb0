"""`docs/api.md` and the code name the same fields and codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from appliance.api import error_responses
from appliance.api.dialect.fields import Body
from appliance.api.dialect.validation import IGNORED, REFUSED
from appliance.api.openai import schema
from appliance.store.operations import Operation

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))
BODIES = [
    schema.ChatBody,
    schema.CompletionBody,
    schema.EmbeddingBody,
    schema.RerankBody,
    schema.TokenizeBody,
    schema.DetokenizeBody,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_every_field_is_on_the_page(body: type[Body]) -> None:
    assert set(body.model_fields) <= NAMED


def test_every_field_that_is_ignored_or_refused_is_on_the_page() -> None:
    assert set(IGNORED) | set(REFUSED) <= NAMED


@pytest.mark.parametrize("verb", get_args(Operation), ids=lambda verb: verb.__name__)
def test_every_verb_of_the_store_and_its_fields_are_on_the_page(verb: type[msgspec.Struct]) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{verb.__struct_config__.tag}` |"))
    assert all(f"`{field}`" in row for field in verb.__struct_fields__)


def test_every_code_is_on_the_page_beside_its_status() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d{3} \|", line)]
    for row in error_responses.TABLE.values():
        if row.code in {"config_error", "address_in_use", "data_dir_in_use"}:  # never over HTTP
            continue
        assert any(line.startswith(f"| {row.status} | {row.type} ") and row.code in line for line in rows), (
            row
        )
