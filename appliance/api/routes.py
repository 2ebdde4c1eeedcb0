"""Which route is whose. A part that is None has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from appliance import __version__
from appliance.api import health
from appliance.api.anthropic.count_tokens import CountTokens
from appliance.api.anthropic.messages import Messages
from appliance.api.calls import Calls, Limits
from appliance.api.device import Hardware, Hibernation
from appliance.api.keys import Claim, Key, KeyRotation, Keys
from appliance.api.ollama import routes as ollama_routes
from appliance.api.openai.chat import ChatCompletions
from appliance.api.openai.completions import Completions
from appliance.api.openai.embeddings import Embeddings, Reranks
from appliance.api.openai.infill import Infill
from appliance.api.openai.models import Model, Models
from appliance.api.openai.responses.door import Response, ResponseCancel, ResponseInputs, Responses
from appliance.api.openai.responses.kept import KeptResponses
from appliance.api.openai.tokens import DetokenizeTokens, TokenizeText
from appliance.api.openapi.document import document
from appliance.api.openapi.resources import OpenApi, Page, Style
from appliance.api.parts import Credentials, Device, Metrics, Parts
from appliance.api.queue import Queue
from appliance.api.registry import ReadableLayout, Registry, RegistryRoot
from appliance.api.requests import CancelRequest, Requests
from appliance.api.residency import Fit, Load, Unload
from appliance.api.resuming.kept_streams import KeptStreams
from appliance.api.resuming.resource import ResumeStream
from appliance.api.running import Running
from appliance.api.store import StoredModel, StoredModels, StoreOperations
from appliance.api.store_changes import StoreChanges
from appliance.api.usage import UsageReport

Routes = Iterator[tuple[str, object]]


def resources(parts: Parts, running: Running, described: Mapping[str, object]) -> Routes:
    """Every route with what answers it. `described`: all of them, when the document is asked for."""
    inference, limits, stored = parts.inference, parts.limits, parts.stored
    calls = Calls(inference)
    changes = None if stored.store is None else StoreChanges(stored.store, stored.audit)
    yield from _models(calls, limits, changes)
    yield from _responses(calls, limits, KeptResponses(parts.kept.responses))
    yield from _requests(running, parts.kept.streams)
    yield from ollama_routes.resources(inference, limits, parts.report, changes)
    yield from _documents(described)
    yield from _health(parts.report, parts.metrics)
    yield from _credentials(parts.credentials)
    yield from _store(limits, changes, stored.layout)
    yield from _device(parts.device)


def _models(calls: Calls, limits: Limits, changes: StoreChanges | None) -> Routes:
    """All that asks a model, or about those who ask."""
    fingerprint = f"fp_outpost_{__version__}"
    yield "/v1/chat/completions", ChatCompletions(calls, limits, fingerprint=fingerprint)
    yield "/v1/completions", Completions(calls, limits, fingerprint=fingerprint)
    yield "/v1/messages", Messages(calls, limits)
    yield "/v1/messages/count_tokens", CountTokens(calls, limits)
    yield "/v1/embeddings", Embeddings(calls, limits)
    for route in ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking"):
        yield route, Reranks(calls, limits)
    yield "/infill", Infill(calls, limits)
    yield "/v1/queue", Queue(calls.inference)
    yield "/v1/models", Models(calls)
    yield "/v1/models/{model:path}", Model(calls, changes)
    yield "/outpost/v1/load", Load(calls, limits)
    yield "/outpost/v1/unload", Unload(calls, limits)
    yield "/outpost/v1/fit", Fit(calls, limits)
    yield "/tokenize", TokenizeText(calls, limits)
    yield "/detokenize", DetokenizeTokens(calls, limits)


def _responses(calls: Calls, limits: Limits, kept: KeptResponses) -> Routes:
    yield "/v1/responses", Responses(calls, limits, kept)
    yield "/v1/responses/{response_id}", Response(kept)
    yield "/v1/responses/{response_id}/input_items", ResponseInputs(kept)
    yield "/v1/responses/{response_id}/cancel", ResponseCancel(kept)


def _requests(running: Running, kept: KeptStreams) -> Routes:
    """What is under way, and what is kept of it."""
    yield "/outpost/v1/requests", Requests(running)
    yield "/outpost/v1/requests/{request_id}/cancel", CancelRequest(running)
    yield "/outpost/v1/streams/{request_id}", ResumeStream(kept)


def _documents(described: Mapping[str, object]) -> Routes:
    """What may be asked here, for programs and for people."""
    yield "/openapi.json", OpenApi(lambda: document(described))
    yield "/docs", Page(lambda: document(described))
    yield "/docs/style.css", Style()


def _health(report: health.Report, metrics: Metrics) -> Routes:
    yield "/healthz", health.Health(report)
    yield "/readyz", health.Readiness(report)
    if metrics.render_metrics is not None:
        yield "/metrics", health.Metrics(metrics.render_metrics)


def _credentials(credentials: Credentials) -> Routes:
    if (keys := credentials.key_store) is not None:
        yield "/outpost/v1/keys", Keys(keys)
        yield "/outpost/v1/keys/{key_id}", Key(keys)
        yield "/outpost/v1/keys/{key_id}/rotate", KeyRotation(keys)
    if credentials.claims is not None:
        yield "/outpost/v1/claim", Claim(credentials.claims)
    if credentials.accounting is not None:
        yield "/outpost/v1/usage", UsageReport(credentials.accounting.report)


def _store(limits: Limits, changes: StoreChanges | None, layout: ReadableLayout | None) -> Routes:
    if changes is not None:
        yield "/outpost/v1/models", StoredModels(changes.store)
        yield "/outpost/v1/models/{name:path}", StoredModel(changes.store)
        yield "/outpost/v1/operations", StoreOperations(changes, limits)
    if layout is not None:
        yield "/v2/", RegistryRoot()
        yield "/v2/{rest:path}", Registry(layout)


def _device(device: Device) -> Routes:
    if device.board is not None:
        yield "/outpost/v1/hardware", Hardware(device.board)
    if device.snapshots is not None:
        yield "/outpost/v1/hibernation", Hibernation(device.snapshots)
