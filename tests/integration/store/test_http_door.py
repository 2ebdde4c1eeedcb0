"""The door itself: names that lead home, certificates, proxies, connections that serve again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import OutboundRefused, RemoteUnreachable
from appliance.store import retry
from appliance.store.copy import copy
from appliance.store.http import Door
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.reference import parse_reference
from appliance.store.registry import RegistrySource
from tests.fakes.oci_registry_faults import FaultyRegistry
from tests.fakes.tls import server_context, write_pem
from tests.integration.store.network import IMPATIENT, door_to, make_model, opened

MODEL = make_model(1_000_000)


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def canary() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as canary:
        yield canary


def test_a_name_that_resolves_to_this_machine_is_not_called(
    monkeypatch: pytest.MonkeyPatch, canary: FaultyRegistry
) -> None:
    resolve = socket.getaddrinfo

    def rebound(host: str, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host == "registry.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    there = f"registry.example:{canary.port}"
    door = Door(Outbound(hosts={there: HostSettings(insecure=True)}), patience=IMPATIENT)
    with pytest.raises(OutboundRefused, match="registry"):
        RegistrySource(door, parse_reference(f"{there}/alice/smol")).resolve(parse_reference(f"{there}/a/b"))
    door.close()
    assert canary.asked == []


def test_proxies_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, canary: FaultyRegistry, tmp_path: Path
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, canary.url)
    with FaultyRegistry() as registry:
        registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
        name = parse_reference(f"{registry.host}/alice/smol:q4")
        with door_to(registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
    assert canary.connections == 0


def test_connections_serve_again(tmp_path: Path) -> None:
    model = make_model(40_000_000)
    with FaultyRegistry() as registry:
        registry.add("alice/smol", "q4", model.content, model.blobs)
        name = parse_reference(f"{registry.host}/alice/smol:q4")
        with door_to(registry) as door, opened(tmp_path) as layout:
            copy(RegistrySource(door, name), name, layout)
        assert len(registry.asked) > 8
        assert registry.connections <= 4


def _registry_with_tls(pem: Path) -> tuple[FaultyRegistry, Outbound]:
    registry = FaultyRegistry(tls=server_context(pem))
    registry.add("alice/smol", "q4", MODEL.content, MODEL.blobs)
    return registry, Outbound(hosts={f"localhost:{registry.port}": HostSettings()})


def test_a_certificate_that_the_system_trusts_is_good(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = write_pem(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    registry, outbound = _registry_with_tls(pem)
    name = parse_reference(f"localhost:{registry.port}/alice/smol:q4")
    door = Door(outbound)
    with registry, opened(tmp_path / "store") as layout:
        copy(RegistrySource(door, name), name, layout)
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights
        door.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    registry, outbound = _registry_with_tls(write_pem(tmp_path))
    name = parse_reference(f"localhost:{registry.port}/alice/smol:q4")
    door = Door(outbound, patience=IMPATIENT)
    with registry, pytest.raises(RemoteUnreachable, match="certificate"):
        RegistrySource(door, name).resolve(name)
    door.close()
    assert registry.asked == []
