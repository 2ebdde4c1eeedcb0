from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import appliance.store
from appliance.errors import InsufficientSpace, StoreFault
from appliance.store.files import Files


def test_a_small_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"a long first content")

    Files().write_aside(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    class FullDisk(Files):
        def fsync(self, descriptor: int) -> None:
            raise InsufficientSpace(needed_bytes=1, available_bytes=0, floor_bytes=0, directory="d")

    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    with pytest.raises(InsufficientSpace):
        FullDisk().write_aside(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_could_not_be_made_durable_is_removed(tmp_path: Path) -> None:
    class FailingDisk(Files):
        def fsync(self, descriptor: int) -> None:
            raise StoreFault(path="disk", reason="input/output error")

    with pytest.raises(StoreFault):
        FailingDisk().write_durably(tmp_path / "blob.tmp", b"content", mode=0o444)

    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_made_read_only_before_a_crash_is_written_again(tmp_path: Path) -> None:
    """Only a process that is not root can see it fail; the crash harness plays without root's rights."""
    part = tmp_path / "1.part"
    part.write_bytes(b"old")
    part.chmod(0o444)
    files = Files()

    descriptor = files.open_ingest(part)
    files.pwrite(descriptor, b"new", 0)
    os.close(descriptor)

    assert part.read_bytes() == b"new"


def test_a_refusal_names_the_path_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match=r"missing/file.*No such file"):
        Files().create(tmp_path / "missing" / "file")


def test_a_full_device_is_insufficient_space() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(InsufficientSpace) as raised:
            Files().pwrite(fd, b"12345", 0)
    finally:
        os.close(fd)

    assert raised.value.fields["needed_bytes"] == 5
    assert raised.value.fields["directory"] == "/dev"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    files = Files()

    for opening in (files.create, files.open_ingest, files.open_existing):
        with pytest.raises(StoreFault, match="symbolic link"):
            opening(tmp_path / "link")

    assert (tmp_path / "outside").read_bytes() == b"untouched"


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(StoreFault, match="not a plain file"):
        Files().open_existing(tmp_path / "fifo")


def test_a_file_has_its_size_and_its_blocks_at_once(tmp_path: Path) -> None:
    files = Files()
    fd = files.create(tmp_path / "part")
    try:
        files.fallocate(fd, 1_000_000)
        found = os.fstat(fd)
    finally:
        os.close(fd)

    assert found.st_size == 1_000_000
    assert found.st_blocks * 512 >= 1_000_000


def test_a_size_no_disk_has_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    files = Files()
    fd = files.create(tmp_path / "part")
    try:
        with pytest.raises((InsufficientSpace, StoreFault)):
            files.fallocate(fd, 1 << 60)
    finally:
        os.close(fd)


_OF_OS = frozenset(
    [
        "rename",
        "replace",
        "link",
        "unlink",
        "remove",
        "mkdir",
        "makedirs",
        "rmdir",
        "truncate",
        "ftruncate",
        "pwrite",
        "pwritev",
        "write",
        "symlink",
        "chmod",
        "fchmod",
        "fsync",
        "fdatasync",
        "sendfile",
        "copy_file_range",
    ]
)
_OF_PATHS = frozenset({"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to"})


def test_all_writing_of_the_store_goes_through_files() -> None:
    """Found by syntax: `os.rename(...)`, `path.write_bytes(...)`, `open(..., "w")`, `shutil`, `tempfile`."""
    found = []
    for path in sorted(Path(appliance.store.__path__[0]).rglob("*.py")):
        if path.name != "files.py":
            nodes = ast.walk(ast.parse(path.read_text()))
            found += [f"{path.name}: {ast.unparse(node)}" for node in nodes if _writes(node)]

    assert found == []


def _writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
        return bool(names & {"shutil", "tempfile"})
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "os" and node.func.attr in _OF_OS:
            return True
        if node.func.attr in _OF_PATHS:
            return True
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    modes = [*(node.args[1:2] if isinstance(node.func, ast.Name) else node.args[:1])]
    modes += [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
    return name == "open" and any(_is_writing_mode(mode) for mode in modes)


def _is_writing_mode(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and mode.value[:1] in {*"wax"}
