from __future__ import annotations

import pytest

from appliance.errors import InvalidReference
from appliance.store.digest import digest_of, hex_of, parse_digest
from tests.fakes.hostile_digests import HOSTILE_DIGESTS
from tests.fakes.hostile_names import HEX


def test_a_digest_is_sha256_and_64_lower_case_hex_digits() -> None:
    assert hex_of(parse_digest("sha256:" + HEX)) == HEX


@pytest.mark.parametrize("text", HOSTILE_DIGESTS, ids=range(len(HOSTILE_DIGESTS)))
def test_a_hostile_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_digest(text)
    assert len(caught.value.message) < 2_600


def test_the_corpus_holds_at_least_100_different_digests() -> None:
    assert len(set(HOSTILE_DIGESTS)) == len(HOSTILE_DIGESTS) >= 100


def test_the_digest_of_the_empty_object_is_the_one_of_the_image_spec() -> None:
    assert digest_of(b"{}") == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
