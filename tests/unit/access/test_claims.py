"""The claim of the administrator: once, by one, and only by who has read the console."""

from __future__ import annotations

import re
import stat
import threading
from pathlib import Path

import pytest

from appliance.access.attempts import CLAIM, Attempts
from appliance.access.claims import Claims, read_claim
from appliance.access.key_store import KeyStore
from appliance.access.scopes import Scope
from appliance.access.wishes import TakeClaim
from appliance.errors import ClaimRefused, KeysUnusable, TooManyAttempts
from tests.unit.access.stores import Clock, made, opened

FROM = "192.168.1.7"


def offered(store: KeyStore, directory: Path, **settings: Attempts) -> tuple[Claims, str]:
    claims = Claims(store, directory, **settings)
    text = claims.offer()
    assert text is not None
    return claims, text


def test_a_claim_makes_the_first_key_with_all_scopes_and_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path, is_always_needed=True) as store:
        claims, text = offered(store, tmp_path)
        assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}", text)
        assert claims.is_pending
        assert read_claim(tmp_path) == text
        assert stat.S_IMODE((tmp_path / "claim").stat().st_mode) == 0o600
        key = claims.take(TakeClaim(claim=text), source=FROM)
        assert store.verify(key.text).scopes == frozenset(Scope)
        assert not claims.is_pending
        assert read_claim(tmp_path) is None
        with pytest.raises(ClaimRefused):
            claims.take(TakeClaim(claim=text), source=FROM)


@pytest.mark.parametrize("spelt", ["{}", " {}\n", "lower", "bare", "look-alikes"])
def test_it_may_be_typed_as_people_type(spelt: str, tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        claims, text = offered(store, tmp_path)
        typed = {
            "lower": text.lower(),
            "bare": text.replace("-", ""),
            "look-alikes": text.replace("0", "o").replace("1", "l"),
        }.get(spelt, spelt.format(text))
        assert claims.take(TakeClaim(claim=typed), source=FROM).text


@pytest.mark.parametrize("wrong", ["", "-", "00000-00000-00000-00000-00000", "x" * 256, "\ud800", "ü"])
def test_a_wrong_claim_is_refused_in_one_sentence_with_or_without_one(wrong: str, tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        claims, text = offered(store, tmp_path)
        with pytest.raises(ClaimRefused) as pending:
            claims.take(TakeClaim(claim=wrong), source=FROM)
        claims.withdraw()
        with pytest.raises(ClaimRefused) as none:
            claims.take(TakeClaim(claim=text), source=FROM)
        assert pending.value.message == none.value.message


def test_of_twenty_at_once_exactly_one_wins(tmp_path: Path) -> None:
    won: list[str] = []
    lost: list[type[BaseException]] = []
    with opened(tmp_path) as store:
        claims, text = offered(store, tmp_path)
        start = threading.Barrier(20)

        def take(number: int) -> None:
            start.wait(10)
            try:
                won.append(claims.take(TakeClaim(claim=text), source=f"10.0.0.{number}").text)
            except ClaimRefused as refusal:
                lost.append(type(refusal))

        threads = [threading.Thread(target=take, args=(number,), name=f"t-{number}") for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert (len(won), len(lost)) == (1, 19)
        assert len(store.list()) == 1
        assert store.verify(won[0]).scopes == frozenset(Scope)


def test_none_is_made_where_somebody_may_change_keys(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        made(store)
        claims, _ = offered(store, tmp_path)
        made(store, Scope.KEYS_ADMIN)  # by another way: it is gone
        assert not claims.is_pending
        assert read_claim(tmp_path) is None
        assert claims.offer() is None


def test_each_start_has_another_and_the_old_one_is_void(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        _, old = offered(store, tmp_path)
    with opened(tmp_path) as store:
        claims, new = offered(store, tmp_path)
        assert old != new
        assert read_claim(tmp_path) == new
        with pytest.raises(ClaimRefused):
            claims.take(TakeClaim(claim=old), source=FROM)
        assert claims.take(TakeClaim(claim=new), source=FROM).text


def test_a_thousand_claims_differ(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        claims = Claims(store, tmp_path)
        assert len({claims.offer() for _ in range(1000)}) == 1000


def test_a_claim_that_cannot_be_written_for_its_owner_is_not_made(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        claims = Claims(store, tmp_path / "nowhere")
        with pytest.raises(KeysUnusable):
            claims.offer()
        assert not claims.is_pending


def test_who_guesses_is_slowed_and_others_are_not(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path) as store:
        claims, text = offered(store, tmp_path, attempts=Attempts(CLAIM, clock))
        checked = 0
        for _ in range(1000):
            try:
                claims.take(TakeClaim(claim="wrong"), source=FROM)
            except ClaimRefused:
                checked += 1
            except TooManyAttempts:
                pass
            clock.now_s += 0.059
        assert checked <= 10
        with pytest.raises(TooManyAttempts):
            claims.take(TakeClaim(claim=text), source=FROM)
        assert claims.take(TakeClaim(claim=text), source="192.168.1.8").text
