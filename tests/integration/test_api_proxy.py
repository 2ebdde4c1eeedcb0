"""Behind a proxy of this machine every connection comes from loopback; who is who is told all the same."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.fakes.forwarding_proxy import ForwardingProxy
from tests.integration.api_door import PROMPT, Door, opened

EXPORT: dict[str, Any] = {"verb": "export", "name": "tiny", "path": "/a"}
CALLER = "X-Forwarded-For: 203.0.113.5"


def post(url: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(url + path, json=body, headers=headers, timeout=5.0, trust_env=False)


def export(url: str, headers: dict[str, str] | None = None) -> int:
    return post(url, "/outpost/v1/operations", EXPORT, headers).status_code


def through(door: Door, **settings: Any) -> ForwardingProxy:
    return ForwardingProxy(door.server.address, **settings)


@pytest.mark.parametrize("header", [CALLER, "Forwarded: for=203.0.113.5", "Via: 1.1 proxy", "X-Real-IP: ::1"])
def test_what_a_proxy_marks_names_no_files_though_nobody_named_the_proxy(header: str) -> None:
    store = FakeStoreVerbs()
    with opened(store=store) as door, through(door, header=header) as proxy:
        assert export(proxy.url) == 403
        assert export(door.url) == 200
    assert [call[0] for call in store.calls] == ["export"]


def test_a_proxy_that_marks_nothing_is_held_off_by_its_address() -> None:
    store = FakeStoreVerbs()
    with (
        opened(store=store, trusted_proxies=["127.0.0.2"]) as door,
        through(door, source="127.0.0.2") as proxy,
    ):
        assert export(proxy.url) == 403
        assert export(proxy.url, {"X-Forwarded-For": "127.0.0.1"}) == 403
        assert store.calls == []
        assert export(door.url) == 200


def test_behind_a_trusted_proxy_the_queue_is_fair_to_its_callers_and_not_to_whom_they_claim_to_be() -> None:
    with (
        opened(trusted_proxies=["127.0.0.2"]) as door,
        through(door, header=CALLER, source="127.0.0.2") as proxy,
    ):
        forged = {"X-Forwarded-For": "198.51.100.9"}
        assert post(proxy.url, "/v1/chat/completions", PROMPT, forged).status_code == 200
        assert post(door.url, "/v1/chat/completions", PROMPT, forged).status_code == 200
        assert door.inference.owners == ["203.0.113.5", "127.0.0.1"]
