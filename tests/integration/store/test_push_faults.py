"""Pushes that break off, and registries that say no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.errors import DigestMismatch, OutboundRefused, RemoteRefused
from appliance.store import registry_push, retry
from appliance.store.content import PUSHING, Progress
from appliance.store.copy import copy
from appliance.store.digest import Digest
from appliance.store.layout import Layout
from appliance.store.media_types import MODEL_CONFIG
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry_push import RegistryTarget
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry
from tests.integration.store.network import door_to, make_model, opened

MODEL = make_model(1_000_000)


@pytest.fixture(autouse=True)
def _small_pieces_and_no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(registry_push, "PIECE_BYTES", 300_000)


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with opened(tmp_path) as layout:
        for blob in MODEL.blobs:
            layout.put(blob, MODEL_CONFIG)
        layout.publish(parse_reference("smol:q4"), MODEL.resolved)
        yield layout


@contextmanager
def _target(
    registry: FaultyRegistry, mounts: Mapping[Digest, str] | None = None
) -> Iterator[tuple[RegistryTarget, Reference]]:
    name = parse_reference(f"{registry.host}/alice/smol:q4")
    with door_to(registry) as door:
        yield RegistryTarget(door, name, mounts=mounts or {}), name


def _push(layout: Layout, registry: FaultyRegistry, told: list[Progress] | None = None) -> None:
    with _target(registry) as (target, name):
        report = (lambda p: None) if told is None else told.append
        copy(layout, parse_reference("smol:q4"), target, as_reference=name, report=report)


def test_a_blob_goes_in_pieces_and_its_progress_is_told(layout: Layout) -> None:
    told: list[Progress] = []
    with FaultyRegistry() as registry:
        _push(layout, registry, told)
        pieces = [asked.headers["Content-Range"] for asked in registry.asked_for("uploads", "PATCH")]
        assert registry.blobs[str(MODEL.weight.digest)] == MODEL.weights
    assert pieces[1:] == ["0-299999", "300000-599999", "600000-899999", "900000-999999"]
    last = [p for p in told if p.digest == MODEL.weight.digest][-1]
    assert (last.status[:7], last.completed_bytes, last.total_bytes) == ("pushing", 1_000_000, 1_000_000)


def test_what_the_registry_has_is_not_sent_again(layout: Layout) -> None:
    with FaultyRegistry() as registry:
        _push(layout, registry)
        registry.asked.clear()
        _push(layout, registry)
        assert {asked.method for asked in registry.asked} == {"HEAD", "PUT"}
        assert registry.asked_for("uploads", "PUT") == []


def test_a_piece_that_fails_goes_on_where_the_registry_stands(layout: Layout) -> None:
    failed: list[str] = []

    def fail_once(exchange: Exchange) -> None:
        where = exchange.headers.get("Content-Range", "")
        if where.startswith("600000") and not failed:
            failed.append(where)
            exchange.send(503, b"")
        else:
            exchange.registry.route(exchange)

    with FaultyRegistry() as registry:
        registry.answer_with("uploads", fail_once)
        _push(layout, registry)
        assert registry.blobs[str(MODEL.weight.digest)] == MODEL.weights
        starts = [asked.headers["Content-Range"] for asked in registry.asked_for("uploads", "PATCH")]
    assert failed
    assert starts.count("300000-599999") == 1
    assert starts.count("600000-899999") == 2


def test_a_session_that_is_forgotten_starts_anew(layout: Layout) -> None:
    failed: list[str] = []

    def forget(exchange: Exchange) -> None:
        is_piece = exchange.headers.get("Content-Range", "").startswith("600000")
        if exchange.command == "GET" or (is_piece and not failed):
            failed.append(exchange.path)
            exchange.send(404 if exchange.command == "GET" else 502, b"")
        else:
            exchange.registry.route(exchange)

    with FaultyRegistry() as registry:
        registry.answer_with("uploads", forget)
        _push(layout, registry)
        assert registry.blobs[str(MODEL.weight.digest)] == MODEL.weights


@pytest.mark.parametrize("status", [400, 403, 413, 500])
def test_a_registry_that_refuses_is_a_typed_error_and_no_manifest(layout: Layout, status: int) -> None:
    with FaultyRegistry() as registry:
        registry.answer_with("uploads", lambda exchange: exchange.send(status, b'{"errors":[]}'))
        with pytest.raises(RemoteRefused, match=str(status)):
            _push(layout, registry)
        assert registry.manifests == {}


def test_an_upload_that_is_led_to_another_host_is_refused(layout: Layout) -> None:
    elsewhere = {"Location": "http://elsewhere.example/upload"}
    with FaultyRegistry() as registry:
        registry.answer_with("uploads", lambda exchange: exchange.send(202, b"", elsewhere))
        with pytest.raises(OutboundRefused):
            _push(layout, registry)


def test_a_registry_that_changes_the_manifest_is_found_out(layout: Layout) -> None:
    other = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    with FaultyRegistry() as registry:
        registry.answer_with("/manifests/", lambda exchange: exchange.send(201, b"", other))
        with pytest.raises(DigestMismatch):
            _push(layout, registry)


def test_a_listener_that_has_enough_stops_the_push(layout: Layout) -> None:
    class EnoughError(Exception):
        pass

    def report(progress: Progress) -> None:
        if progress.status.startswith("pushing") and progress.total_bytes == 1_000_000:
            raise EnoughError

    with FaultyRegistry() as registry, _target(registry) as (target, name):
        with pytest.raises(EnoughError):
            copy(layout, parse_reference("smol:q4"), target, as_reference=name, report=report)
        assert registry.manifests == {}


def test_a_push_is_told_in_ollama_s_words(layout: Layout) -> None:
    told: list[Progress] = []
    with FaultyRegistry() as registry, _target(registry) as (target, name):
        for _ in range(2):  # the second time all is there
            copy(
                layout,
                parse_reference("smol:q4"),
                target,
                as_reference=name,
                report=told.append,
                words=PUSHING,
            )
    short = str(MODEL.weight.digest)[7:19]
    statuses = list(dict.fromkeys(progress.status for progress in told))
    assert (statuses[0], statuses[-1]) == ("retrieving manifest", "pushing manifest")
    assert f"pushing {short}" in statuses
    assert not any(status.startswith("pulling") for status in statuses)


@pytest.mark.parametrize("status", [202, 400, 403, 404, 503])
def test_a_mount_that_is_refused_is_an_upload(layout: Layout, status: int) -> None:
    mounts = {MODEL.weight.digest: "bob/base"}
    with FaultyRegistry() as registry, _target(registry, mounts) as (target, name):
        registry.answer_with("mount=", lambda exchange: exchange.send(status, b'{"errors":[]}'))
        copy(layout, parse_reference("smol:q4"), target, as_reference=name)
        assert registry.blobs[str(MODEL.weight.digest)] == MODEL.weights
        assert registry.asked_for("mount=", "POST")[0].path.endswith("&from=bob%2Fbase")


def test_only_the_mount_asks_for_the_right_to_read_another_repository(layout: Layout) -> None:
    """A realm that gives nothing for it does not stop the push."""
    mounts = {MODEL.weight.digest: "bob/base"}
    with FaultyRegistry() as registry, _target(registry, mounts) as (target, name):
        registry.knobs.token_realm = f"{registry.url}/token"
        registry.answer_with("^/token.*bob", lambda exchange: exchange.send(403, b"no"))
        copy(layout, parse_reference("smol:q4"), target, as_reference=name)
        assert registry.blobs[str(MODEL.weight.digest)] == MODEL.weights
        scopes = [asked.path for asked in registry.asked_for("^/token")]
    assert sum("bob" in scope for scope in scopes) == 1
    assert sum("bob" not in scope for scope in scopes) == 1
