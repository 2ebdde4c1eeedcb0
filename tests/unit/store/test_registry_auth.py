"""Challenges of registries, well-formed and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.registry_auth import Challenge, parse_challenge


def _bearer(**parameters: str) -> Challenge:
    return Challenge(scheme="bearer", parameters=parameters)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a.example/t",service="s",scope="repository:x/y:pull"',
            _bearer(realm="https://a.example/t", service="s", scope="repository:x/y:pull"),
        ),
        ('bearer realm="https://a.example/t" , service=s', _bearer(realm="https://a.example/t", service="s")),
        ('Bearer realm="one",realm="two"', _bearer(realm="one")),
        ('Basic realm="Registry Realm"', Challenge(scheme="basic", parameters={"realm": "Registry Realm"})),
        ("Basic", Challenge(scheme="basic", parameters={})),
        ('Bearer realm="not closed', Challenge(scheme="bearer", parameters={})),
        ("Negotiate", None),
        ("Bearerx realm=a", None),
        ("", None),
        ("Bearer " + "x" * 5000, None),
    ],
)
def test_a_challenge_is_read_or_refused(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


@given(st.text(max_size=200))
def test_no_header_is_more_than_refused(text: str) -> None:
    for header in (text, f"Bearer {text}", f'Bearer realm="{text}"'):
        parse_challenge(header)
