"""What the store does while the power is cut: the scenarios by name. What each promises meanwhile is in
`promises`, what it does in `acts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.store.files import Files
from appliance.store.layout import Layout
from tests.crash import acts
from tests.crash.acts import FIRST, LARGE, REPLACED, SECOND, THIRD
from tests.crash.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    before: tuple[Model, ...] = ()
    """Models that are there when it begins, long durable."""
    damage: Callable[[Path], None] | None = None
    """What has gone wrong with the disk before it begins."""
    act: Callable[[Path, Files], None]
    """Can be done again where it was cut off."""
    breaks: Model | None = None
    """A model with a damaged blob: until it is acknowledged it may be listed as broken."""
    rescues: bool = False
    """The index is lost: recovery may refuse the store, and `recover_index` must then build it again."""
    is_carried: bool = False
    """A directory to carry away: what it lists must be whole without any recovery."""
    is_archive: bool = False
    """What is promised is a model in an archive that lies in the store's directory."""
    has_threads: bool = False
    """Its system calls come in another order each time."""


def prepare(root: Path, scenario: Scenario) -> None:
    with contextlib.closing(Layout(root, files=Files())) as layout:
        for model in scenario.before:
            model.arrive(layout)
    if scenario.damage:
        scenario.damage(root)


SCENARIOS: dict[str, Scenario] = {
    "first import": Scenario(act=acts.bring(FIRST)),
    "second import sharing blobs": Scenario(before=(FIRST,), act=acts.bring(SECOND)),
    "replace tag": Scenario(before=(FIRST, SECOND), act=acts.bring(REPLACED)),
    "delete and collect": Scenario(before=(FIRST, SECOND), act=acts.remove),
    "collect while importing": Scenario(
        before=(FIRST,), damage=acts.leave_orphans, act=acts.collect_beside, has_threads=True
    ),
    "resume of a half copy": Scenario(before=(SECOND,), act=acts.resume),
    "two imports at once": Scenario(act=acts.bring_at_once(FIRST, SECOND), has_threads=True),
    "three imports at once": Scenario(
        before=(FIRST,), act=acts.bring_at_once(SECOND, THIRD, LARGE), has_threads=True
    ),
    "import of many layers": Scenario(before=(SECOND,), act=acts.bring(LARGE)),
    "busy day": Scenario(before=(SECOND,), act=acts.busy_day),
    "local files": Scenario(before=(SECOND,), act=acts.adopt, has_threads=True),
    "quarantine and repair": Scenario(before=(FIRST, SECOND), act=acts.quarantine, breaks=FIRST),
    "repair of a truncated blob": Scenario(
        before=(FIRST, SECOND), damage=acts.truncate_blob, act=acts.resume, breaks=FIRST
    ),
    "quarantine and collect": Scenario(before=(FIRST, SECOND), act=acts.collect_quarantine, breaks=FIRST),
    "download of a URL": Scenario(before=(SECOND,), act=acts.download_url),
    "export to a directory": Scenario(before=(SECOND,), act=acts.export_to, is_carried=True),
    "export to a tar": Scenario(damage=acts.leave_archive, act=acts.export_tar, is_archive=True),
    "index built again": Scenario(before=(FIRST,), damage=acts.lose_index, act=acts.rebuild, rescues=True),
}
