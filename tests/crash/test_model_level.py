"""Every prefix of the operations of a scenario, with many choices of what was durable."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from tests.crash.actor import play_here
from tests.crash.disk_model import Cuts, State
from tests.crash.judge import violations
from tests.crash.pool import spread
from tests.crash.scenarios import SCENARIOS
from tests.crash.tracing import Trace, trace
from tests.crash.trees import write_tree

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

LEAST_STATES = 2000
_MOST_PER_SCENARIO = 145
_OF_A_BUG_EVERY = 2
"""One state of so many, until the bug is found."""
_RECOVERED_TWICE_EVERY = 4
_TRIED_AGAIN_EVERY = 8

BUGS = [
    ("no data sync", "first import"),
    ("no data sync", "quarantine and repair"),
    ("no data sync", "download of a URL"),
    ("no directory sync", "second import sharing blobs"),
    ("no directory sync", "delete and collect"),
    ("no directory sync", "export to a directory"),
    ("no data sync", "export to a tar"),
    ("index in place", "replace tag"),
    ("index in place", "delete and collect"),
    ("rename before sync", "second import sharing blobs"),
    ("rename before sync", "delete and collect"),
    ("blobs unsynced", "resume of a half copy"),
    ("blobs unsynced", "import of many layers"),
    ("name dropped first", "replace tag"),
    ("name dropped first", "quarantine and collect"),
]


@dataclass(frozen=True, slots=True)
class Judged:
    states: int
    tried_again: int
    found: list[str]


def judge_scenario(name: str, folder: Path) -> Judged:
    traced = trace(name, folder)
    states = list(Cuts(traced.start, traced.operations, seed=1).states())
    return judge_states(name, folder, traced, some_of(states, _MOST_PER_SCENARIO), enough=20)


def find_bug(name: str, folder: Path, bug: str) -> list[str]:
    traced = trace(name, folder, bug=bug)
    states = Cuts(traced.start, traced.operations, seed=1).states()
    return judge_states(name, folder, traced, islice(states, 0, None, _OF_A_BUG_EVERY), enough=1).found


def judge_states(name: str, folder: Path, traced: Trace, states: Iterable[State], *, enough: int) -> Judged:
    """`enough` violations end it."""
    found: list[str] = []
    number = -1
    for number, state in enumerate(states):
        root = folder / f"state-{number}"
        write_tree(root, state.tree, base=traced.root, inodes=state.inodes, modes=state.modes)
        where = f"{name}, cut after {state.after} operations, kept: {state.kept}"
        found += [f"{where}: {text}" for text in judge_state(name, root, state, number)]
        shutil.rmtree(root)
        if len(found) >= enough:
            break
    return Judged(number + 1, number // _TRIED_AGAIN_EVERY + 1, found)


def judge_state(name: str, root: Path, state: State, number: int) -> list[str]:
    scenario, tries_again = SCENARIOS[name], number % _TRIED_AGAIN_EVERY == 0
    found = violations(
        root,
        scenario,
        state.said,
        recovers_twice=number % _RECOVERED_TWICE_EVERY == 0,
        collects=not tries_again,
    )
    if tries_again and not found:
        again = play_here(name, root)
        if again.code:
            found.append(f"the next try: {again.complaint}")
        said = state.said + again.said
        found += [f"after the next try: {text}" for text in violations(root, scenario, said)]
    return found


def some_of(states: list[State], most: int) -> list[State]:
    """Spread over the whole log."""
    return states if len(states) <= most else [states[len(states) * place // most] for place in range(most)]


def _judged_in(memory: Path, name: str) -> Judged:
    folder = memory / name.replace(" ", "-")
    folder.mkdir()
    return judge_scenario(name, folder)


def test_no_cut_at_any_operation_breaks_the_store(memory: Path, tally: Counter[str]) -> None:
    results = spread(partial(_judged_in, memory), SCENARIOS)
    count = sum(result.states for result in results)
    tally["states of a modelled disk"] += count
    tally["next tries"] += sum(result.tried_again for result in results)
    found = [text for result in results for text in result.found]
    assert not found, "\n".join(found[:20])
    assert count >= LEAST_STATES


def test_every_seeded_bug_is_found(memory: Path, tally: Counter[str]) -> None:
    results = spread(partial(_found_of, memory), BUGS)
    missed = [pair for pair, found in zip(BUGS, results, strict=True) if not found]
    tally["seeded bugs found"] += len(BUGS) - len(missed)
    assert not missed, f"nobody noticed {missed}"


def _found_of(memory: Path, pair: tuple[str, str]) -> list[str]:
    bug, name = pair
    folder = memory / "-".join(pair).replace(" ", "-")
    folder.mkdir()
    return find_bug(name, folder, bug)
