"""The OpenAPI 3.1 document of the routes that an application has. Pure.

What a resource declares (`operation.py`) is put together with what other tables know: the scopes of
`route_scopes.TABLE`, the statuses and codes of `error_responses.TABLE`. So it cannot say what the door does
not do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from appliance import __version__
from appliance.api import answers, anthropic_errors, error_responses, ollama_errors, registry_errors
from appliance.api.anthropic.answers import ErrorAnswer as AnthropicErrorAnswer
from appliance.api.dialect.validation import IGNORED
from appliance.api.ollama.answers import ErrorAnswer as OllamaErrorAnswer
from appliance.api.openapi.operation import Operation, Parameter, Tag, operations_of
from appliance.api.openapi.schemas import Schema, schemas_of
from appliance.api.openapi.shared import (
    EVENTS,
    HEADERS,
    MODEL_HEADERS,
    PARAMETERS,
    SECURITY_SCHEMES,
    TAGS,
    TURN_PARAMETERS,
)
from appliance.api.route_scopes import TABLE, Needed

Object = dict[str, Any]
Routes = Mapping[str, object]
"""Template of falcon → resource."""

_VARIABLE: Final = re.compile(r"\{([a-z_]+)(?::[a-z]+(?:\([^)]*\))?)?\}")
_MODEL_ERRORS: Final = (404, 500, 503, 504)
_BODY_ERRORS: Final = (400, 413, 415)
_SCOPE_ERRORS: Final = (401, 403)


def document(routes: Routes) -> Object:
    """Of the operations that are described; `undescribed` tells the others."""
    found = list(_described(routes))
    by_place, named = schemas_of(
        [kind for _, _, operation in found for kind in _types_of(operation)] + _ERRORS
    )
    schemas = iter(by_place[place] for place in range(len(by_place)))
    paths: dict[str, Object] = {}
    for route, method, operation in found:
        told = _operation(route, method, operation, [next(schemas) for _ in _types_of(operation)])
        paths.setdefault(path_of(route), {})[method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outpost",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The Outpost that serves this document."}],
        "tags": [{"name": tag.value, "description": TAGS[tag]} for tag in Tag if tag in _tags(found)],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": named,
            "parameters": {name: _parameter(one) for name, one in PARAMETERS.items()},
            "headers": HEADERS,
            "responses": _error_responses(),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def undescribed(routes: Routes) -> list[str]:
    """Methods of routes that are in the table of scopes and in no resource's OPERATIONS, as `GET /route`."""
    return sorted(
        f"{method} {route}"
        for route, resource in routes.items()
        for method in TABLE.get(route, {})
        if method not in operations_of(resource)
    )


def path_of(route: str) -> str:
    """As OpenAPI writes it: `/v1/models/{model:path}` is `/v1/models/{model}`."""
    return _VARIABLE.sub(r"{\1}", route)


def _described(routes: Routes) -> Iterator[tuple[str, str, Operation]]:
    for route in sorted(routes):
        for method, operation in operations_of(routes[route]).items():
            yield route, method, operation


def _tags(found: list[tuple[str, str, Operation]]) -> set[Tag]:
    return {operation.tag for _, _, operation in found}


def _types_of(operation: Operation) -> list[Any]:
    """In the order in which `_operation` takes their schemas."""
    stream = operation.stream.item if operation.stream else None
    told = (operation.body, operation.answer, stream, operation.answers_unwell)
    return [kind for kind in told if kind is not None]


_ABOUT: Final = (
    "Language models on a device of your own, with no internet. Every error of an API has one form, and a "
    "field that is not honoured is refused or named in `X-Outpost-Warning`. Of OpenAI's fields these change "
    f"nothing, and are taken beside those of a body: {', '.join(f'`{name}`' for name in IGNORED)}."
)
_ERRORS: Final = [answers.ErrorAnswer, answers.RegistryErrorAnswer, OllamaErrorAnswer, AnthropicErrorAnswer]


def _operation(route: str, method: str, operation: Operation, schemas: list[Schema]) -> Object:
    rest = iter(schemas)
    body = next(rest) if operation.body is not None else None
    answer = next(rest) if operation.answer is not None else None
    item = next(rest) if operation.stream is not None else None
    unwell = next(rest) if operation.answers_unwell is not None else None
    needed = TABLE[route][method]
    told: Object = {
        "operationId": f"{method.lower()}_{re.sub('[^a-z0-9]+', '_', route.lower()).strip('_')}",
        "summary": operation.summary,
        "tags": [operation.tag.value],
        "security": _security(route, needed),
        "x-outpost-scopes": sorted(needed) if needed is not None else [],
    }
    if operation.about:
        told["description"] = operation.about
    if parameters := list(_parameters(route, operation)):
        told["parameters"] = parameters
    if body is not None:
        content: Object = {"schema": body}
        if operation.example is not None:
            content["example"] = dict(operation.example)
        told["requestBody"] = {"required": True, "content": {operation.body_media_type: content}}
    success = {} if operation.is_refused else {str(operation.status): _success(operation, answer, item)}
    told["responses"] = {**success, **_errors(route, operation, needed, unwell)}
    return told


def _security(route: str, needed: Needed) -> list[Object]:
    """Any one of these suffices."""
    if needed is None:
        return []
    is_registry = registry_errors.is_registry(route)
    schemes = ("bearer", "basic") if is_registry else ("bearer", "apiKey")
    return [{scheme: [scope.value]} for scheme in schemes for scope in sorted(needed)]


def _parameters(route: str, operation: Operation) -> Iterator[Object]:
    for name in _VARIABLE.findall(route):
        about = operation.path.get(name, "")
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": about,
        }
    if operation.asks_model:
        has_comments = operation.stream is not None and operation.stream.media_type == EVENTS
        names = TURN_PARAMETERS if has_comments else TURN_PARAMETERS[:-1]
        yield from ({"$ref": f"#/components/parameters/{name}"} for name in names)
    yield from (_parameter(one) for one in operation.parameters)


def _parameter(one: Parameter) -> Object:
    return {
        "name": one.name,
        "in": one.place,
        "required": one.required,
        "schema": dict(one.schema),
        "description": one.about,
    }


def _success(operation: Operation, answer: Schema | None, item: Schema | None) -> Object:
    content: dict[str, Object] = {}
    if answer is not None:
        content["application/json"] = {"schema": answer}
    if operation.media_type is not None:
        content[operation.media_type] = {"schema": {"type": "string"}}
    about = "Done."
    if operation.stream is not None and item is not None:
        content[operation.stream.media_type] = {"schema": {"type": "string"}, "x-outpost-item": item}
        about = operation.stream.about
    names = ["X-Request-Id", *(MODEL_HEADERS if operation.asks_model else ())]
    told: Object = {
        "description": about,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }
    return {**told, "content": content} if content else told


def _errors(route: str, operation: Operation, needed: Needed, unwell: Schema | None) -> Object:
    form = _form_of(route)
    statuses = {
        *operation.errors,
        *(_BODY_ERRORS if operation.body is not None else ()),
        *(_SCOPE_ERRORS if needed is not None else ()),
        *(_MODEL_ERRORS if operation.asks_model else ()),
    }
    told: Object = {
        str(status): {"$ref": f"#/components/responses/{form}Error{status}"} for status in sorted(statuses)
    }
    if unwell is not None:
        told["503"] = {"description": "Not well.", "content": {"application/json": {"schema": unwell}}}
    told["default"] = {"$ref": f"#/components/responses/{form}Error"}
    return told


def _form_of(route: str) -> str:
    """What stands before the names of its errors."""
    if registry_errors.is_registry(route):
        return "Registry"
    if anthropic_errors.is_anthropic(route):
        return "Anthropic"
    return "Ollama" if ollama_errors.is_ollama(route) else ""


def _error_responses() -> Object:
    """One for each status, with the codes it may come with, in each of the forms."""
    told: Object = {}
    for form in ("", "Registry", "Ollama", "Anthropic"):
        codes = error_responses.codes_by_status(form)
        content = {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{form}ErrorAnswer"}},
        }
        told[f"{form}Error"] = {"description": "Any other error, in the same form.", "content": content}
        for status, of_status in sorted(codes.items()):
            headers: Object = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
            if of_status.may_retry:
                headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
            shown = ", ".join(f"`{code}`" for code in sorted(of_status.codes))
            told[f"{form}Error{status}"] = {"description": shown, "headers": headers, "content": content}
    return told
