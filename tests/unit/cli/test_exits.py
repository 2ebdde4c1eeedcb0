from __future__ import annotations

import os

import pytest

from appliance import errors
from appliance.api.error_responses import TABLE
from appliance.cli.exits import MEANING, Exit, of_reply
from appliance.cli.own_errors import of_error


def test_the_codes_are_those_of_sysexits() -> None:
    assert (Exit.USAGE, Exit.DATA, Exit.NO_INPUT, Exit.UNAVAILABLE, Exit.INTERNAL) == (64, 65, 66, 69, 70)
    assert (Exit.TEMPORARY, Exit.PROTOCOL, Exit.NOT_ALLOWED, Exit.CONFIG) == (75, 76, 77, os.EX_CONFIG)


def test_every_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Exit)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "context_length_exceeded", Exit.DATA),
        (400, None, Exit.DATA),
        (401, "invalid_api_key", Exit.NOT_ALLOWED),
        (404, None, Exit.NO_INPUT),
        (418, "teapot", Exit.DATA),
        (503, "insufficient_memory", Exit.UNAVAILABLE),
        (503, None, Exit.TEMPORARY),
        (599, None, Exit.INTERNAL),
        (None, "runner_died", Exit.TEMPORARY),
        (None, None, Exit.INTERNAL),
    ],
)
def test_a_reply_is_judged_by_its_code_first(status: int | None, code: str | None, exit_code: Exit) -> None:
    assert of_reply(status, code) is exit_code


@pytest.mark.parametrize("leaf", errors.leaves(errors.OutpostError), ids=lambda leaf: leaf.__name__)
def test_every_error_of_the_tree_has_an_exit_code(leaf: type[errors.OutpostError]) -> None:
    bare = errors.OutpostError.__new__(leaf)
    groups = {
        errors.RequestError: {Exit.DATA, Exit.NO_INPUT, Exit.NOT_ALLOWED, Exit.TEMPORARY},
        errors.CapacityError: {Exit.TEMPORARY},
        errors.ResourceError: {Exit.TEMPORARY, Exit.UNAVAILABLE, Exit.DISK},
        errors.ContentError: {Exit.DATA},
        errors.RemoteError: {Exit.UNAVAILABLE},
        errors.RunnerError: {Exit.TEMPORARY, Exit.INTERNAL},
        errors.ConfigError: {Exit.CONFIG},
    }
    allowed = next(codes for group, codes in groups.items() if issubclass(leaf, group))
    assert of_error(bare) in allowed


STORE_LEAVES = [
    errors.InvalidReference,
    errors.OutboundRefused,
    errors.ModelInUse,
    errors.ModelNotFound,
    errors.StoreInUse,
    errors.InsufficientSpace,
    errors.StoreFault,
    *errors.leaves(errors.ContentError),
    *errors.leaves(errors.RemoteError),
]


@pytest.mark.parametrize("leaf", STORE_LEAVES, ids=lambda leaf: leaf.__name__)
def test_the_stores_errors_end_alike_with_a_daemon_and_without(leaf: type[errors.OutpostError]) -> None:
    row = TABLE[leaf]
    assert of_reply(row.status, row.code) is of_reply(None, row.code) is of_error(leaf.__new__(leaf))


def test_a_full_address_is_temporary_and_a_bad_configuration_is_not() -> None:
    assert of_error(errors.AddressInUse(address="127.0.0.1:1")) is Exit.TEMPORARY
    assert of_error(errors.DataDirInUse(directory="data")) is Exit.TEMPORARY
    assert of_error(errors.ConfigError(source="f", key="k", value=1, expected="2")) is Exit.CONFIG
    assert of_error(errors.EngineFault(reason="r")) is Exit.INTERNAL
