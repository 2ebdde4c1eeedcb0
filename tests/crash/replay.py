"""One play of a scenario that is hit at one system call, judged, and played again to its end."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.crash.actor import REFUSED, Played, play, play_here
from tests.crash.call_points import Point, was_hit
from tests.crash.judge import violations
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import copy_prepared

_KILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Hit:
    """`error`: the errno the call gives; None: the process is killed there."""

    scenario: str
    prepared: Path
    """The store as the scenario finds it."""
    point: Point
    error: str | None = None
    bug: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.error or 'killed'} at {self.point.call} number {self.point.ordinal}"


def replay(hit: Hit) -> list[str]:
    """What is wrong, in words."""
    with tempfile.TemporaryDirectory(dir=hit.prepared.parent) as folder:
        root = Path(folder) / "store"
        copy_prepared(hit.prepared, root)
        log = Path(folder) / "log"
        done = play(hit.scenario, root, bug=hit.bug, strace=_options(hit, log))
        found = _expected_end(hit, done)
        if not was_hit(log, str(root), by=hit.error or _KILL):
            found.append("it was not hit")
        scenario = SCENARIOS[hit.scenario]
        found += violations(root, scenario, done.said, collects=False)
        again = play_here(hit.scenario, root)
        if again.code:
            found.append(f"the next try ended with {again.code}: {again.complaint[-1500:]}")
        said = done.said + again.said
        found += [
            f"after the next try: {text}" for text in violations(root, scenario, said, recovers_twice=False)
        ]
    return [f"{hit}: {text}" for text in found]


def _options(hit: Hit, log: Path) -> list[str]:
    way = f"error={hit.error}" if hit.error else "signal=KILL"
    call = hit.point.call
    return [
        *("-f", "-y", "-s", "16", "-o", str(log), "-e", f"trace={call}"),
        *("-e", f"inject={call}:{way}:when={hit.point.ordinal}"),
    ]


def _expected_end(hit: Hit, done: Played) -> list[str]:
    if hit.error is None:
        return [] if done.code == -9 else [f"it ended with {done.code}: {done.complaint[-1500:]}"]
    if done.code in {0, REFUSED}:
        return []
    return [f"no typed error: {done.complaint[-1500:]}"]
