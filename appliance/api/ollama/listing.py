"""GET /api/tags and /api/ps: what is there, and what is in memory.

Listed is what can be asked: the sound models of the store, and those of the configuration, which have no
digest and no details until they were loaded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import falcon

from appliance.api.calls import Calls
from appliance.api.exchange import exchange_of
from appliance.api.health import Report
from appliance.api.json_reply import reply
from appliance.api.ollama.answers import RunningAnswer, TagsAnswer
from appliance.api.ollama.stamps import expiry, moment
from appliance.api.openapi.operation import Operation, Operations, Tag
from appliance.errors import InvalidReference, OutpostError
from appliance.health.report import RunnerHealth
from appliance.store.capabilities import human_count
from appliance.store.digest import hex_of
from appliance.store.listing import ListedModel
from appliance.store.reference import parse_reference
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import ModelCard
from appliance.supervisor.states import RunnerState

_IN_MEMORY: Final = frozenset({RunnerState.READY.value, RunnerState.DRAINING.value})


class Tags:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="The models that can be asked", tag=Tag.OLLAMA, answer=TagsAnswer),
        "HEAD": Operation(summary="Whether anybody is there", tag=Tag.OLLAMA),
    }

    def __init__(self, calls: Calls, store: StoreVerbs | None) -> None:
        self._calls = calls
        self._store = store

    def on_head(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Whether anybody is there: nothing is read for it."""
        resp.content_type = "application/json"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        rows = [row for row in stored(self._store) if row.broken is None and exchange.sees(row.name)]
        known = {row.name for row in rows}
        others = [card for card in self._calls.models(exchange) if tagged(card.name) not in known]
        models = [row_object(row) for row in rows] + [card_object(card) for card in others if not card.reason]
        models.sort(key=lambda one: one["modified_at"], reverse=True)
        reply(resp, {"models": models})


class Running:
    """Stateless; any thread."""

    OPERATIONS: ClassVar[Operations] = {
        "GET": Operation(summary="The models in memory", tag=Tag.OLLAMA, answer=RunningAnswer)
    }

    def __init__(self, report: Report, calls: Calls, store: StoreVerbs | None) -> None:
        self._report = report
        self._calls = calls
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = exchange_of(req)
        seen = [one for one in self._report().runners if exchange.sees(one.model)]
        runners = [one for one in seen if one.state in _IN_MEMORY]
        rows = {row.name: row for row in stored(self._store)} if runners else {}
        cards = {card.name: card for card in self._calls.models(exchange)}
        told = [
            running_object(runner, rows.get(tagged(runner.model)), cards.get(runner.model))
            for runner in runners
        ]
        told.sort(key=lambda one: one["expires_at"], reverse=True)
        reply(resp, {"models": told})


def stored(store: StoreVerbs | None) -> Sequence[ListedModel]:
    return store.list() if store is not None else ()


def row_object(row: ListedModel) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": row.name,
        "modified_at": moment(row.modified_s),
        "size": row.size_bytes,
        "digest": hex_of(row.digest),
        "details": row_details(row),
    }


def row_details(row: ListedModel) -> dict[str, Any]:
    return details(family=row.architecture, parameters=row.parameters, quantization=row.quantization)


def card_object(card: ModelCard) -> dict[str, Any]:
    """One of the configuration."""
    name = tagged(card.name)
    return {
        "name": name,
        "model": name,
        "modified_at": moment(card.created_s),
        "size": card.size_bytes,
        "digest": "",
        "details": card_details(card),
    }


def card_details(card: ModelCard | None) -> dict[str, Any]:
    facts = card.facts if card is not None else None
    return details(family="", parameters=human_count(facts.n_params) if facts else "", quantization="")


def details(*, family: str, parameters: str, quantization: str) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else None,
        "parameter_size": parameters,
        "quantization_level": quantization,
    }


def running_object(runner: RunnerHealth, row: ListedModel | None, card: ModelCard | None) -> dict[str, Any]:
    size_bytes = runner.rss_bytes or runner.measured_bytes or runner.planned_bytes or 0
    expires_at = expiry(runner.expires_in_s)
    if runner.state == RunnerState.DRAINING:
        expires_at = datetime.now(UTC).isoformat(timespec="microseconds")  # "Stopping..." for `ollama ps`
    name = tagged(runner.model)
    return {
        "name": name,
        "model": name,
        "size": size_bytes,
        "digest": hex_of(row.digest) if row else "",
        "details": row_details(row) if row else card_details(card),
        "expires_at": expires_at,
        "size_vram": _vram_bytes(runner, size_bytes),
        "context_length": runner.n_ctx_seq or 0,
    }


def _vram_bytes(runner: RunnerHealth, size_bytes: int) -> int:
    """By the share of the layers that are on the GPU: nobody tells it exactly."""
    if runner.device in (None, "cpu") or not runner.n_layers:
        return 0
    return size_bytes * min(runner.n_gpu_layers or 0, runner.n_layers) // runner.n_layers


def tagged(name: str) -> str:
    """As Ollama shows a name: never without its tag. A name that only the configuration allows stays."""
    with suppress(InvalidReference):
        return parse_reference(name).display
    return name


def row_of(store: StoreVerbs | None, name: str) -> ListedModel | None:
    """The stored model that a name stands for."""
    wanted = tagged(name).casefold()
    with suppress(OutpostError):
        return next((row for row in stored(store) if row.name.casefold() == wanted), None)
    return None
