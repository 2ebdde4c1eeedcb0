"""The OpenAPI document, held against the standard by a validator of other people's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

pytestmark = pytest.mark.integration

FILE = Path(__file__).parents[2] / "docs/openapi.json"


@pytest.mark.timeout(60)
def test_the_document_is_valid_openapi_3_1() -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.timeout(60)
def test_the_validator_would_tell() -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    document["paths"]["/v1/queue"]["get"]["operationId"] = ["no", "text"]
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) != []
