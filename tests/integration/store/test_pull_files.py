"""Plain URLs, and hubs that only serve files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import (
    DigestMismatch,
    ManifestInvalid,
    ModelNotFound,
    OutboundRefused,
    OutpostError,
    RemoteRefused,
)
from appliance.store import retry
from appliance.store.content import Progress
from appliance.store.copy import copy
from appliance.store.digest import digest_of
from appliance.store.gc import collect
from appliance.store.hub import remote_source
from appliance.store.manifest import parse_manifest
from appliance.store.model import read_model
from appliance.store.reference import parse_reference
from appliance.store.registry import RegistrySource
from appliance.store.remote_file import download
from tests.fakes.oci_registry_faults import Exchange, FaultyRegistry
from tests.integration.store.network import door_to, make_model, opened

WEIGHTS = make_model().weights
OTHER = make_model(seed=3).weights


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as server:
        yield server


def _file(content: bytes, **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.registry.serve(exchange, content, headers)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {}], ids=["with a validator", "without"])
def test_a_file_becomes_a_blob(
    tmp_path: Path, server: FaultyRegistry, ranges: bool, headers: dict[str, str]
) -> None:
    server.knobs.ranges = ranges
    server.answer_with(r"/models/tiny\.gguf", _file(WEIGHTS, **headers))
    told: list[Progress] = []
    with door_to(server) as door, opened(tmp_path) as layout:
        (blob,) = download(door, [f"{server.url}/models/tiny.gguf"], layout, told.append)
        assert (blob.digest, blob.size) == (digest_of(WEIGHTS), len(WEIGHTS))
        assert layout.path(blob.digest).read_bytes() == WEIGHTS
    assert list((tmp_path / "ingest").iterdir()) == []
    assert told[0].status == "pulling tiny.gguf"


def test_a_file_resumes_where_it_stopped(tmp_path: Path, server: FaultyRegistry) -> None:
    server.answer_with("/tiny", _file(WEIGHTS, ETag='"one"'))
    server.knobs.chunk_delay_s = 0.005

    def stop_half_way(progress: Progress) -> None:
        if (progress.completed_bytes or 0) > 4_000_000:
            raise KeyboardInterrupt

    with door_to(server) as door, opened(tmp_path) as layout:
        with pytest.raises(KeyboardInterrupt):
            download(door, [f"{server.url}/tiny"], layout, stop_half_way)
        server.knobs.chunk_delay_s = 0.0
        (blob,) = download(door, [f"{server.url}/tiny"], layout, lambda p: None)
        assert layout.path(blob.digest).read_bytes() == WEIGHTS
    assert server.sent_bytes < 1.2 * len(WEIGHTS)


def test_a_part_that_is_yet_to_come_is_no_arrival_that_was_cut_off(
    tmp_path: Path, server: FaultyRegistry
) -> None:
    for name, content in (("first", WEIGHTS), ("second", OTHER)):
        server.answer_with(f"/{name}", _file(content, ETag=f'"{name}"'))
    first, second = f"{server.url}/first", f"{server.url}/second"

    def stop(progress: Progress) -> None:
        if progress.completed_bytes:
            raise KeyboardInterrupt

    with door_to(server) as door, opened(tmp_path) as layout:
        with pytest.raises(KeyboardInterrupt):
            download(door, [second], layout, stop)
        assert collect(layout, arrivals=True, dry_run=True).arrivals.blobs == 1
        freed: list[int] = []
        download(
            door,
            [first, second],
            layout,
            lambda _: freed.append(collect(layout, arrivals=True).arrivals.blobs),
        )
        assert set(freed) == {0}


def test_a_file_that_changes_on_the_way_is_not_mixed(tmp_path: Path, server: FaultyRegistry) -> None:
    answers = 0

    def change(exchange: Exchange) -> None:
        nonlocal answers
        answers += 1
        old = answers <= 3
        _file(WEIGHTS if old else OTHER, ETag='"one"' if old else '"two"')(exchange)

    server.answer_with("/tiny", change)
    with door_to(server) as door, opened(tmp_path) as layout:
        with pytest.raises(DigestMismatch, match="changed on the server"):
            download(door, [f"{server.url}/tiny"], layout, lambda p: None)
        (blob,) = download(door, [f"{server.url}/tiny"], layout, lambda p: None)
        assert layout.path(blob.digest).read_bytes() == OTHER


def test_a_file_of_unknown_size_is_refused(tmp_path: Path, server: FaultyRegistry) -> None:
    server.knobs.ranges = server.knobs.content_length = False
    server.answer_with("/tiny", _file(WEIGHTS))
    with (
        door_to(server) as door,
        opened(tmp_path) as layout,
        pytest.raises(RemoteRefused, match="size"),
    ):
        download(door, [f"{server.url}/tiny"], layout, lambda p: None)


def test_a_file_at_a_host_that_is_not_named_is_not_asked_for(tmp_path: Path, server: FaultyRegistry) -> None:
    with door_to() as door, opened(tmp_path) as layout, pytest.raises(OutboundRefused):
        download(door, [f"{server.url}/tiny"], layout, lambda p: None)
    assert server.asked == []


# ── hubs ────────────────────────────────────────────────────────────────────────────────────────


def _sibling(name: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"rfilename": name, "size": len(content), "lfs": {"sha256": digest, "size": len(content)}}


def _serve_hub(server: FaultyRegistry, files: dict[str, bytes], texts: dict[str, bytes]) -> None:
    siblings = [_sibling(name, content) for name, content in files.items()]
    siblings += [{"rfilename": name} for name in texts]
    listing = json.dumps({"id": "alice/Smol-GGUF", "siblings": siblings}).encode()
    server.answer_with(r"/api/models/alice/Smol-GGUF\?blobs=true", lambda e: e.send(200, listing))
    for name, content in {**files, **texts}.items():
        server.answer_with(f"/alice/Smol-GGUF/resolve/main/{name}$", _file(content))


FILES = {
    "Smol-Q8_0.gguf": OTHER,
    "Smol-Q4_K_M.gguf": WEIGHTS,
    "Smol-F16-00001-of-00002.gguf": WEIGHTS[:1000],
    "Smol-F16-00002-of-00002.gguf": WEIGHTS[1000:3000],
    "mmproj-Smol-F16.gguf": OTHER[:500],
}


@pytest.mark.parametrize(
    ("tag", "weights"),
    [
        ("", [WEIGHTS]),
        (":q8_0", [OTHER]),
        (":F16", [WEIGHTS[:1000], WEIGHTS[1000:3000]]),
    ],
)
def test_a_hub_of_files_gives_the_wanted_quantisation(
    tmp_path: Path, server: FaultyRegistry, tag: str, weights: list[bytes]
) -> None:
    _serve_hub(
        server, FILES, {"template": b"{{ .Prompt }}", "system": b"Be brief.", "params": b'{"top_k": 3}'}
    )
    name = parse_reference(f"hf.co/alice/Smol-GGUF{tag}")
    with door_to(server) as door, opened(tmp_path) as layout:
        resolved = copy(remote_source(door, name, hub=server.url), name, layout)
        manifest = parse_manifest(resolved.content, what="it")
        model = read_model(manifest, layout.fetch)  # type: ignore[arg-type]
        assert [layout.path(blob.digest).read_bytes() for blob in model.weights] == weights
        assert model.projector is not None
        assert model.projector.size == 500
        assert (model.template, model.template_kind, model.system) == ("{{ .Prompt }}", "go", "Be brief.")
        assert model.params["top_k"] == 3
        assert layout.references()[0][0] == name


def test_a_hub_is_asked_as_a_registry_first(tmp_path: Path, server: FaultyRegistry) -> None:
    model = make_model(1000)
    server.add("alice/Smol-GGUF", "Q4_1", model.content, model.blobs)
    name = parse_reference("hf.co/alice/Smol-GGUF:Q4_1")
    with door_to(server) as door, opened(tmp_path) as layout:
        assert copy(remote_source(door, name, hub=server.url), name, layout).content == model.content
    assert server.asked_for("/api/") == []


def test_a_quantisation_that_is_not_there_is_told_with_those_that_are(server: FaultyRegistry) -> None:
    _serve_hub(server, FILES, {})
    name = parse_reference("hf.co/alice/Smol-GGUF:Q2_K")
    with door_to(server) as door, pytest.raises(ModelNotFound, match="F16, Q4_K_M, Q8_0"):
        remote_source(door, name, hub=server.url).resolve(name)


def test_a_repository_that_is_not_there_is_told_so(server: FaultyRegistry) -> None:
    name = parse_reference("hf.co/alice/nothing")
    with door_to(server) as door, pytest.raises(ModelNotFound):
        remote_source(door, name, hub=server.url).resolve(name)


@pytest.mark.parametrize(
    ("listing", "error"),
    [
        (b"no JSON", ManifestInvalid),
        (b'{"siblings": 5}', ManifestInvalid),
        (
            b'{"siblings": [{"rfilename": "a-Q4_0.gguf", "lfs": {"sha256": "../..", "size": 1}}]}',
            ManifestInvalid,
        ),
        (
            b'{"siblings": [{"rfilename": "a-Q4_0.gguf", "lfs": {"sha256": "x", "size": -1}}]}',
            ManifestInvalid,
        ),
        (b'{"siblings": [{"rfilename": "a-Q4_0.gguf"}]}', ModelNotFound),
        (b'{"siblings": []}', ModelNotFound),
        (b'{"siblings": [' + b" " * 9_000_000, RemoteRefused),
    ],
    ids=["no JSON", "no list", "a path as digest", "a negative size", "no sizes", "empty", "too long"],
)
def test_a_hostile_list_of_files_is_a_typed_error(
    server: FaultyRegistry, listing: bytes, error: type[OutpostError]
) -> None:
    server.answer_with("/api/models/", lambda exchange: exchange.send(200, listing))
    name = parse_reference("hf.co/alice/Smol-GGUF")
    with door_to(server) as door, pytest.raises(error):
        remote_source(door, name, hub=server.url).resolve(name)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_hub_that_refuses_as_a_registry_is_not_asked_for_files(server: FaultyRegistry, status: int) -> None:
    server.answer_with("/v2/", lambda exchange: exchange.send(status, b""))
    name = parse_reference("hf.co/alice/Smol-GGUF")
    with door_to(server) as door, pytest.raises(RemoteRefused, match=str(status)):
        remote_source(door, name, hub=server.url).resolve(name)
    assert server.asked_for("/api/") == []


@pytest.mark.parametrize(
    ("file", "content"), [("params", b"[1]"), ("params", b'{"a": {}}'), ("system", b"\xff\xfe")]
)
def test_a_text_beside_the_files_that_cannot_be_read_is_a_typed_error(
    server: FaultyRegistry, file: str, content: bytes
) -> None:
    _serve_hub(server, FILES, {file: content})
    name = parse_reference("hf.co/alice/Smol-GGUF")
    with door_to(server) as door, pytest.raises(ManifestInvalid):
        remote_source(door, name, hub=server.url).resolve(name)


def test_other_names_and_unnamed_hubs_are_registries_or_nothing(server: FaultyRegistry) -> None:
    with door_to(server) as door:
        assert isinstance(
            remote_source(door, parse_reference(f"{server.host}/a/b"), hub=server.url), RegistrySource
        )
        with pytest.raises(OutboundRefused):
            remote_source(door, parse_reference("hf.co/a/b"))


def test_a_split_model_with_a_part_missing_is_refused(server: FaultyRegistry) -> None:
    _serve_hub(server, {"Smol-F16-00001-of-00002.gguf": b"x"}, {})
    name = parse_reference("hf.co/alice/Smol-GGUF")
    with door_to(server) as door, pytest.raises(ManifestInvalid, match="parts"):
        remote_source(door, name, hub=server.url).resolve(name)


def test_other_bytes_than_the_hub_s_list_says_are_no_blob(tmp_path: Path, server: FaultyRegistry) -> None:
    server.answer_with("Smol-Q4_K_M.gguf$", _file(OTHER))
    _serve_hub(server, FILES, {})
    name = replace(parse_reference("hf.co/alice/Smol-GGUF"))
    with door_to(server) as door, opened(tmp_path) as layout, pytest.raises(DigestMismatch):
        copy(remote_source(door, name, hub=server.url), name, layout)
