"""Errors cross the wire by name and fields, and nothing that a runner sends in their place can do harm."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import (
    EngineFault,
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
    ],
)
def test_what_is_no_error_of_ours_becomes_an_engine_fault(name: str, fields: dict[str, Any]) -> None:
    assert isinstance(from_wire(name, fields), EngineFault)


def test_an_endless_name_is_not_repeated() -> None:
    assert len(from_wire("x" * 100_000, {}).message) < 200


def test_only_types_without_subtypes_are_leaves() -> None:
    assert RunnerDied in leaves(OutpostError)
    assert all(not leaf.__subclasses__() for leaf in leaves(OutpostError))
