from __future__ import annotations

import hmac
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import keys
from appliance.access.grants import Grant
from appliance.access.scopes import Scope
from appliance.errors import ScopeMissing, Unauthenticated

# Made once with `generate`; its checksum was computed apart from this code.
KEY = "ek_xjo4uew6_Z3Ta7RGg-a6Sq0347cM7HP3-DJSuuxrvtgAR7YzTJa4_2Daeoj"
SHA256 = "493c1cb61e6d0501faf29071e3e06f1232a838432baf975d5804273d4be9b6bd"
RING = keys.KeyRing({"xjo4uew6": keys.StoredKey(sha256=SHA256)})


def test_a_known_key_gives_its_id() -> None:
    assert RING.verify(KEY).key_id == "xjo4uew6"


def test_a_new_key_has_the_documented_form_and_is_accepted() -> None:
    made = keys.generate()
    assert re.fullmatch(r"ek_[a-z0-9]{8}_[A-Za-z0-9_-]{43}_[0-9A-Za-z]{6}", made.text)
    ring = keys.KeyRing({made.key_id: keys.StoredKey(sha256=made.sha256)})
    assert ring.verify(made.text).key_id == made.key_id


def test_two_new_keys_differ() -> None:
    assert keys.generate().text != keys.generate().text


@pytest.mark.parametrize("bearer", [None, ""])
def test_no_key_is_told_to_send_one(bearer: str | None) -> None:
    with pytest.raises(Unauthenticated, match="Bearer KEY"):
        RING.verify(bearer)


@pytest.mark.parametrize("bearer", ["sk-123", KEY[:-1], KEY + "x", KEY + "\n", "ek_ümläut__", "\ud800"])
def test_a_malformed_key_is_refused(bearer: str) -> None:
    with pytest.raises(Unauthenticated, match="form or checksum"):
        RING.verify(bearer)


def test_a_well_formed_key_with_an_unknown_id_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="not known here"):
        RING.verify(keys.generate().text)


def test_the_right_id_with_another_secret_is_refused() -> None:
    other = keys.generate()
    with pytest.raises(Unauthenticated, match="not known here"):
        keys.KeyRing({other.key_id: keys.StoredKey(sha256=SHA256)}).verify(other.text)


@given(at=st.integers(0, len(KEY) - 1), character=st.characters(min_codepoint=33, max_codepoint=126))
def test_every_changed_character_is_caught(at: int, character: str) -> None:
    changed = KEY[:at] + character + KEY[at + 1 :]
    if changed != KEY:
        with pytest.raises(Unauthenticated):
            RING.verify(changed)


def test_a_ring_without_keys_is_false() -> None:
    assert not keys.KeyRing({})
    assert RING


def test_a_key_without_a_list_may_have_models_answer_and_nothing_else() -> None:
    grant = RING.verify(KEY)
    grant.require(frozenset({Scope.INFER}))
    with pytest.raises(ScopeMissing, match=r"needs the scope 'models:write'.* xjo4uew6 "):
        grant.require(frozenset({Scope.MODELS_WRITE}))


def test_one_of_several_scopes_suffices_and_no_scope_holds_another() -> None:
    grant = Grant(key_id="k", scopes=frozenset({Scope.MODELS_WRITE}))
    grant.require(frozenset({Scope.MODELS_WRITE, Scope.METRICS}))
    with pytest.raises(ScopeMissing, match="'infer' or 'models:read'"):
        grant.require(frozenset({Scope.MODELS_READ, Scope.INFER}))


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        ((), "any:latest", True),
        (("tiny",), "tiny:latest", True),
        (("tiny",), "tiny", True),
        (("tiny",), "tiny:q4", False),
        (("tiny:*",), "tiny:q4", True),
        (("tiny*",), "tiny-2:latest", True),
        (("TINY",), "tiny:latest", True),
        (("t*",), "Tiny:latest", True),
        (("a", "b"), "b:latest", True),
        (("a",), "reg.example/x/a:latest", False),
    ],
)
def test_a_key_with_a_list_is_for_these_models(patterns: tuple[str, ...], model: str, allowed: bool) -> None:
    assert Grant(key_id="k", models=patterns).allows(model) is allowed


# ── time ───────────────────────────────────────────────────────────────────────────────────────────────────


def ring_at(now_s: float, **fields: Any) -> keys.KeyRing:
    return keys.KeyRing({"xjo4uew6": keys.StoredKey(sha256=SHA256, **fields)}, now=lambda: now_s)


@pytest.mark.parametrize(("now_s", "holds"), [(0.0, True), (99.9, True), (100.0, False), (1e12, False)])
def test_a_key_holds_until_it_expires(now_s: float, holds: bool) -> None:
    ring = ring_at(now_s, expires_s=100.0)
    if holds:
        assert ring.verify(KEY).key_id == "xjo4uew6"
        return
    with pytest.raises(Unauthenticated, match="has expired"):
        ring.verify(KEY)


def test_a_clock_that_is_behind_revives_no_expired_key() -> None:
    other = keys.StoredKey(sha256=keys.NO_SHA256, created_s=200.0)
    expired = keys.StoredKey(sha256=SHA256, created_s=1.0, expires_s=100.0)
    ring = keys.KeyRing({"xjo4uew6": expired, "other123": other}, now=lambda: 5.0)
    with pytest.raises(Unauthenticated, match="has expired"):
        ring.verify(KEY)


def test_a_revoked_key_is_told_so_and_a_wrong_one_is_not() -> None:
    ring = ring_at(1.0, revoked_s=1.0)
    with pytest.raises(Unauthenticated, match="has been revoked"):
        ring.verify(KEY)
    with pytest.raises(Unauthenticated, match="not known here"):
        ring.verify(keys.generate("xjo4uew6").text)
    assert ring.is_needed()


@pytest.mark.parametrize(("now_s", "holds"), [(9.0, True), (10.0, False)])
def test_the_key_before_a_rotation_holds_for_its_grace(now_s: float, holds: bool) -> None:
    new = keys.generate("xjo4uew6")
    stored = keys.StoredKey(sha256=new.sha256, previous_sha256=SHA256, previous_until_s=10.0)
    ring = keys.KeyRing({"xjo4uew6": stored}, now=lambda: now_s)
    assert ring.verify(new.text).key_id == "xjo4uew6"
    if holds:
        assert ring.verify(KEY).key_id == "xjo4uew6"
    else:
        with pytest.raises(Unauthenticated):
            ring.verify(KEY)


def test_known_and_unknown_ids_are_compared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant time cannot be measured here; that the same comparisons are made, can."""
    compared: list[tuple[str, str]] = []
    really = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    counts = []
    for text in (KEY, keys.generate("xjo4uew6").text, keys.generate().text):
        compared.clear()
        with suppress(Unauthenticated):
            RING.verify(text)
        counts.append(len(compared))
    assert len(set(counts)) == 1


@given(
    st.binary(min_size=32, max_size=32),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=8),
)
def test_every_made_key_is_read_back_and_belongs_to_its_id(secret: bytes, key_id: str) -> None:
    made = keys.generate(key_id)
    assert keys.key_id_of(made.text) == key_id
    assert len(made.text) == 62
    assert keys.key_id_of(made.text + secret.hex()) is None


@given(st.text())
def test_any_text_is_a_key_or_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        RING.verify(text)


def test_a_scope_is_stable_and_does_not_show_the_id() -> None:
    scope = keys.scope_of("xjo4uew6")
    assert scope == keys.scope_of("xjo4uew6")
    assert re.fullmatch(r"[0-9a-f]{16}", scope)
    assert scope != keys.scope_of("xjo4uew7")


def test_without_keys_all_share_one_scope() -> None:
    assert keys.scope_of(None) == ""
