"""The Unix socket for a proxy of this machine: whom its requests are for, and who may not use it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from appliance.api.app import create_app
from appliance.api.server import Server, serve
from appliance.errors import AddressInUse, ConfigError
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_inference import FakeInference
from tests.fakes.fake_store_verbs import FakeStoreVerbs
from tests.integration.api_door import chat_request, http, read_all, status_of

pytestmark = pytest.mark.integration

EXPORT = b'{"verb": "export", "name": "tiny", "path": "/a"}'


def opened(path: Path, inference: FakeInference | None = None, store: FakeStoreVerbs | None = None) -> Server:
    inference = inference or FakeInference()
    app = create_app(parts_of(inference, store=store))
    return serve(app, listen=("127.0.0.1", 0), proxy_socket=path)


def ask(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(request)
        return read_all(connection)


def forwarded(request: bytes, *callers: str) -> bytes:
    lines = "".join(f"X-Forwarded-For: {caller}\r\n" for caller in callers).encode()
    return request.replace(b"Host:", lines + b"Host:", 1)


def test_the_caller_is_whom_the_proxy_names_last(tmp_path: Path) -> None:
    inference, path = FakeInference(), tmp_path / "door.sock"
    with opened(path, inference):
        for request in (
            forwarded(chat_request(), "203.0.113.5"),
            forwarded(chat_request(), "127.0.0.1", "203.0.113.6"),
            forwarded(chat_request(), "127.0.0.1, 203.0.113.7"),
            chat_request(),
            forwarded(chat_request(), "nonsense"),
        ):
            assert status_of(ask(path, request)) == 200
    assert inference.owners == ["203.0.113.5", "203.0.113.6", "203.0.113.7", "unix", "unix"]


@pytest.mark.parametrize("callers", [(), ("127.0.0.1",), ("::1",), ("unix",), ("localhost",)])
def test_nobody_names_files_of_this_machine_through_it(tmp_path: Path, callers: tuple[str, ...]) -> None:
    store, path = FakeStoreVerbs(), tmp_path / "door.sock"
    request = http("POST", "/outpost/v1/operations", EXPORT, {"Connection": "close"})
    with opened(path, store=store):
        assert status_of(ask(path, forwarded(request, *callers))) == 403
    assert store.calls == []


def test_only_owner_and_group_may_connect_and_it_is_gone_with_the_door(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    before = os.umask(0)
    os.umask(before)
    with opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()
    after = os.umask(0)
    os.umask(after)
    assert before == after


def test_what_a_crash_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with opened(path):
        assert status_of(ask(path, http("GET", "/healthz", headers={"Connection": "close"}))) == 200


def test_one_that_somebody_listens_on_stays_his(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with opened(path):
        with pytest.raises(AddressInUse, match=r"door\.sock"):
            opened(path)
        assert status_of(ask(path, http("GET", "/healthz", headers={"Connection": "close"}))) == 200


@pytest.mark.parametrize("kind", ["file", "directory", "link", "nowhere"])
def test_nothing_else_is_removed_for_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "door.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path = tmp_path / "no" / "door.sock"
    with pytest.raises(ConfigError, match=r"server\.proxy_socket|proxy_socket"):
        opened(path)
    assert (path.is_symlink() or path.exists()) == (kind != "nowhere")
