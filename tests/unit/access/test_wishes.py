from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.access import wishes
from appliance.access.scopes import Scope
from appliance.access.wishes import CreateKey, EditKey, RotateKey, TakeClaim, parse, to_body
from appliance.cli.key_commands import SCOPES
from appliance.config.values import KeyScope
from appliance.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": "infer"}, "scopes"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"note": "\x1b[31m"}, "note"),
        ({"models": [""]}, "models[0]"),
        ({"models": ["a b"]}, "models[0]"),
        ({"models": ["x"] * 257}, "models"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": -5}, "expires_in_s"),
        ({"requests_per_min": 0}, "requests_per_min"),
        ({"requests_per_min": 1.5}, "requests_per_min"),
        ({"max_context": "4096"}, "max_context"),
        ({"concurrency": 1 << 50}, "concurrency"),
        ({"background_only": 1}, "background_only"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        parse(CreateKey, body)
    assert told.value.param == param


@pytest.mark.parametrize("kind", [CreateKey, EditKey, RotateKey])
@pytest.mark.parametrize("field", ["key", "id", "sha256", "created_s", "is_configured", "scope"])
def test_an_unknown_field_is_refused(kind: type[msgspec.Struct], field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        parse(kind, {field: 1})


@given(st.dictionaries(st.sampled_from(CreateKey.__struct_fields__), JSON))
def test_any_body_is_a_wish_or_is_refused(body: dict[str, Any]) -> None:
    for kind in (CreateKey, EditKey, RotateKey, TakeClaim):
        try:
            wish = parse(kind, body)
        except InvalidRequest:
            continue
        assert parse(kind, to_body(wish)) == wish


def test_a_rotation_has_a_longest_grace() -> None:
    assert parse(RotateKey, {"grace_s": wishes.MOST_GRACE_S}).grace_s == wishes.MOST_GRACE_S
    with pytest.raises(InvalidRequest):
        parse(RotateKey, {"grace_s": wishes.MOST_GRACE_S + 1})


def test_the_scopes_are_the_same_everywhere() -> None:
    assert tuple(Scope) == SCOPES == get_args(KeyScope)
