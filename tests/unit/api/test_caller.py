"""Who calls, with and without proxies in between, honest ones and others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.caller import Caller, Callers, address_of

TRUSTED = Callers(["127.0.0.2", "10.1.0.0/16", "fd00::/8"])


def called(callers: Callers, peer: str, **headers: str) -> Caller:
    return callers.caller_of({"REMOTE_ADDR": peer, **headers})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("192.168.1.7", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_this_machine_is_told_by_address(address: str, expected: bool) -> None:
    assert called(Callers(), address) == Caller(
        address=address, is_on_this_machine=expected, is_certain=address_of(address) is not None
    )


@pytest.mark.parametrize(
    "header",
    [
        "HTTP_FORWARDED",
        "HTTP_VIA",
        "HTTP_X_REAL_IP",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_X_FORWARDED_ANYTHING",
    ],
)
@pytest.mark.parametrize("value", ["", "127.0.0.1", "203.0.113.5"])
def test_what_was_forwarded_is_never_this_machine_and_nobody_unknown_is_believed(
    header: str, value: str
) -> None:
    assert called(Callers(), "127.0.0.1", **{header: value}) == Caller(address="127.0.0.1", is_certain=False)
    assert called(TRUSTED, "192.168.1.7", **{header: value}) == Caller(
        address="192.168.1.7", is_certain=False
    )


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("127.0.0.1, 203.0.113.5", "203.0.113.5"),  # the caller wrote the first himself
        ("203.0.113.5, 10.1.2.3", "203.0.113.5"),  # through two proxies of ours
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("127.0.0.1", "127.0.0.1"),
        ("", "127.0.0.2"),
        ("unknown", "127.0.0.2"),
        ("203.0.113.5, unknown", "127.0.0.2"),
        ("10.1.2.3", "127.0.0.2"),
        (",,,", "127.0.0.2"),
    ],
)
def test_a_trusted_proxy_names_the_caller_who_is_never_this_machine(forwarded_for: str, address: str) -> None:
    told = called(TRUSTED, "127.0.0.2", HTTP_X_FORWARDED_FOR=forwarded_for)
    assert told == Caller(address=address, is_certain=address != "127.0.0.2")


def test_a_trusted_proxy_that_adds_no_header_is_itself_and_not_this_machine() -> None:
    assert called(TRUSTED, "127.0.0.2") == Caller(address="127.0.0.2", is_certain=False)
    assert called(TRUSTED, "fd00::1") == Caller(address="fd00::1", is_certain=False)


def test_beside_a_proxy_on_an_address_of_its_own_this_machine_stays_this_machine() -> None:
    assert called(TRUSTED, "127.0.0.1").is_on_this_machine


@given(forwarded_for=st.text(max_size=80), peer=st.sampled_from(["127.0.0.2", "127.0.0.1", "10.1.9.9"]))
def test_no_header_makes_a_caller_this_machine(forwarded_for: str, peer: str) -> None:
    told = called(TRUSTED, peer, HTTP_X_FORWARDED_FOR=forwarded_for)
    assert not told.is_on_this_machine
    assert address_of(told.address) is not None
