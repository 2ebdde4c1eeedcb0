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
from appliance.api.store import Performer
from appliance.store.verbs import StoreVerbs
from appliance.supervisor.inference import Inference


def resources(
    inference: Inference,
    limits: Limits,
    report: Report,
    store: StoreVerbs | None,
    performer: Performer | None,
) -> Iterator[tuple[str, object]]:
    """Every route with what answers it. Without a store, there are none that change it."""
    calls = Calls(inference)
    asking = Asking(calls, limits, Capabilities(store))
    yield "/", Root()
    yield "/api/version", Version()
    yield "/api/status", Status()
    yield "/api/generate", GenerateText(asking)
    yield "/api/chat", Chat(asking)
    yield "/api/embed", Embed(asking)
    yield "/api/embeddings", Embeddings(asking)
    yield "/api/tags", Tags(inference, store)
    yield "/api/ps", Running(report, inference, store)
    yield "/api/show", Show(calls, limits, store)
    if store is not None and performer is not None:
        yield "/api/create", Create(performer, limits)
        yield "/api/copy", Copy(performer, limits)
        yield "/api/delete", Delete(performer, limits)
        yield "/api/pull", Pull(performer, limits)
        yield "/api/push", Push(performer, limits)
        yield "/api/blobs/{digest}", Blobs(store, limits)
    for route in cloud.ROUTES:
        yield route, cloud.refuser(route)
