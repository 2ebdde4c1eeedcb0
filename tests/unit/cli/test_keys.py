"""What the words of `outpost keys` ask for, and how keys are shown."""

from __future__ import annotations

import argparse
from pathlib import Path
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


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OUTPOST_HOST", raising=False)
    (tmp_path / "outpost.toml").write_text("")
    return tmp_path / "data"


def run(data: Path, *words: str) -> int:
    return keys.main(told(*words, "--data", str(data), "--config", str(data.parent / "outpost.toml")))


def test_without_a_daemon_the_database_itself_is_changed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "create", "--name", "ops", "--scope", "keys:admin", "--concurrency", "3") == 0
    made = capsys.readouterr()
    assert made.out.startswith("ek_")
    assert made.out.count("\n") == 1
    assert "shown only once" in made.err
    key_id = made.out.split("_")[1]
    assert run(data, "edit", key_id, "--note", "second floor", "--background", "--expires", "2d") == 0
    shown = capsys.readouterr().out
    assert "second floor" in shown
    assert "concurrency 3, background only" in shown
    assert "in 1d23h" in shown
    assert run(data, "list") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == list(keys.HEADER)
    assert table[1].split()[:4] == [key_id, "ops", "active", "keys:admin"]
    with pytest.raises(Failure) as last:
        run(data, "revoke", key_id)
    assert last.value.code == "last_admin_key"
    assert run(data, "revoke", key_id, "--force") == 0
    assert "revoked" in capsys.readouterr().out


def test_a_damaged_database_ends_the_command_with_what_to_do(data: Path) -> None:
    data.mkdir()
    (data / "keys.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Failure, match="backup") as failed:
        run(data, "list")
    assert failed.value.code == "keys_unusable"
    assert (data / "keys.db").read_bytes() == b"nonsense" * 1000


def test_a_directory_that_is_not_there_is_not_made_by_looking(data: Path) -> None:
    with pytest.raises(Failure, match="no such data directory"):
        run(data, "list")
    assert not data.exists()


def test_a_claim_needs_a_daemon(data: Path) -> None:
    data.mkdir()
    with pytest.raises(Failure, match="no daemon runs"):
        run(data, "claim", "X")
