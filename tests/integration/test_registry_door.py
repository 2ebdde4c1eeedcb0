"""`/v2` on a real socket over a real layout: skopeo, ranges, slow and vanishing readers, hostile names."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from appliance.access.keys import KeyRing, NewKey, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.api.registry import MAX_STREAMS
from appliance.store.content import unreported
from appliance.store.descriptor import Descriptor, Manifest
from appliance.store.files import Files
from appliance.store.layout import Layout
from appliance.store.manifest import parse_manifest
from appliance.store.outbound import HostSettings, Outbound
from appliance.store.settings import StorePolicy
from appliance.store.store import ModelStore
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.fakes.stored_models import store_model
from tests.integration.api_door import Door, opened, wait_for

LARGE = 96 * 1024 * 1024
"""More than the kernel's socket buffers take, and enough to see memory grow if it did."""


@dataclass(frozen=True)
class Stored:
    layout: Layout
    manifest: Descriptor
    weights: Descriptor
    file: Path

    @property
    def blob(self) -> str:
        return f"/v2/library/large/blobs/{self.weights.digest}"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    directory = tmp_path_factory.mktemp("registry")
    file = directory / "large.gguf"
    with file.open("wb") as out:
        for number in range(LARGE // (1 << 20)):
            out.write(number.to_bytes(4, "little") * (1 << 18))
    with Layout(directory / "store", files=Files()) as layout:
        manifest = store_model(layout, "large", file, system="Be kind.")
        parsed = parse_manifest(layout.fetch(manifest), what="large")
        assert isinstance(parsed, Manifest)
        weights = next(layer for layer in parsed.layers if layer.size == LARGE)
        yield Stored(layout, manifest, weights, file)


@pytest.fixture
def door(stored: Stored) -> Iterator[Door]:
    with opened(layout=stored.layout) as door:
        yield door


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["library/large:latest", "large"])
def test_skopeo_takes_a_model_away_whole(door: Door, stored: Stored, tmp_path: Path, name: str) -> None:
    host, port = door.server.address
    source = f"docker://{host}:{port}/{name}"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{tmp_path}/out:tag"],
        check=True,
        timeout=50,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    blobs = {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()}
    assert {stored.manifest.digest[7:], stored.weights.digest[7:]} <= blobs
    assert sha256_of(tmp_path / "out/blobs/sha256" / stored.weights.digest[7:]) == stored.weights.digest[7:]


def _ring(key: NewKey) -> KeyRing:
    """Scope `models:read` alone is all that a mirror's client needs."""
    return KeyRing({key.key_id: StoredKey(sha256=key.sha256, scopes=frozenset({Scope.MODELS_READ}))})


def test_skopeo_sends_a_key_as_a_password(stored: Stored, tmp_path: Path) -> None:
    key = generate()
    with opened(layout=stored.layout, keys=_ring(key)) as door:
        host, port = door.server.address
        inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
        source = f"docker://{host}:{port}/library/large"
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        without = subprocess.run([*inspect, source], capture_output=True, timeout=20, env=env, check=False)
        creds = ["--creds", f"outpost:{key.text}"]
        told = subprocess.run(
            [*inspect, *creds, source], capture_output=True, timeout=20, env=env, check=True
        )
    assert without.returncode != 0
    assert told.stdout == stored.layout.fetch(stored.manifest)


@pytest.mark.parametrize("secret", ["{key}", "anybody:{key}"])
def test_our_own_pull_takes_a_model_from_it_also_behind_keys(
    tiny_model: Path, tmp_path: Path, secret: str
) -> None:
    key = generate()
    with Layout(tmp_path / "theirs", files=Files()) as layout:
        descriptor = store_model(layout, "tiny", tiny_model, system="Be kind.")
        with opened(layout=layout, keys=_ring(key)) as door:
            host = door.url.removeprefix("http://")
            settings = HostSettings(insecure=True, token=secret.format(key=key.text), redirects_to=())
            policy = StorePolicy(outbound=Outbound(hosts={host: settings}), hub=None, floor_fraction=0.0)
            with closing(ModelStore(tmp_path / "ours", policy)) as ours:
                assert ours.pull(f"{host}/library/tiny", unreported, as_name="mine") == "mine:latest"
                assert [model.digest for model in ours.list()] == [descriptor.digest]


def test_a_greeting_in_tls_is_turned_away_at_once(door: Door) -> None:
    """So that clients which try HTTPS first go on to HTTP."""
    with door.knock(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", timeout_s=5.0) as connection:
        assert connection.recv(100) == b""
    assert httpx.get(f"{door.url}/v2/", trust_env=False).status_code == 200


def test_parts_fetched_side_by_side_make_the_whole(door: Door, stored: Stored) -> None:
    part = LARGE // 3 + 1
    digest = hashlib.sha256()
    with httpx.Client(base_url=door.url, trust_env=False) as client:
        for start in range(0, LARGE, part):
            answer = client.get(stored.blob, headers={"Range": f"bytes={start}-{start + part - 1}"})
            assert answer.status_code == 206
            digest.update(answer.content)
    assert digest.hexdigest() == stored.weights.digest[7:]


def test_one_connection_serves_several_answers(door: Door, stored: Stored) -> None:
    connection = http.client.HTTPConnection(*door.server.address, timeout=10)
    for method, length in (("HEAD", 0), ("GET", LARGE), ("HEAD", 0)):
        connection.request(method, stored.blob, headers={"Host": "localhost"})
        answer = connection.getresponse()
        assert answer.getheader("content-length") == str(LARGE)
        assert len(answer.read()) == length
    connection.close()


def test_memory_stays_flat_and_a_vanished_reader_gives_its_place_back(door: Door, stored: Stored) -> None:
    before = psutil.Process().memory_info().rss
    readers = [_slow_reader(door, stored) for _ in range(MAX_STREAMS)]
    try:
        grown = psutil.Process().memory_info().rss - before
        refused = httpx.get(door.url + stored.blob, trust_env=False)
    finally:
        for reader in readers:
            reader.close()
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (503, "TOOMANYREQUESTS")
    assert grown < 50 * (1 << 20)
    wait_for(lambda: httpx.head(door.url + stored.blob, trust_env=False).status_code == 200)
    wait_for(lambda: _first_bytes(door, stored) == b"\0\0\0\0")


def _slow_reader(door: Door, stored: Stored) -> socket.socket:
    """Has the header and reads no further."""
    connection = door.knock(f"GET {stored.blob} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b" 200 OK" in connection.recv(200)
    return connection


def _first_bytes(door: Door, stored: Stored) -> bytes:
    answer = httpx.get(door.url + stored.blob, headers={"Range": "bytes=0-3"}, trust_env=False)
    return answer.content if answer.status_code == 206 else b""


def test_a_blob_that_is_truncated_is_not_served(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF" * 1000)
    with Layout(tmp_path / "store", files=Files()) as layout:
        manifest = parse_manifest(layout.fetch(store_model(layout, "small", file)), what="small")
        assert isinstance(manifest, Manifest)
        path = layout.path(manifest.layers[0].digest)
        path.chmod(0o644)
        path.write_bytes(b"GGUF")
        with opened(layout=layout) as door:
            answer = httpx.get(
                f"{door.url}/v2/library/small/blobs/{manifest.layers[0].digest}", trust_env=False
            )
    assert answer.status_code in {404, 503}
    assert answer.json()["errors"][0]["code"] == "BLOB_UNKNOWN"


@contextmanager
def _unchanged(directory: Path) -> Iterator[None]:
    before = _tree(directory)
    yield
    assert _tree(directory) == before


def _tree(directory: Path) -> dict[str, tuple[int, float]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime) for path in sorted(directory.rglob("*"))}


def test_hostile_names_and_digests_find_nothing_on_a_real_socket(door: Door, stored: Stored) -> None:
    """Raw and percent-encoded; a client library would tidy the dots away."""
    with _unchanged(stored.layout.root.parent):
        for text in (*HOSTILE_NAMES, *HOSTILE_DIGESTS):
            encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
            raw = quote(text.encode("utf-8", "surrogatepass"), safe="/:@.%-_~!$&'()*+,;=[]|\\{}^`\"<>")
            for written in {encoded, raw}:
                for path in (
                    f"/v2/{written}/manifests/latest",
                    f"/v2/library/large/manifests/{written}",
                    f"/v2/library/large/blobs/{written}",
                ):
                    if text == "latest" and "manifests/latest" in path:
                        continue
                    status, body = _asked(door, path)
                    assert 400 <= status < 500, (path, status)
                    # What waitress refuses itself never reached a route.
                    assert status in {400, 431} or "errors" in json.loads(body)


def _asked(door: Door, path: str) -> tuple[int, bytes]:
    with socket.create_connection(door.server.address, timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection, method="GET")
        answer.begin()
        return answer.status, answer.read()
