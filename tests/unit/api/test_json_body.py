"""Strict JSON: everything hostile is a typed error that names what is wrong."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api import json_body
from appliance.api.calls import Limits
from appliance.errors import InvalidRequest
from tests.unit.api.door import HELLO, Door, refusal
from tests.unit.cpu_time import least_cpu_s

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_every_honest_object_is_read_as_it_is(value: dict[str, object]) -> None:
    assert json_body.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_an_invalid_request(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(json_body.parse(body), dict)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"{", "not JSON"),
        (b'{"a": }', "not JSON"),
        (b'{"a": 1} trailing', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e400}', "1e400 is out of range"),
        (b'{"a": -1e400}', "out of range"),
        (b'{"a": 99999999999999999999}', "out of range"),
        (b'{"a": ' + b"9" * 1_000_000 + b"}", "out of range"),
        (b'\xef\xbb\xbf{"a": 1}', "JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": "\x00"}', "not JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_its_reason(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        json_body.parse(body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a": 1, "a": 2}', "a"),
        (b'{"a": [{"temperature": 0, "b": 1, "temperature": 2}]}', "a.0.temperature"),
        (b'{"messages": [{}, {"content": "x", "content": "y"}]}', "messages.1.content"),
        (b'{"a": {"b": {"c": 1, "c": 1}}, "a": 2}', "a"),
        (b'{"a": {"b": 1, "b": NaN, "c": {"d": 0, "d": 0}}}', "a.b"),
        (b'{"a": {"b": 1, "\\udc00": 1, "\\udc00": 2}}', r"a.\udc00"),
    ],
)
def test_a_duplicate_key_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(InvalidRequest, match="twice") as raised:
        json_body.parse(body)
    assert raised.value.param == path


def test_a_duplicate_key_is_told_also_where_the_body_is_no_object() -> None:
    with pytest.raises(InvalidRequest) as raised:
        json_body.parse(b'[{"a": 1, "a": 2}]')
    assert raised.value.param == "0.a"


def test_a_lone_surrogate_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidRequest) as raised:
        json_body.parse(rb'{"messages": [{"content": "\ud83d"}]}')
    assert raised.value.param == "messages.0.content"


def test_a_lone_surrogate_in_a_key_is_refused() -> None:
    with pytest.raises(InvalidRequest) as raised:
        json_body.parse(rb'{"x": {"\udc00": 1}}')
    assert raised.value.param == r"x.\udc00"


def test_a_surrogate_pair_is_one_character() -> None:
    assert json_body.parse(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


def test_64_levels_are_read_and_65_are_refused() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert json_body.parse(nested(64))
    with pytest.raises(InvalidRequest, match="deeper than 64"):
        json_body.parse(nested(65))


def test_brackets_inside_strings_are_not_levels() -> None:
    text = '[{"\\' * 100
    assert json_body.parse(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'"' + b'\\"[' * 100_000,
        b'"[' * 100_001,
        b'{"a":[' + b"[" * 65 + b"]" * 65 + b"]}",
        b"[" * 100 + b"{}" * 100,
        b"[{" * 33 + b"}]" * 33,
    ],
)
def test_a_hundred_thousand_brackets_are_refused_in_no_time(body: bytes) -> None:
    def refused() -> None:
        with pytest.raises(InvalidRequest):
            json_body.parse(body)

    assert least_cpu_s(refused) < 1.0


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"]
)
def test_only_json_is_read(content_type: str) -> None:
    answer = Door().post_bytes("/v1/chat/completions", b"{}", {"Content-Type": content_type})
    assert refusal(answer) == (415, None, "unsupported_media_type")


def test_a_charset_beside_json_is_fine() -> None:
    body = json.dumps(HELLO).encode()
    answer = Door().post_bytes(
        "/v1/chat/completions", body, {"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 200


def test_a_compressed_body_is_refused() -> None:
    answer = Door().post_bytes("/v1/chat/completions", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert refusal(answer) == (415, None, "unsupported_media_type")


def test_a_body_over_the_limit_is_413() -> None:
    door = Door(limits=Limits(max_body_bytes=1000))
    assert refusal(door.chat(user="x" * 1000)) == (413, None, "body_too_large")
