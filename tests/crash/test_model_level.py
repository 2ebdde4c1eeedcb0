"""Every prefix of the operations of a scenario, with many choices of what was durable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.bugs import BUGS
from tests.crash.disk_model import Cuts, State
from tests.crash.judge import violations, write_tree
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import Trace, trace

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

LEAST_STATES = 2000
_MOST_PER_SCENARIO = 300
_MOST_OF_A_BUG = 400
_ENOUGH = 20


def found_in(states: list[State], traced: Trace, name: str, folder: Path) -> list[str]:
    """Violations in the states, in words; at most some."""
    found: list[str] = []
    for number, state in enumerate(states):
        if len(found) >= _ENOUGH:
            break
        root = folder / f"state-{number}"
        root.mkdir()
        write_tree(root, state.tree, base=traced.root)
        where = f"{name}, cut after {state.after} operations, kept: {state.kept}"
        found += [
            f"{where}: {text}"
            for text in violations(root, SCENARIOS[name], state.said, recovers_twice=number % 4 == 0)
        ]
        shutil.rmtree(root)
    return found


def some_of(states: list[State], most: int) -> list[State]:
    """Spread over the whole log."""
    return states if len(states) <= most else [states[len(states) * place // most] for place in range(most)]


def test_no_cut_at_any_operation_breaks_the_store(
    memory: Path, record_property: Callable[[str, object], None]
) -> None:
    count, found = 0, list[str]()
    for name in SCENARIOS:
        folder = memory / name.replace(" ", "-")
        folder.mkdir()
        traced = trace(name, folder)
        states = some_of(list(Cuts(traced.start, traced.operations, seed=1).states()), _MOST_PER_SCENARIO)
        count += len(states)
        found += found_in(states, traced, name, folder)
        print(f"model level, {name}: {len(traced.operations)} operations, {len(states)} states")
    record_property("states", count)
    assert not found, "\n".join(found[:20])
    assert count >= LEAST_STATES


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug])
def test_the_harness_finds_a_seeded_bug(memory: Path, bug: str) -> None:
    name = "second import sharing blobs"
    traced = trace(name, memory, bug=bug)
    states = some_of(list(Cuts(traced.start, traced.operations, seed=1).states()), _MOST_OF_A_BUG)
    assert found_in(states, traced, name, memory), f"{len(states)} states, and nobody noticed"
