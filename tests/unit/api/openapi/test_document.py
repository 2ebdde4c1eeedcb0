"""The OpenAPI document: every route is in it, and it says what the door does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, get_args

import falcon
import msgspec
import pydantic
import pytest

from appliance.api import error_responses, route_scopes
from appliance.api.ollama import cloud
from appliance.api.openai.schema import ChatBody, CompletionBody, EmbeddingBody, RerankBody
from appliance.api.openapi.__main__ import whole_door, written
from appliance.api.openapi.document import document, path_of, undescribed
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.api.openapi.schemas import schemas_of
from appliance.store import operations
from tests.fakes.fake_inference import MODEL
from tests.unit.api.door import HERE
from tests.unit.api.doors import Doors
from tests.unit.api.test_route_scopes import ALLOWED, PUBLIC, routes_of

ROOT = Path(__file__).parents[4]
TO_DO = """give the resource of each route OPERATIONS = {METHOD: Operation(...)} (api/openapi/operation.py),
with the model of its body and the shape of its answer; then: make docs"""
DOCUMENT = document(whole_door().resources)
OF_STORED = ("/api/delete", "/api/create", "/api/pull", "/api/push")
"""Their example is of the store, not of what is served."""
OPERATIONS = {
    f"{method.upper()} {path}": told
    for path, item in DOCUMENT["paths"].items()
    for method, told in item.items()
}


def test_every_route_is_described() -> None:
    door = whole_door()
    assert undescribed(door.resources) == [], TO_DO
    assert set(door.resources) == set(route_scopes.TABLE)


def test_it_has_every_method_of_the_table_of_scopes_and_no_other() -> None:
    table = {f"{method} {path_of(route)}" for route, told in route_scopes.TABLE.items() for method in told}
    assert set(OPERATIONS) == table


def test_the_copy_in_the_documents_is_current() -> None:
    """Else: `make docs`."""
    assert (ROOT / "docs/openapi.json").read_text(encoding="utf-8") == written()


def test_the_door_serves_the_document_of_its_own_routes(doors: Doors) -> None:
    door = doors.opened()
    told = door.get("/openapi.json").json
    assert {f"{m.upper()} {path}" for path, item in told["paths"].items() for m in item} == {
        f"{route.partition(' ')[0]} {path_of(route.partition(' ')[2])}" for route in routes_of(door)
    }
    assert told["info"] == DOCUMENT["info"]


@pytest.mark.parametrize("route", sorted(PUBLIC | set(ALLOWED)))
def test_an_operation_names_the_scopes_that_open_it(route: str) -> None:
    method, _, template = route.partition(" ")
    told = OPERATIONS[f"{method} {path_of(template)}"]
    scopes = ALLOWED.get(route, set())
    assert set(told["x-outpost-scopes"]) == scopes
    assert {scope for way in told["security"] for of_way in way.values() for scope in of_way} == scopes
    assert all(way.keys() <= DOCUMENT["components"]["securitySchemes"].keys() for way in told["security"])


@pytest.mark.parametrize(
    "body", [ChatBody, CompletionBody, EmbeddingBody, RerankBody], ids=lambda b: b.__name__
)
def test_a_body_has_the_fields_of_the_model_that_checks_it(body: type[pydantic.BaseModel]) -> None:
    schema = DOCUMENT["components"]["schemas"][body.__name__]
    assert set(schema["properties"]) == set(body.model_fields)
    assert schema["additionalProperties"] is False


def test_the_verbs_of_the_store_are_those_that_it_checks() -> None:
    content = OPERATIONS["POST /outpost/v1/operations"]["requestBody"]["content"]["application/json"]
    verbs = content["schema"]["discriminator"]["mapping"]
    assert set(verbs) == {kind.__struct_config__.tag for kind in get_args(operations.Operation)}


BODIES = {
    route: content["application/json"]
    for route, told in OPERATIONS.items()
    if "application/json" in (content := told.get("requestBody", {}).get("content", {}))
}


@pytest.mark.parametrize("route", BODIES)
def test_every_body_has_an_example_that_is_taken(route: str, doors: Doors) -> None:
    """Whatever becomes of it then."""
    method, _, path = route.partition(" ")
    example = BODIES[route]["example"]
    told = {**example, **({"model": MODEL} if "model" in example and path not in OF_STORED else {})}
    answer = doors.opened(keys=False).client.simulate_request(
        method, path.replace("{key_id}", doors.made_key()), host="localhost", remote_addr=HERE, json=told
    )
    assert answer.status_code not in {400, 404, 405, 413, 415, 500}, answer.text


def test_what_takes_no_json_is_a_blob_alone() -> None:
    others = {route for route, told in OPERATIONS.items() if "requestBody" in told} - BODIES.keys()
    assert others == {"POST /api/blobs/{digest}"}


def test_what_is_always_refused_has_no_success() -> None:
    refused = {
        route for route, told in OPERATIONS.items() if not any(s.startswith("2") for s in told["responses"])
    }
    cloud_routes = {f"{method} {path_of(route)}" for route, (method, _) in cloud.ROUTES.items()}
    assert refused == cloud_routes | {"POST /v1/responses/{response_id}/cancel"}


@pytest.mark.parametrize("route", OPERATIONS)
def test_an_error_has_the_form_of_its_api(route: str) -> None:
    path = route.partition(" ")[2]
    form = "Ollama" if path == "/" or path.startswith("/api/") else ""
    form = "Registry" if path.startswith("/v2") else form
    form = "Anthropic" if path.startswith("/v1/messages") else form
    told = OPERATIONS[route]["responses"]["default"]
    assert told == {"$ref": f"#/components/responses/{form}Error"}
    answered = DOCUMENT["components"]["responses"][f"{form}Error"]["content"]["application/json"]
    assert answered["schema"] == {"$ref": f"#/components/schemas/{form}ErrorAnswer"}


def test_names_of_types_say_whose_they_are_and_nothing_of_modules() -> None:
    names = set(DOCUMENT["components"]["schemas"])
    assert {"Message", "OllamaMessage", "AnthropicMessage", "ResponsesMessageItem", "ResponseBody"} <= names
    assert not [name for name in names if "__" in name]


def test_every_error_of_the_table_is_in_a_response() -> None:
    responses = DOCUMENT["components"]["responses"]
    for row in error_responses.TABLE.values():
        told = responses[f"Error{row.status}"]
        assert f"`{row.code}`" in told["description"]
        assert ("Retry-After" in told["headers"]) or not row.retry


def test_every_reference_leads_somewhere() -> None:
    references = set(_references(DOCUMENT))
    assert references
    for reference in references:
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_streams_tell_their_media_type_and_the_shape_of_a_piece() -> None:
    chat = OPERATIONS["POST /v1/chat/completions"]["responses"]["200"]["content"]
    assert chat["text/event-stream"]["x-outpost-item"] == {"$ref": "#/components/schemas/ChatChunk"}
    verbs = OPERATIONS["POST /outpost/v1/operations"]["responses"]["200"]["content"]
    assert set(verbs) == {"application/x-ndjson"}


def test_it_says_nothing_of_the_machine_that_it_was_made_on() -> None:
    text = json.dumps(DOCUMENT)
    assert str(ROOT) not in text
    assert "0x" not in text


def test_a_route_without_an_operation_is_told_by_its_name() -> None:
    class Silent:
        def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None: ...

    class Half:
        OPERATIONS: ClassVar[Operations] = {"GET": Operation(summary="x", tag=Tag.HEALTH)}

    assert undescribed({"/metrics": Silent(), "/v2/{rest:path}": Half()}) == [
        "GET /metrics",
        "HEAD /v2/{rest:path}",
    ]


def test_two_types_of_one_name_are_refused() -> None:
    ours = type("Pull", (pydantic.BaseModel,), {"__annotations__": {"other": int}})
    with pytest.raises(ValueError, match="Pull"):
        schemas_of([ours, operations.Pull])


def test_types_keep_their_places_whoever_describes_them() -> None:
    class One(msgspec.Struct):
        a: int

    class Two(pydantic.BaseModel):
        b: int

    by_place, named = schemas_of([Two, One, Two])
    assert [by_place[place]["$ref"].rpartition("/")[2] for place in range(3)] == ["Two", "One", "Two"]
    assert set(named) == {"One", "Two"}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in _references(item)]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []
