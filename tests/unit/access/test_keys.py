from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import keys
from appliance.access.scopes import Scope
from appliance.errors import ScopeMissing, Unauthenticated

# Made once with `generate`; its checksum was computed apart from this code.
KEY = "ek_xjo4uew6_Z3Ta7RGg-a6Sq0347cM7HP3-DJSuuxrvtgAR7YzTJa4_2Daeoj"
SHA256 = "493c1cb61e6d0501faf29071e3e06f1232a838432baf975d5804273d4be9b6bd"
RING = keys.KeyRing({"xjo4uew6": keys.StoredKey(sha256=SHA256)})


def test_a_known_key_gives_its_id() -> None:
    assert RING.verify(KEY) == "xjo4uew6"


def test_a_new_key_has_the_documented_form_and_is_accepted() -> None:
    made = keys.generate()
    assert re.fullmatch(r"ek_[a-z0-9]{8}_[A-Za-z0-9_-]{43}_[0-9A-Za-z]{6}", made.text)
    assert keys.KeyRing({made.key_id: keys.StoredKey(sha256=made.sha256)}).verify(made.text) == made.key_id


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
    RING.require("xjo4uew6", frozenset({Scope.INFERENCE}))
    with pytest.raises(ScopeMissing, match=r"needs the scope 'models:write'.*\(xjo4uew6\)"):
        RING.require("xjo4uew6", frozenset({Scope.MODELS_WRITE}))


def test_one_of_several_scopes_suffices_and_no_scope_holds_another() -> None:
    ring = keys.KeyRing({"xjo4uew6": keys.StoredKey(sha256=SHA256, scopes=frozenset({Scope.MODELS_WRITE}))})
    ring.require("xjo4uew6", frozenset({Scope.MODELS_WRITE, Scope.METRICS}))
    with pytest.raises(ScopeMissing, match="'inference' or 'models:read'"):
        ring.require("xjo4uew6", frozenset({Scope.MODELS_READ, Scope.INFERENCE}))


def test_a_key_that_is_not_there_has_no_scope() -> None:
    with pytest.raises(ScopeMissing):
        RING.require("other123", frozenset(Scope))


def test_a_scope_is_stable_and_does_not_show_the_id() -> None:
    scope = keys.scope_of("xjo4uew6")
    assert scope == keys.scope_of("xjo4uew6")
    assert re.fullmatch(r"[0-9a-f]{16}", scope)
    assert scope != keys.scope_of("xjo4uew7")


def test_without_keys_all_share_one_scope() -> None:
    assert keys.scope_of(None) == ""
