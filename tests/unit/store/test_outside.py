"""A stick that fails while it is looked at is a typed error, whoever looks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import InvalidRequest, StoreFault
from appliance.store.archive import TarTarget
from appliance.store.content import unreported
from appliance.store.files import Files
from appliance.store.inspection import inspect
from appliance.store.layout import Layout
from appliance.store.local_files import gguf_files
from appliance.store.outside import is_directory, is_plain_file, size_at, status_at
from appliance.store.picking import form_of
from tests.fakes.model_files import generator, make_store


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """With a layout, a tar and a GGUF."""
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "tiny.gguf").write_bytes(generator().read_bytes())
    store = make_store(tmp_path / "first")
    store.import_file(generator(), "tiny", unreported)
    store.export("tiny", stick / "layout", unreported)
    store.export("tiny", stick / "tiny.tar", unreported)
    store.close()
    return stick


@pytest.fixture
def pulled(stick: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From then on no look at anything of it goes well."""

    def pull(number: int) -> None:
        look, status = os.stat, Path.lstat
        scan = os.listdir

        def refuse(path: object) -> None:
            if isinstance(path, str | Path) and Path(path).is_relative_to(stick):
                raise OSError(number, os.strerror(number), str(path))

        def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
            refuse(path)
            return look(path, follow_symlinks=follow_symlinks)

        def lstat(path: Path) -> os.stat_result:
            refuse(path)
            return status(path)

        def listdir(path: Path) -> list[str]:
            refuse(path)
            return scan(path)

        monkeypatch.setattr(Path, "stat", stat)
        monkeypatch.setattr(Path, "lstat", lstat)
        monkeypatch.setattr(os, "listdir", listdir)

    return pull


LOOKS: dict[str, Callable[[Path], object]] = {
    "a layout": lambda stick: Layout(stick / "layout", files=Files(), read_only=True),
    "a tar to be written": lambda stick: TarTarget(stick / "new.tar", files=Files()),
    "what an import takes": lambda stick: form_of(stick / "layout"),
    "a GGUF": lambda stick: gguf_files(stick / "tiny.gguf"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_failing_stick_is_a_fault_of_the_disk(
    stick: Path, pulled: Callable[[int], None], look: Callable[[Path], object]
) -> None:
    pulled(errno.EIO)
    with pytest.raises(StoreFault, match="input/output error"):
        look(stick)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_what_may_not_be_looked_at_is_the_callers(
    stick: Path, pulled: Callable[[int], None], look: Callable[[Path], object]
) -> None:
    pulled(errno.EACCES)
    with pytest.raises(InvalidRequest, match="Permission denied"):
        look(stick)


def test_an_import_an_export_and_a_check_of_a_failing_stick_are_typed(
    stick: Path, tmp_path: Path, pulled: Callable[[int], None]
) -> None:
    store = make_store(tmp_path / "second")
    store.import_file(stick / "tiny.gguf", "tiny", unreported)
    pulled(errno.EIO)
    for path in ("layout", "tiny.tar", "tiny.gguf"):
        with pytest.raises(StoreFault, match="input/output error"):
            store.import_file(stick / path, "again", unreported)
    for path in ("other", "other.tar"):
        with pytest.raises(StoreFault, match="input/output error"):
            store.export("tiny", stick / path, unreported)
    (problem,) = inspect(stick / "layout").problems
    assert "input/output error" in problem.reason
    store.close()


def test_a_directory_that_cannot_be_read_is_a_fault_of_the_disk(
    stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(StoreFault, match="input/output error"):
        gguf_files(stick)


def test_an_absence_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"x")
    for path in ("none", "loop", "file/below", "zero\0byte"):
        assert status_at(tmp_path / path) is None
        assert size_at(tmp_path / path) == 0
    assert (is_directory(tmp_path), is_plain_file(tmp_path)) == (True, False)
    assert (is_directory(tmp_path / "file"), is_plain_file(tmp_path / "file")) == (False, True)
