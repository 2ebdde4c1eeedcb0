"""The OpenAPI document, held against the standard by a validator of other people's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
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


def test_every_example_is_what_its_own_schema_allows() -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    bodies = [
        (path, told["requestBody"]["content"]["application/json"])
        for path, item in document["paths"].items()
        for told in item.values()
        if "application/json" in told.get("requestBody", {}).get("content", {})
    ]
    faults = {path: _faults(document, body["schema"], body["example"]) for path, body in bodies}
    assert len(faults) >= 20
    assert {path: told for path, told in faults.items() if told} == {}


def test_a_keep_alive_is_a_number_or_a_text() -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    schema = {"$ref": "#/components/schemas/LoadBody"}
    for value in (-1, 0, 12.5, "10m", None):
        assert _faults(document, schema, {"model": "m", "keep_alive": value}) == []
    assert _faults(document, schema, {"model": "m", "keep_alive": [1]}) != []
    assert _faults(document, schema, {"model": "m", "other": 1}) != []


def _faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    whole = {**schema, "components": document["components"]}
    return [error.message for error in OAS31Validator(whole).iter_errors(value)]
