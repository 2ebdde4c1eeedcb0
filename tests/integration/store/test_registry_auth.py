"""Secrets go where they belong and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from appliance.errors import OutboundRefused, RemoteRefused
from appliance.store.copy import copy
from appliance.store.outbound import HostSettings
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.registry_push import RegistryTarget
from tests.fakes.oci_registry_faults import FaultyRegistry
from tests.integration.store.network import door_to, make_model, opened

MODEL = make_model(100_000)
PASSWORD = "alice:secret"
BASIC = "Basic " + base64.b64encode(PASSWORD.encode()).decode()


def _add(registry: FaultyRegistry) -> Reference:
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
    return parse_reference(f"{registry.host}/alice/smol:q4")


def test_a_bearer_token_is_fetched_once_for_our_scope_and_with_our_password(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.token_realm = f"{registry.url}/token"
        with door_to(registry, token=PASSWORD) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
        asked = registry.asked_for("^/token")
        assert [request.path for request in asked] == [
            "/token?service=fake&scope=repository%3Aalice%2Fsmol%3Apull"
        ]
        assert asked[0].headers["Authorization"] == BASIC
        sent = {request.headers.get("Authorization") for request in registry.asked_for("/v2/")}
        assert sent == {None, "Bearer sesame"}


def test_basic_authentication_shows_the_password_only_when_asked(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.basic = BASIC
        with door_to(registry, token=PASSWORD) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
        assert [request.headers.get("Authorization") for request in registry.asked][:3] == [
            None,
            BASIC,
            BASIC,
        ]


def test_a_push_asks_for_the_right_to_push(tmp_path: Path) -> None:
    with FaultyRegistry() as registry, FaultyRegistry() as source:
        name = _add(source)
        registry.knobs.token_realm = f"{registry.url}/token"
        target = parse_reference(f"{registry.host}/bob/smol:q4")
        with door_to(registry, source) as door:
            copy(RegistrySource(door, name), name, RegistryTarget(door, target), as_reference=target)
        assert "repository%3Abob%2Fsmol%3Apull%2Cpush" in registry.asked_for("^/token")[0].path
        assert registry.manifests["bob/smol", "q4"][1] == MODEL.content


def test_a_wrong_password_is_tried_once_and_refused(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.basic = BASIC
        with (
            door_to(registry, token="alice:wrong") as door,
            opened(tmp_path) as layout,
            pytest.raises(RemoteRefused, match="401"),
        ):
            copy(RegistrySource(door, name), name, layout)
        assert len(registry.asked) == 2


def test_a_token_that_is_never_good_enough_ends_in_a_refusal_not_in_a_loop() -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.token_realm = f"{registry.url}/token"
        registry.answer_with("/manifests/", lambda exchange: registry._challenge(exchange))
        with door_to(registry) as door, pytest.raises(RemoteRefused, match="401"):
            RegistrySource(door, name).resolve(name)
        assert len(registry.asked) == 3


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, b"no"),
        (200, b"no JSON"),
        (200, b"{}"),
        (200, b'{"token": "with\\nnewline"}'),
        (200, b'{"token": 5}'),
        (200, b"[" * 50_000),
        (200, b'{"token": "' + b"x" * 100_000 + b'"}'),
        (302, b""),
    ],
    ids=["refused", "no JSON", "none", "a newline", "a number", "deep", "too long", "a redirect"],
)
def test_a_realm_that_gives_no_good_token_is_a_refusal(status: int, answer: bytes) -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.token_realm = f"{registry.url}/token?account=x"
        registry.answer_with("^/token", lambda exchange: exchange.send(status, answer))
        with door_to(registry) as door, pytest.raises(RemoteRefused):
            RegistrySource(door, name).resolve(name)
        assert len(registry.asked_for("^/token")) == 1


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1:1/token", "http://metadata.example/token", "file:///etc"]
)
def test_a_realm_elsewhere_is_not_asked(realm: str) -> None:
    with FaultyRegistry() as registry:
        name = _add(registry)
        registry.knobs.token_realm = realm
        with door_to(registry, token=PASSWORD) as door, pytest.raises(OutboundRefused):
            RegistrySource(door, name).resolve(name)


def test_a_realm_at_an_allowed_host_gets_that_host_s_secret_and_not_the_registry_s() -> None:
    with FaultyRegistry() as registry, FaultyRegistry("127.0.0.2") as realm:
        name = _add(registry)
        registry.knobs.token_realm = f"{realm.url}/token"
        own = {realm.host: HostSettings(insecure=True, token="realm:own")}
        with door_to(registry, redirects_to=(realm.host,), token=PASSWORD, more=own) as door:
            RegistrySource(door, name).resolve(name)
        given = realm.asked_for("^/token")[0].headers["Authorization"]
        assert base64.b64decode(given.removeprefix("Basic ")) == b"realm:own"


def test_a_redirect_to_another_host_takes_no_secret_along(tmp_path: Path) -> None:
    with FaultyRegistry() as registry, FaultyRegistry("127.0.0.2") as cdn:
        name = _add(registry)
        cdn.blobs = registry.blobs
        registry.knobs.blob_location = cdn.url
        own = {cdn.host: HostSettings(insecure=True)}
        with (
            door_to(registry, redirects_to=(cdn.host,), token="a-bearer-token", more=own) as door,
            opened(tmp_path) as layout,
        ):
            copy(RegistrySource(door, name), name, layout)
        assert {request.headers.get("Authorization") for request in registry.asked} == {
            "Bearer a-bearer-token"
        }
        assert {request.headers.get("Authorization") for request in cdn.asked} == {None}
