"""Why a blob that no name leads to stays: a decision by what the layout knows, without reading a byte.

1. It is at work: held (`Layout.hold`, `expect`), arriving or being hashed, taken or promised by a verb that
   is still under way; or a runner has it open: a model that was removed answers to its end.
2. A name has let go of it in this process: then it goes, however young it is.
3. This process took it, or promised that it is there, within the grace.
4. It came within the grace, by the clock of its file, whoever brought it: a copy may stand between its blobs
   and its name.

The grace may be shortened, to nothing even: rule 1 does not know it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from appliance.store.digest import Digest
from appliance.store.layout import Layout


@dataclass(frozen=True, slots=True)
class BlobFile:
    digest: Digest
    path: Path
    freed_bytes: int
    """What the disk gains by its removal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceRules:
    """For one collection; lives inside it. `began_s`: the layout's clock; `clock_s`: the wall's."""

    layout: Layout
    grace_s: float
    began_s: float
    at_work_since_s: float
    """When the oldest verb that is under way began; whatever was touched since then is at work."""
    clock_s: float
    in_use: Collection[str] = field(default=())
    """Paths that runners have open."""

    def is_at_work(self, file: BlobFile) -> bool:
        """Rule 1. The caller holds the lock of the touches where it acts on the answer."""
        layout, digest = self.layout, file.digest
        touched_s = layout.touches.touched_s(digest)
        return (
            (touched_s is not None and touched_s >= self.at_work_since_s)
            or digest in layout.holds.held()
            or digest in layout.locks.busy()
            or str(file.path) in self.in_use
        )

    def grace_left_s(self, file: BlobFile) -> float:
        """Rules 2 to 4: 0 when its time has come."""
        if self.layout.touches.is_released(file.digest):
            return 0.0
        touched_s = self.layout.touches.touched_s(file.digest)
        since_touch_s = self.grace_s if touched_s is None else self.began_s - touched_s
        return max(
            0.0, self.grace_s - since_touch_s, self.grace_s - age_s(self.layout, file.path, self.clock_s)
        )


def age_s(layout: Layout, path: Path, clock_s: float) -> float:
    """Since it came to its name: ctime, which a link and a rename set and nobody can forge. A clock that is
    set ages nothing (`age.py`). Never less than 0: a board without a clock of its own may have written in the
    future.
    """
    try:
        return max(0.0, layout.ages.age_s(path.lstat().st_ctime, clock_s))
    except OSError:
        return 0.0


def file_of(digest: Digest, path: Path) -> BlobFile | None:
    """A file that has another name elsewhere (a model adopted in place) gives nothing back."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return BlobFile(digest, path, found.st_blocks * 512 if found.st_nlink == 1 else 0)
