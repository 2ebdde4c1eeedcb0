"""`/v2` over a layout of files, without a socket."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import falcon.testing
import pytest

from appliance.access.keys import KeyRing, NewKey, StoredKey, generate
from appliance.access.scopes import Scope
from appliance.store.digest import digest_of
from appliance.store.media_types import OCI_INDEX, OCI_MANIFEST
from tests.fakes.fake_layout import FakeLayout
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HOSTILE_NAMES
from tests.unit.api.door import Door

WEIGHTS = bytes(range(256)) * 4
WEIGHTS_DIGEST = digest_of(WEIGHTS)
BLOB = f"/v2/library/tiny/blobs/{WEIGHTS_DIGEST}"


@pytest.fixture
def layout(tmp_path: Path) -> FakeLayout:
    made = FakeLayout(tmp_path)
    made.model("tiny", WEIGHTS)
    return made


@pytest.fixture
def door(layout: FakeLayout) -> Door:
    return Door(layout=layout)


def oci_code(result: falcon.testing.Result) -> str:
    (error,) = result.json["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert error["message"]
    return str(error["code"])


def test_the_root_says_that_a_registry_speaks(door: Door) -> None:
    result = door.get("/v2/")
    assert (result.status_code, result.json) == (200, {})
    assert result.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("name", ["library/tiny", "tiny"])
def test_a_manifest_is_served_as_it_is_stored(door: Door, layout: FakeLayout, name: str) -> None:
    descriptor = layout.named[0][1]
    result = door.get(f"/v2/{name}/manifests/latest")
    assert result.content == layout.fetch(descriptor)
    assert result.headers["content-type"] == OCI_MANIFEST
    assert result.headers["docker-content-digest"] == descriptor.digest
    assert result.headers["etag"] == f'"{descriptor.digest}"'
    assert door.get(f"/v2/{name}/manifests/{descriptor.digest}").content == result.content


def test_tags_are_found_in_any_case(layout: FakeLayout, door: Door) -> None:
    layout.model("tiny:Q4_K_M", b"other")
    assert door.get("/v2/library/tiny/manifests/q4_k_m").status_code == 200


@pytest.mark.parametrize("what", ["manifests/latest", f"blobs/{WEIGHTS_DIGEST}"])
def test_head_tells_length_and_digest_without_the_bytes(door: Door, what: str) -> None:
    whole = door.get(f"/v2/library/tiny/{what}")
    head = door.client.simulate_head(f"/v2/library/tiny/{what}", host="localhost")
    assert head.content == b""
    for name in ("content-length", "content-type", "docker-content-digest", "etag"):
        assert head.headers[name] == whole.headers[name], name


def test_a_blob_comes_whole_with_its_own_address(door: Door) -> None:
    result = door.get(BLOB)
    assert (result.status_code, result.content) == (200, WEIGHTS)
    assert result.headers["content-type"] == "application/octet-stream"
    assert result.headers["accept-ranges"] == "bytes"
    assert result.headers["location"] == BLOB


@pytest.mark.parametrize(
    ("header", "content_range", "expected"),
    [
        ("bytes=0-9", "bytes 0-9/1024", WEIGHTS[:10]),
        ("bytes=1000-", "bytes 1000-1023/1024", WEIGHTS[1000:]),
        ("bytes=-24", "bytes 1000-1023/1024", WEIGHTS[1000:]),
    ],
)
def test_a_part_of_a_blob_is_206(door: Door, header: str, content_range: str, expected: bytes) -> None:
    result = door.get(BLOB, {"Range": header})
    assert (result.status_code, result.content) == (206, expected)
    assert result.headers["content-range"] == content_range
    assert result.headers["content-length"] == str(len(expected))


def test_a_part_behind_the_end_is_416_with_the_size(door: Door) -> None:
    result = door.get(BLOB, {"Range": "bytes=1024-"})
    assert (result.status_code, result.headers["content-range"]) == (416, "bytes */1024")


def test_a_part_of_other_content_than_the_clients_is_the_whole(door: Door) -> None:
    same, other = f'"{WEIGHTS_DIGEST}"', '"sha256:0"'
    assert door.get(BLOB, {"Range": "bytes=0-9", "If-Range": same}).status_code == 206
    assert door.get(BLOB, {"Range": "bytes=0-9", "If-Range": other}).status_code == 200


def test_what_the_client_has_is_not_sent_again(door: Door, layout: FakeLayout) -> None:
    manifest = layout.named[0][1].digest
    assert door.get(BLOB, {"If-None-Match": f'"{WEIGHTS_DIGEST}"'}).status_code == 304
    assert door.get("/v2/tiny/manifests/latest", {"If-None-Match": f'"{manifest}"'}).status_code == 304
    assert door.get("/v2/tiny/manifests/latest", {"If-None-Match": '"old"'}).status_code == 200


def test_variants_of_an_index_can_be_asked_for(door: Door, layout: FakeLayout) -> None:
    small, large = layout.manifest(b"small"), layout.manifest(b"large")
    index = layout.index("many", small, large)
    assert door.get("/v2/library/many/manifests/latest").headers["content-type"] == OCI_INDEX
    assert door.get(f"/v2/library/many/manifests/{large.digest}").content == layout.fetch(large)
    assert door.get(f"/v2/library/many/blobs/{digest_of(b'large')}").content == b"large"
    assert door.get(f"/v2/library/many/blobs/{index.digest}").status_code == 200


def test_a_variant_that_was_not_brought_along_hides_no_other(door: Door, layout: FakeLayout) -> None:
    away, here = layout.manifest(b"away"), layout.manifest(b"here")
    layout.index("many", away, here)
    layout.path(away.digest).unlink()
    assert door.get(f"/v2/library/many/blobs/{digest_of(b'here')}").content == b"here"
    gone = door.get(f"/v2/library/many/manifests/{away.digest}")
    assert (gone.status_code, oci_code(gone)) == (404, "MANIFEST_UNKNOWN")


def test_a_blob_is_only_found_under_a_name_that_has_it(door: Door, layout: FakeLayout) -> None:
    layout.model("other", b"secret")
    result = door.get(f"/v2/library/tiny/blobs/{digest_of(b'secret')}")
    assert (result.status_code, oci_code(result)) == (404, "BLOB_UNKNOWN")


def test_a_broken_blob_is_never_sent(door: Door, layout: FakeLayout) -> None:
    layout.broken.add(WEIGHTS_DIGEST)
    result = door.get(BLOB)
    assert (result.status_code, oci_code(result)) == (503, "BLOB_UNKNOWN")


def test_models_of_other_registries_have_their_host_before_their_name(door: Door, layout: FakeLayout) -> None:
    theirs = layout.model("registry.example/team/tiny:v1", b"theirs")
    for name in ("registry.example/team/tiny", "team/tiny"):
        assert door.get(f"/v2/{name}/manifests/v1").headers["docker-content-digest"] == theirs.digest


def test_a_model_of_the_default_registry_comes_before_one_of_another(door: Door, layout: FakeLayout) -> None:
    ours = layout.named[0][1]
    layout.model("registry.example/library/tiny:latest", b"theirs")
    assert door.get("/v2/library/tiny/manifests/latest").headers["docker-content-digest"] == ours.digest


def test_tags_come_in_pages(door: Door, layout: FakeLayout) -> None:
    for tag in ("a", "b", "c"):
        layout.model(f"tiny:{tag}", b"x")
    assert door.get("/v2/library/tiny/tags/list").json == {
        "name": "library/tiny",
        "tags": ["a", "b", "c", "latest"],
    }
    first = door.get("/v2/library/tiny/tags/list?n=2")
    assert first.json["tags"] == ["a", "b"]
    assert first.headers["link"] == '</v2/library/tiny/tags/list?n=2&last=b>; rel="next"'
    second = door.get("/v2/library/tiny/tags/list?n=2&last=b")
    assert second.json["tags"] == ["c", "latest"]
    assert "link" not in second.headers
    assert door.get("/v2/library/tiny/tags/list?n=0").json["tags"] == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/library/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/library/none/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/library/tiny/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/library/tiny/manifests/{digest_of(b'none')}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/library/tiny/blobs/{digest_of(b'none')}", 404, "BLOB_UNKNOWN"),
        ("/v2/library/tiny/blobs/latest", 400, "DIGEST_INVALID"),
        ("/v2/library/tiny/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        ("/v2/library/tiny", 400, "NAME_INVALID"),
        ("/v2/_catalog", 400, "NAME_INVALID"),
        ("/v2/library/tiny/tags/list?n=many", 400, "UNKNOWN"),
    ],
)
def test_faults_are_told_in_the_form_of_oci(door: Door, path: str, status: int, code: str) -> None:
    result = door.get(path)
    assert (result.status_code, oci_code(result)) == (status, code)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(door: Door, method: str) -> None:
    result = door.client.simulate_request(method, "/v2/library/tiny/blobs/uploads/", host="localhost")
    assert (result.status_code, oci_code(result)) == (405, "UNSUPPORTED")


def _ring(key: NewKey) -> KeyRing:
    return KeyRing({key.key_id: StoredKey(sha256=key.sha256, scopes=frozenset({Scope.MODELS_READ}))})


def test_a_key_is_needed_when_there_are_keys_and_basic_carries_it(layout: FakeLayout) -> None:
    key = generate()
    door = Door(layout=layout, keys=_ring(key))
    refused = door.get("/v2/")
    assert (refused.status_code, oci_code(refused)) == (401, "UNAUTHORIZED")
    assert refused.headers["www-authenticate"].startswith("Basic ")
    basic = base64.b64encode(f"anybody:{key.text}".encode()).decode()
    for authorization in (f"Bearer {key.text}", f"Basic {basic}"):
        assert door.get(BLOB, {"Authorization": authorization}).status_code == 200
    for authorization in ("Basic", "Basic !", "Basic YQ==", "Basic YTpi"):
        assert door.get(BLOB, {"Authorization": authorization}).status_code == 401


def test_basic_opens_no_other_route(layout: FakeLayout) -> None:
    key = generate()
    door = Door(layout=layout, keys=_ring(key))
    basic = base64.b64encode(f"anybody:{key.text}".encode()).decode()
    assert door.get("/v1/models", {"Authorization": f"Basic {basic}"}).status_code == 401


@pytest.mark.parametrize("hostile", [*HOSTILE_NAMES[::9], *HOSTILE_DIGESTS[::9]], ids=ascii)
def test_hostile_names_and_digests_find_nothing(door: Door, hostile: str) -> None:
    text = hostile.encode("utf-8", "replace").decode()
    by_tag = [] if text == "latest" else [f"/v2/library/tiny/manifests/{text}"]
    for path in (
        *by_tag,
        f"/v2/{text}/manifests/latest",
        f"/v2/library/tiny/blobs/{text}",
        f"/v2/{text}/tags/list",
    ):
        result = door.client.simulate_get(path.replace("?", "%3F").replace("#", "%23"), host="localhost")
        assert 400 <= result.status_code < 500, path
        assert json.loads(result.content)["errors"]
