"""Errors cross the wire by name and fields, and nothing that a runner sends in their place can do harm."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import (
    EngineFault,
    InsufficientMemory,
    ModelInvalid,
    OutpostError,
    Overloaded,
    RunnerDied,
    from_wire,
    leaves,
    to_wire,
)

DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "error",
    [
        Overloaded(waiting=1, limit=2, retry_after_s=3.0),
        ModelInvalid(model="m", reason="cut off"),
        RunnerDied(model="m", cause="SIGSEGV"),
        InsufficientMemory(model="m", needed_bytes=2, available_bytes=1),
        InsufficientMemory(
            model="m", needed_bytes=2, available_bytes=1, min_ctx=2048, largest_ctx=0, pinned=["a", "b"]
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_on_the_other_side(error: OutpostError) -> None:
    rebuilt = from_wire(*to_wire(error))
    assert type(rebuilt) is type(error)
    assert rebuilt.message == error.message
    assert rebuilt.fields == error.fields


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("OutpostError", {"message": "x"}),
        ("RunnerError", {}),
        ("SystemExit", {}),
        ("Overloaded", {}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": "soon"}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": None}),
        ("Overloaded", {"waiting": 1, "limit": 1, "retry_after_s": 10**400}),
        ("Overloaded", {"waiting": DEEP, "limit": 1, "retry_after_s": 1.0}),
        ("ModelNotFound", {"model": "m", "available": [1]}),
        ("InvalidRequest", {"reason": "x", "more": 1}),
        ("InsufficientMemory", {"model": "m", "needed_bytes": 2, "available_bytes": 1, "pinned": [7]}),
        ("InsufficientMemory", {"model": "m", "needed_bytes": 2, "available_bytes": 1, "pinned": 7}),
    ],
)
def test_what_is_no_error_of_ours_becomes_an_engine_fault(name: str, fields: dict[str, Any]) -> None:
    assert isinstance(from_wire(name, fields), EngineFault)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "lower the context length, take a smaller quantisation, or unload another model"),
        ({"min_ctx": 2048}, "needs 2.00 GB with at least 2048 tokens of context, 1 MB are available"),
        ({"min_ctx": 2048, "largest_ctx": 512}, "ask for no more than 512 tokens of context"),
        ({"min_ctx": 2048, "largest_ctx": 0}, "no context, however short, would fit: take a smaller"),
        ({"pinned": ["a", "b"]}, "unpin a, b, or lower the context length"),
        ({"min_ctx": 1, "largest_ctx": 0, "pinned": ["a"]}, "would fit: unpin a, or take a smaller"),
    ],
)
def test_too_little_memory_is_told_with_what_to_change(more: dict[str, Any], told: str) -> None:
    assert (
        told in InsufficientMemory(model="m", needed_bytes=2 * 10**9, available_bytes=10**6, **more).message
    )


def test_an_endless_name_is_not_repeated() -> None:
    assert len(from_wire("x" * 100_000, {}).message) < 200


def test_only_types_without_subtypes_are_leaves() -> None:
    assert RunnerDied in leaves(OutpostError)
    assert all(not leaf.__subclasses__() for leaf in leaves(OutpostError))
