"""Which route is whose: the table of `docs/ollama.md`, in code."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.api.calls import Calls, Limits
from appliance.api.health import Report
from appliance.api.ollama import cloud
from appliance.api.ollama.asking import Asking
from appliance.api.ollama.blobs import Blobs
from appliance.api.ollama.capabilities import Capabilities
from appliance.api.ollama.chat import Chat
from appliance.api.ollama.embed import Embed, Embeddings
from appliance.api.ollama.generate import GenerateText
from appliance.api.ollama.listing import Running, Tags
from appliance.api.ollama.names import Copy, Delete
from appliance.api.ollama.presence import Root, Status, Version
from appliance.api.ollama.show import Show
from appliance.api.ollama.transfers import Create, Pull, Push
from appliance.api.store_changes import StoreChanges
from appliance.supervisor.inference import Inference


def resources(
    inference: Inference,
    limits: Limits,
    report: Report,
    changes: StoreChanges | None,
) -> Iterator[tuple[str, object]]:
    """Every route with what answers it. Without a store, there are none that change it."""
    calls, store = Calls(inference), None if changes is None else changes.store
    asking = Asking(calls, limits, Capabilities(store))
    yield "/", Root()
    yield "/api/version", Version()
    yield "/api/status", Status()
    yield "/api/generate", GenerateText(asking)
    yield "/api/chat", Chat(asking)
    yield "/api/embed", Embed(asking)
    yield "/api/embeddings", Embeddings(asking)
    yield "/api/tags", Tags(calls, store)
    yield "/api/ps", Running(report, calls, store)
    yield "/api/show", Show(calls, limits, store)
    if changes is not None:
        yield "/api/create", Create(changes, limits)
        yield "/api/copy", Copy(changes, limits)
        yield "/api/delete", Delete(changes, limits)
        yield "/api/pull", Pull(changes, limits)
        yield "/api/push", Push(changes, limits)
        yield "/api/blobs/{digest}", Blobs(changes.store, limits)
    for route in cloud.ROUTES:
        yield route, cloud.refuser(route)
