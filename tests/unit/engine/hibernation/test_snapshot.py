"""The format: what was written comes back, and nothing else does."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.hibernation.snapshot import (
    HEAD_BYTES,
    Head,
    Sealer,
    SnapshotForeign,
    SnapshotInvalid,
    fingerprint_of,
    pack_tokens,
    unpack_tokens,
)
from tests.fakes.hibernation import FINGERPRINT, KEY, head_of

SEALER = Sealer(KEY)
TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40)


def read(name: str, content: bytes, *, sealer: Sealer = SEALER, fingerprint: bytes = FINGERPRINT) -> Head:
    return sealer.read_head(name, content, fingerprint=fingerprint)


@given(tokens=TOKENS, data=st.data(), state_bytes=st.integers(0, 2**60))
def test_a_head_comes_back_as_it_was(tokens: list[int], data: st.DataObject, state_bytes: int) -> None:
    n_shared = data.draw(st.integers(0, len(tokens)))
    head = head_of(tokens, n_shared=n_shared, state_bytes=state_bytes)
    content = SEALER.write_head(head)
    assert read(SEALER.name(head), content) == head
    assert unpack_tokens(head.tokens) == tokens
    assert head.file_bytes == len(content) + state_bytes + 32


def test_the_head_is_laid_out_as_drawn() -> None:
    head = head_of([1, 2], n_shared=1, state_bytes=9)
    content = SEALER.write_head(head)
    fields = b"OUTPKV\0\x01" + FINGERPRINT + head.scope + head.shared_scope + struct.pack("<IIQQ", 2, 1, 9, 0)
    tokens = struct.pack("<ii", 1, 2)
    seal = hmac.new(KEY, b"head\0" + fields + tokens, hashlib.sha256).digest()
    assert content == fields + seal + tokens
    assert HEAD_BYTES == 160


@given(tokens=TOKENS, where=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_the_head_is_refused(tokens: list[int], where: int, bit: int) -> None:
    head = head_of(tokens)
    content = bytearray(SEALER.write_head(head))
    content[where % len(content)] ^= 1 << bit
    with pytest.raises(SnapshotInvalid):
        read(SEALER.name(head), bytes(content))


@given(tokens=TOKENS, end=st.integers(0))
def test_a_head_cut_short_is_refused(tokens: list[int], end: int) -> None:
    head = head_of(tokens)
    content = SEALER.write_head(head)
    with pytest.raises(SnapshotInvalid):
        read(SEALER.name(head), content[: end % len(content)])


@given(content=st.binary(max_size=400))
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(SnapshotInvalid):
        read("x.kv", content)


def test_a_thousand_wrong_fingerprints_are_never_taken() -> None:
    head = head_of([1, 2, 3])
    name, content = SEALER.name(head), SEALER.write_head(head)
    for trial in range(1000):
        with pytest.raises(SnapshotForeign):
            read(name, content, fingerprint=fingerprint_of({"model": "fake", "trial": trial}))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"model": "fake", "n_ctx_seq": 1},
        {"model": "fake", "type_k": "q8_0"},
        {"model": "fake", "llama_cpp": "0.0.0"},
    ],
)
def test_a_fingerprint_depends_on_every_fact(other: dict[str, str | int]) -> None:
    assert fingerprint_of(other) != FINGERPRINT


def test_a_thousand_keys_of_others_forge_nothing() -> None:
    head = head_of([1, 2, 3])
    for trial in range(1000):
        forger = Sealer(trial.to_bytes(32, "little"))
        with pytest.raises(SnapshotInvalid, match="seal"):
            read(forger.name(head), forger.write_head(head))


def test_a_renamed_snapshot_is_refused() -> None:
    one, other = head_of([1, 2, 3]), head_of([1, 2, 4])
    with pytest.raises(SnapshotInvalid, match="name"):
        read(SEALER.name(other), SEALER.write_head(one))


def test_a_name_tells_the_model_the_owner_and_the_prompt_only_to_who_has_the_key() -> None:
    names = {
        SEALER.name(head_of([1, 2, 3])),
        SEALER.name(head_of([1, 2, 4])),
        SEALER.name(head_of([1, 2, 3], owner="bob")),
        SEALER.name(head_of([1, 2, 3], n_shared=3)),
        Sealer(b"other").name(head_of([1, 2, 3])),
    }
    assert len(names) == 5
    assert all(len(name) == 43 and name.endswith(".kv") for name in names)


def test_scopes_differ_by_owner_and_by_adapters() -> None:
    scopes = {
        SEALER.scope("a", ()),
        SEALER.scope("b", ()),
        SEALER.scope("a", (("x", 1.0),)),
        SEALER.scope("a", (("x", 0.5),)),
        SEALER.scope("a", (("y", 1.0),)),
        SEALER.scope("a", (("x", 1.0), ("y", 1.0))),
    }
    assert len(scopes) == 6


def test_counts_that_cannot_be_are_refused_also_under_a_right_seal() -> None:
    head = head_of([1, 2, 3], n_shared=4)
    with pytest.raises(SnapshotInvalid, match="counts"):
        read(SEALER.name(head), SEALER.write_head(head))
    empty = head_of([])
    with pytest.raises(SnapshotInvalid, match="counts"):
        read(SEALER.name(empty), SEALER.write_head(empty))


def test_tokens_are_packed_as_int32() -> None:
    assert pack_tokens([1, 258]) == b"\x01\0\0\0\x02\x01\0\0"
