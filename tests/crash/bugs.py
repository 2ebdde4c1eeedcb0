"""The harness's own test: ways to lose a model, each of which it must find."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from appliance.errors import InsufficientSpace, StoreFault
from appliance.store.files import Files


class NoDataSync(Files):
    """Data is left to the kernel."""

    def fsync(self, descriptor: int) -> None:
        """Not done."""

    def fdatasync(self, descriptor: int) -> None:
        """Not done."""


class NoDirectorySync(Files):
    """Names are left to the kernel."""

    def fsync_dir(self, path: Path) -> None:
        """Not done."""


class IndexInPlace(Files):
    """The index is written over where it stands."""

    def write_aside(self, path: Path, content: bytes) -> None:
        self.write_durably(path, content)
        self.fsync_dir(path.parent)


class RenameBeforeSync(Files):
    """A whole file gets its name before its content is sure."""

    def write_aside(self, path: Path, content: bytes) -> None:
        aside = path.with_name(path.name + ".tmp")
        descriptor = self.create(aside)
        try:
            self.pwrite(descriptor, content, 0)
            self.rename(aside, path)
            self.fsync_dir(path.parent)
            self.fsync(descriptor)
        finally:
            os.close(descriptor)


class BlobsUnsynced(Files):
    """The index is written with all care, the blobs that it names are not."""

    def fsync(self, descriptor: int) -> None:
        if "/ingest/" not in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            super().fsync(descriptor)

    def fdatasync(self, descriptor: int) -> None:
        """Not done."""


class NameDroppedFirst(Files):
    """The index is written twice: without the name that changes, then with it. Each write is durable."""

    def write_aside(self, path: Path, content: bytes) -> None:
        if path.name == "index.json":
            index = json.loads(content)
            index["manifests"] = index["manifests"][:-1]
            super().write_aside(path, json.dumps(index).encode())
        super().write_aside(path, content)


class WriteFailuresIgnored(Files):
    """What the disk did not take is taken for written."""

    def pwrite(self, descriptor: int, content: bytes | memoryview, offset: int) -> None:
        with suppress(StoreFault, InsufficientSpace):
            super().pwrite(descriptor, content, offset)


BUGS: dict[str, type[Files]] = {
    "": Files,
    "no data sync": NoDataSync,
    "no directory sync": NoDirectorySync,
    "index in place": IndexInPlace,
    "rename before sync": RenameBeforeSync,
    "blobs unsynced": BlobsUnsynced,
    "name dropped first": NameDroppedFirst,
    "write failures ignored": WriteFailuresIgnored,
}
