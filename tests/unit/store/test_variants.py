from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InsufficientMemory, ManifestInvalid
from appliance.store.artifact import Parts, compose
from appliance.store.descriptor import Descriptor, ImageIndex
from appliance.store.digest import Digest, digest_of
from appliance.store.media_types import OCI_INDEX, OCI_MANIFEST
from appliance.store.model_config import ModelConfig
from appliance.store.variants import Variant, choose, variants_of

MIB = 1024 * 1024


def variant(quantization: str, size_mib: int) -> Variant:
    blob = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(quantization.encode()), size=100)
    return Variant(descriptor=blob, size_bytes=size_mib * MIB, quantization=quantization)


Q4, Q8, F16 = variant("Q4_0", 1_000), variant("Q8_0", 2_000), variant("F16", 4_000)


@pytest.mark.parametrize(
    ("available_mib", "expected", "said"),
    [
        (100_000, F16, "the largest of 3 variants fits"),
        (5_056, F16, "the largest of 3 variants fits"),
        (5_055, Q8, "the next larger, F16, would need 5056 MiB"),
        (2_656, Q8, "Q8_0 needs 2656 MiB of 2656 MiB available"),
        (2_655, Q4, "the next larger, Q8_0, would need 2656 MiB"),
        (1_456, Q4, "Q4_0 needs 1456 MiB of 1456 MiB available"),
    ],
)
def test_the_largest_that_fits_is_taken_and_the_reason_told(
    available_mib: int, expected: Variant, said: str
) -> None:
    choice = choose([Q8, F16, Q4], available_mib * MIB)
    assert choice.variant == expected
    assert said in choice.reason


def test_when_none_fits_the_numbers_are_those_of_the_smallest() -> None:
    with pytest.raises(InsufficientMemory) as caught:
        choose([Q8, Q4], 1_455 * MIB, model="smol")
    assert caught.value.fields == {
        "model": "smol",
        "needed_bytes": 1_456 * MIB,
        "available_bytes": 1_455 * MIB,
    }


def test_with_unknown_memory_the_smallest_is_taken() -> None:
    choice = choose([F16, Q4], None)
    assert choice.variant == Q4
    assert "not known" in choice.reason


def test_of_two_equals_the_first_is_taken() -> None:
    first, second = variant("A", 10), variant("B", 10)
    assert choose([first, second], 10_000 * MIB).variant == first


def test_the_only_variant_is_left_to_the_load_to_judge() -> None:
    assert choose([F16], 1).variant == F16


def test_no_candidate_is_an_error() -> None:
    with pytest.raises(ManifestInvalid):
        choose([], 1)


@given(st.lists(st.integers(0, 1 << 50), min_size=2, max_size=6), st.integers(0, 1 << 51))
def test_the_choice_fits_and_nothing_larger_does(sizes: list[int], available: int) -> None:
    candidates = [
        Variant(descriptor=Q4.descriptor, size_bytes=size, quantization=str(size)) for size in sizes
    ]
    try:
        taken = choose(candidates, available).variant
    except InsufficientMemory:
        assert all(each.needed_bytes > available for each in candidates)
        return
    assert taken.needed_bytes <= available
    assert not any(
        each.size_bytes > taken.size_bytes and each.needed_bytes <= available for each in candidates
    )


class Remote:
    """Manifests and configs by their digests."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def model(self, quantization: str, size: int) -> Descriptor:
        weights = Descriptor(media_type="a/b", digest=digest_of(quantization.encode()), size=size)
        composed = compose(Parts(weights=(weights,), facts=ModelConfig(quantization=quantization)))
        self.blobs |= {blob.digest: content for blob, content in composed.blobs}
        self.blobs[composed.descriptor.digest] = composed.content
        return composed.descriptor

    def other(self, content: object, media_type: str = OCI_MANIFEST) -> Descriptor:
        raw = json.dumps(content).encode()
        self.blobs[digest_of(raw)] = raw
        return Descriptor(media_type=media_type, digest=digest_of(raw), size=len(raw))

    def fetch(self, blob: Descriptor) -> bytes:
        return self.blobs[blob.digest]


def index(*entries: Descriptor) -> ImageIndex:
    return ImageIndex(media_type=OCI_INDEX, manifests=entries)


def test_the_variants_of_an_index_are_its_models() -> None:
    remote = Remote()
    attestation = Descriptor(
        media_type=OCI_MANIFEST,
        digest=digest_of(b"attestation"),
        size=1,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    image = remote.other(
        {
            "schemaVersion": 2,
            "config": {"mediaType": "a/b", "digest": digest_of(b"c"), "size": 1},
            "layers": [],
        }
    )
    nested = remote.other({"schemaVersion": 2, "manifests": []}, OCI_INDEX)
    disguised = remote.other({"schemaVersion": 2, "manifests": [], "annotations": {}})
    found = variants_of(
        index(remote.model("Q4_0", 7), attestation, image, nested, disguised, remote.model("Q8_0", 9)),
        remote.fetch,
        what="m",
    )
    assert [(each.quantization, each.size_bytes) for each in found] == [("Q4_0", 7), ("Q8_0", 9)]


def test_an_index_without_a_model_is_refused() -> None:
    remote = Remote()
    with pytest.raises(ManifestInvalid):
        variants_of(index(), remote.fetch, what="m")
    with pytest.raises(ManifestInvalid):
        variants_of(index(remote.other({"schemaVersion": 2, "manifests": []})), remote.fetch, what="m")


def test_an_index_of_too_many_variants_is_refused_before_any_is_asked_for() -> None:
    blob = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(b"x"), size=1)
    with pytest.raises(ManifestInvalid):
        variants_of(index(*([blob] * 101)), Remote().fetch, what="m")
