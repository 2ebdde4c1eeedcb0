from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ManifestInvalid
from appliance.store.descriptor import Descriptor, ImageIndex, Manifest
from appliance.store.digest import Digest, digest_of
from appliance.store.manifest import parse_manifest, render_index, render_manifest
from appliance.store.media_types import DOCKER_LIST, DOCKER_MANIFEST, MODEL_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HEX
from tests.unit.cpu_time import least_cpu_s

DIGEST = "sha256:" + HEX
OTHER = "sha256:" + HEX[::-1]


def entry(**changes: Any) -> dict[str, Any]:
    return {"mediaType": "application/x", "digest": DIGEST, "size": 7, **changes}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry(),
        "layers": [entry(digest=OTHER, size=9)],
        **changes,
    }


def index(**changes: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry()], **changes}


def parse(document: object) -> Manifest | ImageIndex:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_manifest(content, what="m")


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_both_kinds_of_manifest_are_read(media_type: str) -> None:
    read = parse(manifest(mediaType=media_type, artifactType=MODEL_MANIFEST, annotations={"a": "b"}))
    assert read == Manifest(
        media_type=media_type,
        config=Descriptor(media_type="application/x", digest=Digest(DIGEST), size=7),
        layers=(Descriptor(media_type="application/x", digest=Digest(OTHER), size=9),),
        artifact_type=MODEL_MANIFEST,
        annotations={"a": "b"},
    )


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_both_kinds_of_index_are_read(media_type: str) -> None:
    read = parse(index(mediaType=media_type))
    assert isinstance(read, ImageIndex)
    assert read.media_type == media_type
    assert [found.digest for found in read.manifests] == [DIGEST]


def test_without_a_media_type_the_content_tells_the_kind() -> None:
    assert parse({k: v for k, v in manifest().items() if k != "mediaType"}) == parse(manifest())
    assert parse({k: v for k, v in index().items() if k != "mediaType"}) == parse(index())


def test_what_go_writes_for_nothing_is_read_as_nothing() -> None:
    empty = parse(index(manifests=None, annotations=None))
    assert isinstance(empty, ImageIndex)
    assert empty.manifests == ()
    bare = parse(manifest(layers=None, artifactType="", annotations=None))
    assert isinstance(bare, Manifest)
    assert bare.layers == () and bare.artifact_type is None


def test_unknown_media_types_and_unknown_keys_are_kept_and_let_be() -> None:
    read = parse(
        manifest(layers=[entry(mediaType="application/vnd.new.thing+zstd", urls=["http://h"])], subject={})
    )
    assert isinstance(read, Manifest)
    assert read.layers[0].media_type == "application/vnd.new.thing+zstd"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b"{",
        b"\xef\xbb\xbf" + json.dumps(manifest()).encode(),
        json.dumps(manifest()).encode("utf-16"),
        json.dumps(manifest()).encode() + b"{}",
        json.dumps(manifest()).encode().replace(b'"application/x"', b'"\xff"'),
        json.dumps(manifest(annotations={"a": "\ud800"})).encode(),
        json.dumps(manifest(x="\ud800")).encode(),
        json.dumps(manifest()).encode().replace(b'"size": 7', b'"size": 7, "size": 8'),
        json.dumps(manifest()).encode()[:-1] + b', "layers": []}',
        json.dumps(manifest(annotations={"a": "b"})).encode().replace(b'"a": "b"', b'"a": "b", "a": "c"'),
        json.dumps(manifest()).encode().replace(b'"size": 7', b'"size": NaN'),
        json.dumps(manifest()).encode()[:-1] + b', "x": NaN}',
        json.dumps(manifest()).encode()[:-1] + b', "x": Infinity}',
        json.dumps(manifest()).encode().replace(b'"size": 7', b'"size": 7.0'),
        json.dumps(manifest()).encode().replace(b'"size": 7', b'"size": 1e3'),
        json.dumps(manifest()).encode().replace(b'"size": 7', b'"size": ' + b"9" * 5_000),
        manifest(config=entry(size=-1)),
        manifest(config=entry(size=(1 << 50) + 1)),
        manifest(config=entry(size="7")),
        manifest(config=entry(size=True)),
        manifest(config=entry(size=None)),
        manifest(config=None),
        manifest(config=[]),
        manifest(config={}),
        manifest(config=entry(digest=None)),
        manifest(config=entry(mediaType="")),
        manifest(config=entry(mediaType="text")),
        manifest(config=entry(mediaType="text/plain\n")),
        manifest(config=entry(mediaType="text/plain\r\nX: y")),
        manifest(config=entry(mediaType="text/plain; a=b")),
        manifest(config=entry(mediaType="a/" + "b" * 200)),
        manifest(config=entry(mediaType=7)),
        manifest(config=entry(annotations={"a": 7})),
        manifest(config=entry(annotations={"a": None})),
        manifest(config=entry(annotations=[])),
        manifest(artifactType="no type"),
        manifest(schemaVersion=1),
        manifest(schemaVersion="2"),
        manifest(schemaVersion=2.5),
        {k: v for k, v in manifest().items() if k != "schemaVersion"},
        {k: v for k, v in manifest().items() if k != "config"},
        manifest(mediaType="application/json"),
        manifest(mediaType=OCI_INDEX),
        index(mediaType=OCI_MANIFEST),
        manifest(manifests=[]),
        manifest(manifests=None),
        index(layers=[]),
        index(config=entry()),
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST},
        manifest(layers={}),
        manifest(layers=[None]),
        manifest(layers=[[]]),
        manifest(layers=["sha256:" + HEX]),
        manifest(layers=[entry(size=8)]),  # the config's digest with another size
        manifest(layers=[entry(digest=OTHER, size=1 << 50)]),  # with the config's 7 bytes: too much
        manifest(layers=[entry()] * 1_001),
        index(manifests=[entry()] * 10_001),
        manifest(annotations={str(n): "" for n in range(257)}),
        manifest(annotations={"k" * 257: ""}),
        manifest(annotations={"k": "v" * 65_537}),
    ],
)
def test_what_is_no_manifest_is_refused(document: object) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(document)
    assert caught.value.fields["what"] == "m"
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize("digest", HOSTILE_DIGESTS[:-3], ids=range(len(HOSTILE_DIGESTS) - 3))
def test_a_hostile_digest_is_refused_wherever_it_stands(digest: str) -> None:
    for document in (
        manifest(config=entry(digest=digest)),
        manifest(layers=[entry(digest=digest)]),
        index(manifests=[entry(digest=digest)]),
    ):
        with pytest.raises(ManifestInvalid):
            parse(document)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 1_000_000,
        b'{"a":' * 700_000,
        b'{"schemaVersion":2,"layers":[' + b"{}," * 1_000_000 + b"{}]}",
        b'{"schemaVersion":2,"manifests":[' + b"[]," * 300_000 + b"[]]}",
        b'{"schemaVersion":2,"x":' + b"[" * 33 + b"]" * 33 + b"}",
        b'"' + b'\\"' * 2_000_000,
        b'"' + b"\\" * 3_999_999,
        b" " * (4 * 1024 * 1024),
        b'{"schemaVersion":' + b"2" * 4_000_000 + b"}",
        b" " * (4 * 1024 * 1024 + 1),
    ],
    ids=range(10),
)
def test_a_bomb_is_refused_at_once(content: bytes) -> None:
    def refused() -> None:
        with pytest.raises(ManifestInvalid):
            parse(content)

    assert least_cpu_s(refused) < 1.0


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
DESCRIPTORS = st.builds(
    lambda seed, media_type, annotations, kind: Descriptor(
        media_type=media_type,
        digest=digest_of(seed),
        size=len(seed),
        annotations=annotations,
        artifact_type=kind,
    ),
    st.binary(max_size=8),
    st.sampled_from(["application/x", "a/b+json", OCI_MANIFEST]),
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.sampled_from([None, MODEL_MANIFEST]),
)
MANIFESTS = st.builds(
    Manifest,
    media_type=st.sampled_from([OCI_MANIFEST, DOCKER_MANIFEST]),
    config=DESCRIPTORS,
    layers=st.lists(DESCRIPTORS, max_size=6).map(tuple),
    artifact_type=st.sampled_from([None, MODEL_MANIFEST]),
    annotations=st.dictionaries(st.sampled_from("abc"), TEXT),
)


@given(MANIFESTS)
def test_a_manifest_reads_back_as_it_was_written(written: Manifest) -> None:
    assert parse_manifest(render_manifest(written), what="m") == written


@given(
    st.builds(
        ImageIndex,
        media_type=st.sampled_from([OCI_INDEX, DOCKER_LIST]),
        manifests=st.lists(DESCRIPTORS, max_size=6).map(tuple),
    )
)
def test_an_index_reads_back_as_it_was_written(written: ImageIndex) -> None:
    assert parse_manifest(render_index(written), what="m") == written


def test_our_own_form_is_fixed() -> None:
    descriptor = Descriptor(media_type="a/b", digest=Digest(DIGEST), size=1, annotations={"z": "1", "a": "2"})
    assert render_index(ImageIndex(media_type=OCI_INDEX, manifests=(descriptor,))) == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
        b'{"mediaType":"a/b","digest":"' + DIGEST.encode() + b'","size":1,"annotations":{"a":"2","z":"1"}}]}'
    )


def test_what_could_not_be_read_back_is_not_written() -> None:
    blob = Descriptor(media_type="a/b", digest=Digest(DIGEST), size=1)
    with pytest.raises(ManifestInvalid):
        render_index(ImageIndex(media_type=OCI_INDEX, manifests=(blob,) * 10_001))
    with pytest.raises(ManifestInvalid):
        render_manifest(Manifest(media_type=OCI_MANIFEST, config=blob, layers=(blob,) * 1_001))
    wordy = Descriptor(media_type="a/b", digest=Digest(DIGEST), size=1, annotations={"a": "b" * 65_536})
    with pytest.raises(ManifestInvalid):
        render_manifest(Manifest(media_type=OCI_MANIFEST, config=blob, layers=(wordy,) * 65))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(entry())), inner),
    max_leaves=8,
)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_are_refused(content: bytes) -> None:
    try:
        parse(content)
    except ManifestInvalid:
        return


@given(st.sampled_from(sorted({*manifest(), *index(), "artifactType", "annotations"})), JSON)
def test_any_field_may_hold_anything(key: str, value: object) -> None:
    for document in (manifest(), index()):
        document[key] = value
        try:
            read = parse(document)
        except ManifestInvalid:
            continue
        assert isinstance(read, (Manifest, ImageIndex))
