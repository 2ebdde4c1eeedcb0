"""The routes and what stands in front of them: takes its parts, adds routes, owns nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import falcon

from appliance import __version__
from appliance.access.audit import Audit
from appliance.access.claims import Claims
from appliance.access.key_store import KeyStore
from appliance.access.keys import KeyRing
from appliance.access.subnets import TrustedSubnets
from appliance.api import error_responses, health
from appliance.api.accounting import Accounting, AccountingMiddleware
from appliance.api.anthropic.count_tokens import CountTokens
from appliance.api.anthropic.messages import Messages
from appliance.api.caller import Callers
from appliance.api.calls import Calls, Limits
from appliance.api.device import Hardware, Hibernation, Snapshots
from appliance.api.exchange import Observer
from appliance.api.key_middleware import Guard, KeyMiddleware, Verifier
from appliance.api.keys import Claim, Key, KeyRotation, Keys
from appliance.api.middleware import HostMiddleware, OriginMiddleware, RequestMiddleware
from appliance.api.ollama import routes as ollama_routes
from appliance.api.openai.chat import ChatCompletions
from appliance.api.openai.completions import Completions
from appliance.api.openai.embeddings import Embeddings, Reranks
from appliance.api.openai.infill import Infill
from appliance.api.openai.models import Model, Models
from appliance.api.openai.responses.door import Response, ResponseCancel, ResponseInputs, Responses
from appliance.api.openai.responses.kept import KeptResponses, ResponseLimits
from appliance.api.openai.tokens import DetokenizeTokens, TokenizeText
from appliance.api.openapi.document import document
from appliance.api.openapi.resources import OpenApi, Page, Style
from appliance.api.places import PlacesMiddleware
from appliance.api.queue import Queue
from appliance.api.registry import ReadableLayout, Registry, RegistryRoot
from appliance.api.requests import CancelRequest, Requests
from appliance.api.residency import Fit, Load, Unload
from appliance.api.resuming.kept_streams import KeptStreams, ResumeLimits
from appliance.api.resuming.middleware import ResumeMiddleware
from appliance.api.resuming.resource import ResumeStream
from appliance.api.route_scopes import require_complete
from appliance.api.running import Running, RunningMiddleware
from appliance.api.store import StoredModel, StoredModels, StoreOperations
from appliance.api.store_changes import StoreChanges
from appliance.api.usage import UsageReport
from appliance.hardware.report import HardwareReport
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import Inference


class App(falcon.App[falcon.Request, falcon.Response]):
    """Remembers its resources, so that they can be described."""

    def __init__(self, middleware: Sequence[Any]) -> None:
        super().__init__(middleware=middleware)
        self.resources: dict[str, object] = {}
        """By the template of their route."""


def create_app(  # noqa: PLR0913 - the parts of the door, each named
    *,
    inference: Inference,
    report: health.Report,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    keys: Verifier | None = None,
    key_store: KeyStore | None = None,
    claims: Claims | None = None,
    trusted_subnets: Sequence[str] = (),
    guard: Guard | None = None,
    host_names: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
    observer: Observer | None = None,
    render_metrics: Callable[[], str] | None = None,
    store: StoreVerbs | None = None,
    layout: ReadableLayout | None = None,
    accounting: Accounting | None = None,
    audit: Audit | None = None,
    board: Callable[[], HardwareReport] | None = None,
    snapshots: Snapshots | None = None,
    responses: ResponseLimits = ResponseLimits(),  # noqa: B008 - frozen
    streams: KeptStreams | None = None,
) -> App:
    """The WSGI application. `keys` empty or None: open, which is right on loopback only. `report` is asked
    anew for every `/healthz` and `/readyz`. A part that is None: its routes do not exist.

    `key_store`: what `/outpost/v1/keys` changes, and `keys` where none are given; `claims`: what
    `/outpost/v1/claim` takes. `guard` hears of wrong keys. Clients of `trusted_subnets` may infer
    without one.

    `host_names`: names beside localhost, `*.local` and addresses by which this Outpost is called.
    `allowed_origins`: web pages that may use it, as `https://host[:port]`. `trusted_proxies`: who may say on
    whose behalf it calls (`caller.py`). `observer` and `render_metrics` are usually the two sides of one
    `telemetry.prometheus.Prometheus`. `store` and `layout`: the verbs of the model store, and what of it
    `/v2` gives to others; `board`: one sample of it; `snapshots`: the prompts on its disk. `accounting`:
    quotas and usage; None: nobody is counted or bounded. `audit`: who is told of changes; None: nobody.
    `responses`: how many answers of `/v1/responses` are kept, and for how long. `streams`: what is kept of
    streams beyond their connections, to be closed by who made it; None: none can be resumed.
    """
    kept, running = KeptStreams(ResumeLimits(keep_s=0)) if streams is None else streams, Running()
    key_guard = KeyMiddleware(
        next((one for one in (keys, key_store) if one is not None), KeyRing({})),
        subnets=TrustedSubnets(trusted_subnets),
        guard=guard if guard is not None or accounting is None else accounting.wrong_keys,
        host_names=host_names,
    )
    before = [
        RequestMiddleware(observer, Callers(trusted_proxies)),
        HostMiddleware(host_names),
        OriginMiddleware(allowed_origins),
        key_guard,
    ]
    app = App(before + _behind_the_key(limits, accounting, running, kept))
    error_responses.install(app)
    changes = None if store is None else StoreChanges(store, audit)
    _add_models(app, inference, limits, changes)
    _add_responses(app, inference, limits, KeptResponses(responses))
    _add_requests(app, running, kept)
    _add_all(app, ollama_routes.resources(inference, limits, report, changes))
    _add_documents(app)
    _add_health(app, report, render_metrics)
    _add_access(app, key_store, claims, accounting)
    _add_store(app, limits, changes, layout)
    _add_device(app, board, snapshots)
    return app


def _behind_the_key(
    limits: Limits, accounting: Accounting | None, running: Running, kept: KeptStreams
) -> list[Any]:
    """What a request passes when it is known whose it is."""
    return [
        PlacesMiddleware(limits.max_concurrent),
        *([AccountingMiddleware(accounting)] if accounting else []),
        RunningMiddleware(running),
        ResumeMiddleware(kept),
    ]


def _add_models(app: App, inference: Inference, limits: Limits, changes: StoreChanges | None) -> None:
    """All that asks a model, or about those who ask."""
    calls, fingerprint = Calls(inference), f"fp_outpost_{__version__}"
    _add(app, "/v1/chat/completions", ChatCompletions(calls, limits, fingerprint=fingerprint))
    _add(app, "/v1/completions", Completions(calls, limits, fingerprint=fingerprint))
    _add(app, "/v1/messages", Messages(calls, limits))
    _add(app, "/v1/messages/count_tokens", CountTokens(calls, limits))
    _add(app, "/v1/embeddings", Embeddings(calls, limits))
    for route in ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking"):
        _add(app, route, Reranks(calls, limits))
    _add(app, "/infill", Infill(calls, limits))
    _add(app, "/v1/queue", Queue(inference))
    _add(app, "/v1/models", Models(calls))
    _add(app, "/v1/models/{model:path}", Model(calls, changes))
    _add(app, "/outpost/v1/load", Load(calls, limits))
    _add(app, "/outpost/v1/unload", Unload(calls, limits))
    _add(app, "/outpost/v1/fit", Fit(calls, limits))
    _add(app, "/tokenize", TokenizeText(calls, limits))
    _add(app, "/detokenize", DetokenizeTokens(calls, limits))


def _add_responses(app: App, inference: Inference, limits: Limits, kept: KeptResponses) -> None:
    _add(app, "/v1/responses", Responses(Calls(inference), limits, kept))
    _add(app, "/v1/responses/{response_id}", Response(kept))
    _add(app, "/v1/responses/{response_id}/input_items", ResponseInputs(kept))
    _add(app, "/v1/responses/{response_id}/cancel", ResponseCancel(kept))


def _add_requests(app: App, running: Running, kept: KeptStreams) -> None:
    """What is under way, and what is kept of it."""
    _add(app, "/outpost/v1/requests", Requests(running))
    _add(app, "/outpost/v1/requests/{request_id}/cancel", CancelRequest(running))
    _add(app, "/outpost/v1/streams/{request_id}", ResumeStream(kept))


def _add_documents(app: App) -> None:
    """What may be asked here, for programs and for people."""
    _add(app, "/openapi.json", OpenApi(lambda: document(app.resources)))
    _add(app, "/docs", Page(lambda: document(app.resources)))
    _add(app, "/docs/style.css", Style())


def _add_health(app: App, report: health.Report, render_metrics: Callable[[], str] | None) -> None:
    _add(app, "/healthz", health.Health(report))
    _add(app, "/readyz", health.Readiness(report))
    if render_metrics is not None:
        _add(app, "/metrics", health.Metrics(render_metrics))


def _add_access(
    app: App, key_store: KeyStore | None, claims: Claims | None, accounting: Accounting | None
) -> None:
    if key_store is not None:
        _add(app, "/outpost/v1/keys", Keys(key_store))
        _add(app, "/outpost/v1/keys/{key_id}", Key(key_store))
        _add(app, "/outpost/v1/keys/{key_id}/rotate", KeyRotation(key_store))
    if claims is not None:
        _add(app, "/outpost/v1/claim", Claim(claims))
    if accounting is not None:
        _add(app, "/outpost/v1/usage", UsageReport(accounting.report))


def _add_store(app: App, limits: Limits, changes: StoreChanges | None, layout: ReadableLayout | None) -> None:
    if changes is not None:
        _add(app, "/outpost/v1/models", StoredModels(changes.store))
        _add(app, "/outpost/v1/models/{name:path}", StoredModel(changes.store))
        _add(app, "/outpost/v1/operations", StoreOperations(changes, limits))
    if layout is not None:
        _add(app, "/v2/", RegistryRoot())
        _add(app, "/v2/{rest:path}", Registry(layout))


def _add_device(app: App, board: Callable[[], HardwareReport] | None, snapshots: Snapshots | None) -> None:
    if board is not None:
        _add(app, "/outpost/v1/hardware", Hardware(board))
    if snapshots is not None:
        _add(app, "/outpost/v1/hibernation", Hibernation(snapshots))


def _add_all(app: App, resources: Iterable[tuple[str, object]]) -> None:
    for route, resource in resources:
        _add(app, route, resource)


def _add(app: App, route: str, resource: object) -> None:
    """Raises ValueError for a route without a rule who may ask it."""
    require_complete(route, resource)
    app.resources[route] = resource
    app.add_route(route, resource)
