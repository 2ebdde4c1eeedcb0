"""Registries that lie, stall, break off, lead astray: each a typed error; nothing stays but what resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import (
    DigestMismatch,
    InsufficientSpace,
    ManifestInvalid,
    ModelNotFound,
    OutboundRefused,
    OutpostError,
    RemoteRefused,
    RemoteUnreachable,
)
from appliance.store import retry
from appliance.store.copy import copy
from appliance.store.digest import digest_of
from appliance.store.http import Door, Patience
from appliance.store.outbound import Outbound
from appliance.store.reference import Reference, parse_reference
from appliance.store.registry import RegistrySource
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry
from tests.integration.store.network import IMPATIENT, Model, door_to, make_model, opened

MODEL = make_model()
HASTY = Patience(connect_s=2, head_s=0.3, small_s=0.3, stall_s=0.3, floor_bytes=4096)
NAME = "alice/smol"
Fault = Callable[[FaultyRegistry], None]


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


def _reference(registry: FaultyRegistry) -> Reference:
    return parse_reference(f"{registry.host}/{NAME}:q4")


def _pull(registry: FaultyRegistry, root: Path, model: Model = MODEL, patience: Patience = IMPATIENT) -> None:
    if not registry.manifests:
        registry.add(NAME, "q4", model.content, model.blobs)
    reference = _reference(registry)
    with door_to(registry, patience=patience) as door, opened(root) as layout:
        copy(RegistrySource(door, reference), reference, layout)


def _send(status: int, content: bytes = b"", **headers: str) -> Callable[[Exchange], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.send(status, content, named)


def _drip(head: bytes, piece: bytes = b"x", every_s: float = 0.05) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.drip(piece, every_s, head)


def _flood(head: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.drip(b"x" * 1_000_000, 0.0, head)


def _many_layers(count: int) -> bytes:
    layer = {"mediaType": "application/x", "digest": f"sha256:{'0' * 64}", "size": 1}
    return json.dumps({"schemaVersion": 2, "config": layer, "layers": [layer] * count}).encode()


_OK = b"HTTP/1.1 200 OK\r\n"
_MANIFEST_FAULTS: list[tuple[str, Callable[[Exchange], None], type[OutpostError]]] = [
    ("headers without end", _flood(_OK + b"X-A: "), RemoteUnreachable),
    ("many headers without end", lambda e: e.drip(b"X-A: b\r\n" * 1000, 0.0, _OK), RemoteUnreachable),
    ("headers that drip", _drip(_OK, b"X"), RemoteUnreachable),
    ("a body that drips", _drip(_OK + b"Content-Length: 2000\r\n\r\n"), RemoteUnreachable),
    ("a body without end", _flood(_OK + b"\r\n"), RemoteRefused),
    ("a chunk size without end", _flood(_OK + b"Transfer-Encoding: chunked\r\n\r\n"), RemoteUnreachable),
    ("a body too large by its length", _flood(_OK + b"Content-Length: 9000000000\r\n\r\n"), RemoteRefused),
    (
        "a body cut short",
        _drip(_OK + b"Content-Length: 9\r\nConnection: close\r\n\r\n", b"", 9),
        RemoteUnreachable,
    ),
    ("gzip", _send(200, b"\x1f\x8b", Content_Encoding="gzip"), RemoteRefused),
    ("no HTTP", _drip(b"SSH-2.0-OpenSSH\r\n", b"", 9), RemoteUnreachable),
    ("a redirect to itself", lambda e: e.send(307, b"", {"Location": e.path}), RemoteRefused),
    ("a redirect to a name", _send(302, Location="http://elsewhere.example/x"), OutboundRefused),
    ("a redirect to an address", _send(302, Location="http://169.254.169.254/latest"), OutboundRefused),
    ("a redirect to a file", _send(302, Location="file:///etc/passwd"), OutboundRefused),
    ("a redirect to a neighbour's port", _send(302, Location="http://127.0.0.1:1/x"), OutboundRefused),
    ("nothing there", _send(404), ModelNotFound),
    ("a server error", _send(503), RemoteRefused),
    ("a 401 without challenge", _send(401), RemoteRefused),
    ("a 401 of an unknown kind", _send(401, WWW_Authenticate="Negotiate"), RemoteRefused),
    (
        "a realm at another host",
        _send(401, WWW_Authenticate='Bearer realm="http://realm.example/token"'),
        OutboundRefused,
    ),
    ("no JSON", _send(200, b"<html>"), ManifestInvalid),
    ("deep JSON", _send(200, b"[" * 100_000), ManifestInvalid),
    ("an empty body", _send(200, b""), ManifestInvalid),
    ("20,000 layers", _send(200, _many_layers(20_000)), ManifestInvalid),
    ("a million layers", _send(200, _many_layers(1_000_000)), RemoteRefused),
    (
        "another digest in the header",
        _send(200, MODEL.content, Docker_Content_Digest=f"sha256:{'0' * 64}"),
        DigestMismatch,
    ),
]


@pytest.mark.parametrize(
    ("fault", "expected"), [case[1:] for case in _MANIFEST_FAULTS], ids=[case[0] for case in _MANIFEST_FAULTS]
)
def test_a_hostile_manifest_is_a_typed_error(
    tmp_path: Path, fault: Callable[[Exchange], None], expected: type[OutpostError]
) -> None:
    with FaultyRegistry() as registry:
        registry.answer_with(r"/manifests/", fault)
        with pytest.raises(expected):
            _pull(registry, tmp_path / "store", patience=HASTY)
    assert list((tmp_path / "store" / "blobs" / "sha256").iterdir()) == []
    assert list((tmp_path / "store" / "ingest").iterdir()) == []


_BLOB_FAULTS: list[tuple[str, Callable[[Exchange], None], type[OutpostError]]] = [
    ("other bytes", lambda e: e.registry.serve(e, bytes(len(MODEL.weights))), DigestMismatch),
    ("a longer file", lambda e: e.registry.serve(e, MODEL.weights + b"x"), DigestMismatch),
    ("a shorter file", lambda e: e.registry.serve(e, MODEL.weights[:-1]), DigestMismatch),
    ("other ranges", _send(206, b"x" * 65536, Content_Range="bytes 7-65542/9000000"), RemoteRefused),
    ("ranges without their range", _send(206, b"x" * 65536), RemoteRefused),
    ("gzip", _send(200, b"\x1f\x8b", Content_Encoding="gzip"), RemoteRefused),
    ("a redirect elsewhere", _send(307, Location="https://cdn.example/x"), OutboundRefused),
    ("redirects in a circle", lambda e: e.send(307, b"", {"Location": e.path}), RemoteRefused),
    ("nothing there", _send(404), RemoteRefused),
    ("a stream that stalls", _drip(_OK + b"Content-Length: 9000000\r\n\r\n", b"", 30), RemoteUnreachable),
    ("a stream that drips", _drip(_OK + b"Content-Length: 9000000\r\n\r\n"), RemoteUnreachable),
    (
        "a byte per connection",
        lambda e: e.drip(b"", 0.0, _OK + b"Content-Length: 9000000\r\n\r\nx"),
        RemoteUnreachable,
    ),
]


@pytest.mark.parametrize(
    ("fault", "expected"), [case[1:] for case in _BLOB_FAULTS], ids=[case[0] for case in _BLOB_FAULTS]
)
def test_a_hostile_blob_is_a_typed_error_and_no_blob(
    tmp_path: Path, fault: Callable[[Exchange], None], expected: type[OutpostError]
) -> None:
    with FaultyRegistry() as registry:
        registry.answer_with(f"/blobs/{MODEL.weight.digest}", fault)
        with pytest.raises(expected):
            _pull(registry, tmp_path / "store", patience=HASTY)
    digest = str(MODEL.weight.digest)[7:]
    assert not (tmp_path / "store" / "blobs" / "sha256" / digest).exists()
    with opened(tmp_path / "store") as layout:
        assert layout.references() == []


def test_no_digest_of_a_manifest_leads_out_of_the_store(tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    with FaultyRegistry() as registry, door_to(registry) as door, opened(tmp_path / "store") as layout:
        reference = _reference(registry)
        for digest in HOSTILE_DIGESTS:
            good = {"mediaType": "application/x", "digest": str(digest_of(b"x")), "size": 1}
            bad = {**good, "digest": digest}
            for config, layer in ((good, bad), (bad, good)):
                manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
                registry.manifests[NAME, "q4"] = ("application/json", manifest)
                with pytest.raises(ManifestInvalid):
                    copy(RegistrySource(door, reference), reference, layout)
        assert registry.asked_for("/blobs/") == []
    assert {path for path in tmp_path.rglob("*") if "store" not in path.parts} == before


def test_an_endless_body_ends_at_the_declared_size(tmp_path: Path) -> None:
    model = make_model(100_000)
    with FaultyRegistry() as registry:
        registry.answer_with(f"/blobs/{model.weight.digest}", _flood(_OK + b"\r\n"))
        with pytest.raises(DigestMismatch):
            _pull(registry, tmp_path / "store", model)


def test_a_declared_size_beyond_the_disk_is_refused_before_the_first_data_byte(tmp_path: Path) -> None:
    model = make_model(1000, declared_size=1 << 49)
    with FaultyRegistry() as registry:
        with pytest.raises(InsufficientSpace):
            _pull(registry, tmp_path / "store", model)
        assert registry.asked_for("/blobs/") == []


def test_no_host_is_called_that_is_not_named() -> None:
    with FaultyRegistry() as registry:
        with pytest.raises(OutboundRefused):
            RegistrySource(Door(Outbound()), _reference(registry))
        assert registry.asked == []


def test_a_pinned_name_gives_these_bytes_or_none(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        other = digest_of(b"other")
        registry.add(NAME, "q4", MODEL.content, MODEL.blobs)
        registry.manifests[NAME, str(other)] = registry.manifests[NAME, "q4"]
        registry.knobs.content_digest = False
        reference = _reference(registry).with_digest(other)
        with door_to(registry) as door, opened(tmp_path) as layout, pytest.raises(DigestMismatch):
            copy(RegistrySource(door, reference), reference, layout)


def test_a_stream_that_breaks_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        registry.knobs.break_after = [100_000, 2_000_000, 3_000_000, 70_000]
        _pull(registry, tmp_path / "store")
        assert registry.sent_bytes < 1.2 * len(MODEL.weights)
    with opened(tmp_path / "store") as layout:
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights


def test_a_server_without_ranges_sends_it_all_in_one_stream(tmp_path: Path) -> None:
    with FaultyRegistry() as registry:
        registry.knobs.ranges = False
        registry.knobs.content_length = False
        _pull(registry, tmp_path / "store")
        assert len(registry.asked_for(f"/blobs/{MODEL.weight.digest}")) == 2
    with opened(tmp_path / "store") as layout:
        assert layout.path(MODEL.weight.digest).read_bytes() == MODEL.weights
