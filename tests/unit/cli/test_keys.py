"""What the words of `outpost keys` ask for, and how keys are shown."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from appliance.access.wishes import CreateKey, EditKey, parse
from appliance.cli import keys
from appliance.cli.exits import Failure
from appliance.cli.key_commands import body_of
from appliance.cli.parser import parse as parse_words


def told(*words: str) -> argparse.Namespace:
    arguments = argparse.Namespace()
    assert parse_words(["keys", *words], arguments) == "keys"
    return arguments


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ((), {}),
        (("--name", "laptop", "--note", "mine"), {"name": "laptop", "note": "mine"}),
        (("--scope", "infer,metrics", "--scope", "system"), {"scopes": ["infer", "metrics", "system"]}),
        (("--model", "a*", "--model", "b"), {"models": ["a*", "b"]}),
        (("--model", "*"), {"models": []}),
        (("--expires", "90d"), {"expires_in_s": 90 * 86400.0}),
        (("--expires", "2w"), {"expires_in_s": 14 * 86400.0}),
        (("--expires", "none"), {"expires_in_s": None}),
        (
            ("--requests-per-min", "60", "--tokens-per-day", "none"),
            {"requests_per_min": 60, "tokens_per_day": None},
        ),
        (("--concurrency", "2", "--max-context", "4096"), {"concurrency": 2, "max_context": 4096}),
        (("--tokens-per-min", "5"), {"tokens_per_min": 5}),
        (("--background",), {"background_only": True}),
        (("--no-background",), {"background_only": False}),
    ],
)
def test_only_what_is_said_is_asked_for(words: tuple[str, ...], body: dict[str, Any]) -> None:
    asked = body_of(told("create", *words))
    assert asked == body
    parse(CreateKey, asked)
    parse(EditKey, asked | {"force": False})


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("make",),
        ("create", "--scope", "root"),
        ("create", "--scope", ","),
        ("create", "--expires", "soon"),
        ("create", "--expires", "90"),
        ("create", "--expires", "-1d"),
        ("create", "--concurrency", "0"),
        ("create", "--max-context", "many"),
        ("rotate", "k7f3q9xz", "--grace", "none"),
    ],
)
def test_what_is_wrong_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Failure):
        told(*words)


@pytest.mark.parametrize("words", [("show",), ("revoke",), ("create", "k7f3q9xz"), ("list", "k7f3q9xz")])
def test_a_key_is_named_where_one_is_meant_and_nowhere_else(words: tuple[str, ...]) -> None:
    with pytest.raises(Failure, match="ID"):
        keys.main(told(*words))
