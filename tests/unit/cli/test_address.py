from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from appliance.cli.address import DEFAULT_URL, Target, discover, process_alive, read_key, to_url
from appliance.cli.exits import Exit, Failure


def lives(_pid: int) -> bool:
    return True


def daemon_in(directory: Path, *, address: str = "http://127.0.0.1:4000", pid: object = 42) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "daemon.json").write_text(json.dumps({"address": address, "pid": pid}))
    return directory


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("box.lan", "http://box.lan:11434"),
        (":8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("http://box.lan:8000/", "http://box.lan:8000"),
        ("https://box.lan", "https://box.lan"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://gateway/models/v1/", "http://gateway/models"),
    ],
)
def test_an_address_becomes_a_url_one_can_connect_to(text: str, url: str) -> None:
    assert to_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://box", "box:port", "box:99999", "http://", "[::1"])
def test_what_is_no_address_is_wrong_usage(text: str) -> None:
    with pytest.raises(Failure, match="is no address") as caught:
        to_url(text)
    assert caught.value.exit_code is Exit.USAGE


def test_host_comes_before_everything(tmp_path: Path) -> None:
    target = discover(
        host="a:1", data=daemon_in(tmp_path), environ={"OUTPOST_HOST": "b:2"}, defaults=(), alive=lives
    )
    assert target == Target("http://a:1", "--host")


def test_a_named_data_directory_comes_before_the_environment(tmp_path: Path) -> None:
    target = discover(
        host=None, data=daemon_in(tmp_path), environ={"OUTPOST_HOST": "b:2"}, defaults=(), alive=lives
    )
    assert target == Target("http://127.0.0.1:4000", str(tmp_path / "daemon.json"))


def test_a_named_data_directory_without_a_daemon_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(
        Failure, match=r"no daemon runs in .*; start one with: outpost serve --data"
    ) as caught:
        discover(host=None, data=tmp_path, environ={"OUTPOST_HOST": "b:2"}, defaults=(), alive=lives)
    assert caught.value.exit_code is Exit.UNAVAILABLE


def test_the_environment_comes_before_the_default_directories(tmp_path: Path) -> None:
    target = discover(
        host=None, data=None, environ={"OUTPOST_HOST": "b:2"}, defaults=(daemon_in(tmp_path),), alive=lives
    )
    assert target == Target("http://b:2", "OUTPOST_HOST")


def test_the_first_living_daemon_of_the_default_directories_is_taken(tmp_path: Path) -> None:
    dead = daemon_in(tmp_path / "dead", pid=1)
    live = daemon_in(tmp_path / "live", address="http://127.0.0.1:5000", pid=2)
    target = discover(host=None, data=None, environ={}, defaults=(dead, live), alive=lambda pid: pid == 2)
    assert target == Target("http://127.0.0.1:5000", str(live / "daemon.json"))


@pytest.mark.parametrize(
    "record", ["", "{}", "[]", '{"address": 1, "pid": 2}', '{"address": "a:1", "pid": "2"}', "\xff"]
)
def test_a_damaged_record_is_no_daemon(tmp_path: Path, record: str) -> None:
    (tmp_path / "daemon.json").write_bytes(record.encode("latin-1"))
    target = discover(
        host=None, data=None, environ={}, defaults=(tmp_path, tmp_path / "missing"), alive=lives
    )
    assert target == Target(DEFAULT_URL, "the default address")


def test_a_process_is_told_from_none() -> None:
    assert process_alive(os.getpid())
    assert not process_alive(2**22 + 1)
    assert not process_alive(2**70)


def test_the_key_is_the_first_word_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("op-abc\n# a note\n")
    assert read_key(file, {"OUTPOST_API_KEY": "other"}) == "op-abc"


def test_without_a_file_the_key_is_the_environments_or_none() -> None:
    assert read_key(None, {"OUTPOST_API_KEY": "op-abc"}) == "op-abc"
    assert read_key(None, {"OUTPOST_API_KEY": ""}) is None
    assert read_key(None, {}) is None


def test_a_missing_or_empty_key_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot read the key file") as missing:
        read_key(tmp_path / "missing", {})
    assert missing.value.exit_code is Exit.NO_INPUT
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(Failure, match="is empty") as empty:
        read_key(tmp_path / "empty", {})
    assert empty.value.exit_code is Exit.DATA
