"""Bodies of 16 MB that cost their sender nothing must cost the daemon next to nothing."""

from __future__ import annotations

import contextlib
import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api import json_body, json_shape
from appliance.errors import InvalidRequest

SIZE = 16 * 1024 * 1024
MAX_CPU_S = 0.4
"""Of which none is one hold of the interpreter's lock for more than half: measured 0.01 to 0.12 s in all."""

FLOODS: dict[str, Callable[[], bytes]] = {
    "[": lambda: b"[" * SIZE,
    "{": lambda: b"{" * SIZE,
    "]": lambda: b"]" * SIZE,
    '{"a":': lambda: b'{"a":' * (SIZE // 5),
    "[[…]]": lambda: b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "[],": lambda: b'{"a":[' + b"[]," * (SIZE // 3) + b"1]}",
    "{},": lambda: b'{"a":[' + b"{}," * (SIZE // 3) + b"1]}",
    "[[[[]]]],": lambda: b'{"a":[' + b"[[[[]]]]," * (SIZE // 9) + b"1]}",
    '"",': lambda: b'{"a":[' + b'"",' * (SIZE // 3) + b"1]}",
    "1,": lambda: b'{"a":[' + b"1," * (SIZE // 2) + b"1]}",
    "1e9,": lambda: b'{"a":[' + b"1e9," * (SIZE // 4) + b"1]}",
    "keys": lambda: b"{" + b",".join(b'"%d":0' % number for number in range(SIZE // 12)) + b"}",
    "one key": lambda: b"{" + b'"a":0,' * (SIZE // 6) + b'"a":0}',
    "digits": lambda: b'{"a":' + b"1" * SIZE + b"}",
    "negative": lambda: b'{"a":-' + b"1" * SIZE + b"}",
    "fraction": lambda: b'{"a":0.' + b"1" * SIZE + b"}",
    "exponent": lambda: b'{"a":1e' + b"1" * SIZE + b"}",
    "huge numbers": lambda: b'{"a":[' + b"9" * 400 + (b"," + b"9" * 400) * (SIZE // 401) + b"]}",
    "one string": lambda: b'{"a":"' + b"x" * SIZE + b'"}',
    "open string": lambda: b'{"a":"' + b"x" * SIZE,
    "backslashes": lambda: b'{"a":"' + b"\\" * SIZE,
    "quotes": lambda: b'"' * SIZE,
    "brackets in a string": lambda: b'{"a":"' + b"[{," * (SIZE // 3) + b'"}',
    "escapes": lambda: b'{"a":"' + b"\\n" * (SIZE // 2) + b'"}',
    "lone surrogates": lambda: b'{"a":"' + b"\\ud800" * (SIZE // 6) + b'"}',
    "spaces": lambda: b"{" + b" " * SIZE + b"}",
    "zeros": lambda: bytes(SIZE),
    "values at the bound": lambda: b'{"a":[' + b'"x",' * 499_000 + b"1]}",
    "keys at the bound": lambda: b"{" + b",".join(b'"%d":0' % number for number in range(99_000)) + b"}",
    "objects at the bound": lambda: b'{"a":[' + b'{"b":[]},' * 49_000 + b"1]}",
}


@pytest.fixture
def _only_its_own_garbage() -> Iterator[None]:
    """What thousands of tests have left in memory is no part of the price: a collection that walks over it
    costs four times the parse (measured 0.24 s for 0.06 s).
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_only_its_own_garbage")
@pytest.mark.parametrize("flood", FLOODS)
def test_sixteen_megabytes_of_anything_are_cheap(flood: str) -> None:
    body = FLOODS[flood]()
    # One may pay for a collection of all tests' garbage.
    assert any(_cpu_s(body) < MAX_CPU_S for _ in range(3))


def _cpu_s(body: bytes) -> float:
    started_s = time.thread_time()
    with contextlib.suppress(InvalidRequest):
        json_body.parse(body)
    return time.thread_time() - started_s


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a":[' + b"[]," * 100_000 + b"1]}", "more than 100000 arrays and objects"),
        (b'{"a":[' + b"1," * 500_001 + b"1]}", "more than 500000 values"),
        (b'{"a":1' + b',"a":1' * 100_001 + b"}", "more than 100000 keys"),
    ],
)
def test_more_than_an_honest_request_holds_is_refused_with_the_bound(body: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        json_shape.check(body)


def test_300000_tokens_for_embeddings_are_honest() -> None:
    tokens = [list(range(512))] * 600
    assert json_body.parse(json.dumps({"input": tokens}).encode()) == {"input": tokens}


def test_a_book_full_of_marks_is_one_string() -> None:
    book = '{["a,b:c\\"]},' * 200_000
    assert json_body.parse(json.dumps({"a": book}).encode()) == {"a": book}


NESTED = st.recursive(
    st.text('a"\\[]{},: é', max_size=12) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\[{', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@given(value=NESTED, chunk_bytes=st.integers(1, 20))
def test_depth_is_the_readers_wherever_chunks_end(value: object, chunk_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_shape, "MAX_DEPTH", 2)
        patch.setattr(json_shape, "_CHUNK_BYTES", chunk_bytes)
        patch.setattr(json_shape, "_is_small", lambda body: False)
        try:
            json_shape.check(json.dumps(value).encode())
        except InvalidRequest:
            is_refused = True
        else:
            is_refused = False
    assert is_refused == (depth_of(value) > 2)


@given(body=st.text('"\\[]{},:a', max_size=60), chunk_bytes=st.integers(1, 10))
def test_bytes_that_are_no_json_end_the_scan_too(body: str, chunk_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_shape, "_CHUNK_BYTES", chunk_bytes)
        patch.setattr(json_shape, "_is_small", lambda body: False)
        with contextlib.suppress(InvalidRequest):
            json_shape.check(body.encode())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model": "a", "messages": ' + b"[" * 70, "messages"),
        (b'{"metadata": {"x": 1}, "tools": [{"a": ' + b'{"b":' * 70, "tools"),
        ('{"caf\u00e9": '.encode() + b"[" * 70, "caf\\xc3\\xa9"),
        (b"[" * 70, None),
        (b'{"a": "' + b"x" * 100_000 + b'", "b": ' + b"[" * 70, None),
    ],
)
def test_a_body_that_is_too_deep_is_refused_with_the_field_where_that_is_near(
    body: bytes, field: str | None
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        json_shape.check(body)
    assert refused.value.fields["param"] == field
