"""`outpost keys` as a program on a data directory of its own: no daemon runs."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from appliance.cli import keys
from tests.integration.command_line import environment, one_line, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def alone(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("keys", *words, "--data", str(home / "data"), env=environment(home), cwd=home)


def test_without_a_daemon_the_database_itself_is_changed(tmp_path: Path) -> None:
    made = alone(tmp_path, "create", "--name", "ops", "--scope", "keys:admin", "--concurrency", "3")
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert made.stdout.startswith("ek_")
    assert "shown only once" in one_line(made.stderr)
    key_id = made.stdout.split("_")[1]
    words = ("--note", "second floor", "--background", "--expires", "2d")
    shown = alone(tmp_path, "edit", key_id, *words).stdout
    assert "second floor" in shown
    assert "concurrency 3, background only" in shown
    assert "in 1d23h" in shown
    table = alone(tmp_path, "list").stdout.splitlines()
    assert table[0].split() == list(keys.HEADER)
    assert table[1].split()[:4] == [key_id, "ops", "active", "keys:admin"]
    last = alone(tmp_path, "revoke", key_id)
    assert (last.returncode, "last key with keys:admin" in last.stderr) == (77, True)
    assert json.loads(alone(tmp_path, "revoke", key_id, "--force", "--json").stdout)["state"] == "revoked"


def audited(home: Path) -> list[tuple[str, str]]:
    told = run("audit", "show", "--json", "--data", str(home / "data"), env=environment(home), cwd=home)
    return [(one["event"], one["actor"]) for one in json.loads(told.stdout)["entries"]]


def test_the_first_key_has_to_be_able_to_make_others(tmp_path: Path) -> None:
    refused = alone(tmp_path, "create", "--name", "laptop")
    assert (refused.returncode, refused.stdout) == (77, "")
    typed = re.search(r"outpost (keys create --name admin --scope \S+);", refused.stderr)
    assert typed is not None
    assert alone(tmp_path, *typed[1].split()[1:]).returncode == 0
    assert alone(tmp_path, "create", "--name", "laptop").returncode == 0
    forced = tmp_path / "another"
    forced.mkdir()
    assert alone(forced, "create", "--name", "laptop", "--force").returncode == 0


def test_what_root_makes_in_the_daemons_directory_the_daemon_can_go_on_with(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("to act as another user needs root: run this layer of the tests as root")
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 12345, 12345)
    key_id = alone(tmp_path, "create", "--scope", "keys:admin").stdout.split("_")[1]
    assert alone(tmp_path, "edit", key_id, "--note", "n").returncode == 0
    made = {str(path.relative_to(data)): path.stat().st_uid for path in data.rglob("*")}
    assert {"audit/head.json", "audit/lock", "daemon.lock", "device.key", "keys.db"} <= set(made)
    assert set(made.values()) == {12345}


def test_what_is_changed_without_a_daemon_is_in_the_audit_log_or_is_not_done(tmp_path: Path) -> None:
    key_id = alone(tmp_path, "create", "--scope", "keys:admin").stdout.split("_")[1]
    me = f"user {getpass.getuser()}"
    assert audited(tmp_path) == [("key_created", me)]
    in_the_way = tmp_path / "data/audit/999999999999.jsonl"
    in_the_way.mkdir()
    refused = alone(tmp_path, "rotate", key_id)
    assert (refused.returncode, refused.stdout) == (74, "")
    assert "bytes are free" in refused.stderr
    revoked = alone(tmp_path, "revoke", key_id, "--force", "--json")
    assert json.loads(revoked.stdout)["state"] == "revoked"
    assert "outpost: warning: it is revoked, and the audit log could not take it" in revoked.stderr
    in_the_way.rmdir()
    alone(tmp_path, "create", "--scope", "keys:admin")
    assert audited(tmp_path) == [("key_created", me)] * 2


def test_a_key_of_the_configuration_is_listed_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "outpost.toml").write_text(f'[access.keys]\nk7f3q9xz = "{"0" * 64}"\n')
    (tmp_path / "data").mkdir()
    told = alone(tmp_path, "list", "--config", "outpost.toml", "--json").stdout
    assert [(key["id"], key["source"]) for key in json.loads(told)["data"]] == [("k7f3q9xz", "configuration")]
    refused = alone(tmp_path, "revoke", "k7f3q9xz", "--config", "outpost.toml")
    assert (refused.returncode, "change it there" in refused.stderr) == (77, True)


def test_a_damaged_database_ends_the_command_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/keys.db").write_bytes(b"nonsense" * 1000)
    failed = alone(tmp_path, "list")
    assert (failed.returncode, "from a backup" in one_line(failed.stderr)) == (74, True)
    assert (tmp_path / "data/keys.db").read_bytes() == b"nonsense" * 1000


def test_an_unknown_key_and_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "no such data directory" in one_line(alone(tmp_path, "list").stderr)
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    assert alone(tmp_path, "show", "nobody00").returncode == 66
    assert "no daemon runs" in one_line(alone(tmp_path, "claim", "X").stderr)
