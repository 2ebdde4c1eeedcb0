"""Which snapshot continues a prompt, for whom, and which goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.hibernation.index import MOST_SNAPSHOTS, Found, SnapshotIndex
from appliance.engine.hibernation.snapshot import Sealer
from tests.fakes.hibernation import KEY, head_of

SEALER = Sealer(KEY)
ALICE, BOB = SEALER.scope("alice", ()), SEALER.scope("bob", ())
SHARED = SEALER.scope("shared", ())


def told(found: Found | None) -> tuple[str, int] | None:
    return None if found is None else (found.entry.name, found.length)


def test_the_longest_prefix_is_found() -> None:
    index = SnapshotIndex()
    index.add("short", head_of([1, 2, 3]))
    index.add("long", head_of([1, 2, 3, 4, 5, 6]))
    index.add("other", head_of([1, 9, 9, 9]))
    assert told(index.find(ALICE, SHARED, [1, 2, 3, 4, 5])) == ("long", 5)
    assert told(index.find(ALICE, SHARED, [1, 9])) == ("other", 2)
    assert index.find(ALICE, SHARED, [7]) is None
    assert index.find(ALICE, SHARED, []) is None


def test_another_key_finds_nothing() -> None:
    index = SnapshotIndex()
    index.add("a", head_of([1, 2, 3], owner="alice"))
    assert index.find(BOB, SHARED, [1, 2, 3, 4]) is None


def test_another_key_finds_only_what_was_declared_shared() -> None:
    index = SnapshotIndex()
    index.add("a", head_of([1, 2, 3, 4, 5], owner="alice", n_shared=3))
    assert told(index.find(BOB, SHARED, [1, 2, 3, 4, 5, 6])) == ("a", 3)
    assert told(index.find(ALICE, SHARED, [1, 2, 3, 4, 5, 6])) == ("a", 5)
    assert index.find(BOB, SEALER.scope("shared", (("lora", 1.0),)), [1, 2, 3]) is None
    assert index.find(BOB, None, [1, 2, 3]) is None


def test_memory_that_cannot_be_cut_has_use_only_of_a_snapshot_whose_end_is_in_the_prompt() -> None:
    index = SnapshotIndex()
    index.add("too long", head_of([1, 2, 3, 4, 5]))
    index.add("fits", head_of([1, 2]))
    assert told(index.find(ALICE, SHARED, [1, 2, 3, 4], whole=True)) is None
    assert told(index.find(ALICE, SHARED, [1, 2, 3, 4, 5, 6], whole=True)) == ("too long", 5)


def test_what_is_removed_is_found_no_more() -> None:
    index = SnapshotIndex()
    index.add("a", head_of([1, 2, 3], n_shared=2))
    assert index.remove("a") is not None
    assert index.remove("a") is None
    assert index.find(ALICE, SHARED, [1, 2, 3]) is None
    assert (len(index), index.n_bytes) == (0, 0)


def test_a_name_stands_for_one_snapshot() -> None:
    index = SnapshotIndex()
    index.add("a", head_of([1, 2, 3]))
    index.add("a", head_of([1, 2, 3]))
    assert len(index) == 1
    assert index.n_bytes == 160 + 12 + 8 + 32


def test_a_snapshot_makes_those_that_begin_it_needless_but_not_those_that_share_more() -> None:
    index = SnapshotIndex()
    index.add("begins", head_of([1, 2]))
    index.add("begins and is shared", head_of([1], n_shared=1))
    index.add("bob's", head_of([1, 2], owner="bob"))
    index.add("differs", head_of([1, 3]))
    assert [entry.name for entry in index.contained(head_of([1, 2, 3]))] == ["begins"]


def test_the_least_lately_used_goes_first() -> None:
    index = SnapshotIndex()
    for name, token in (("a", 1), ("b", 2), ("c", 3)):
        index.add(name, head_of([token] * 3))
    used = index.find(ALICE, SHARED, [1, 1, 1])
    assert used is not None
    index.use(used.entry)
    each = 160 + 12 + 8 + 32
    assert [entry.name for entry in index.surplus(0, 3 * each)] == []
    assert [entry.name for entry in index.surplus(1, 3 * each)] == ["b"]
    assert [entry.name for entry in index.surplus(each, 2 * each)] == ["b", "c"]


@given(sizes=st.lists(st.integers(0, 500), max_size=20), limit=st.integers(0, 5000), new=st.integers(0, 500))
def test_after_the_surplus_is_gone_the_rest_fits(sizes: list[int], limit: int, new: int) -> None:
    index = SnapshotIndex()
    for number, size in enumerate(sizes):
        index.add(f"{number}", head_of([number], state_bytes=size))
    for entry in index.surplus(new, limit):
        index.remove(entry.name)
    assert index.n_bytes + new <= limit or len(index) == 0


def test_the_number_of_snapshots_is_bounded_too() -> None:
    assert MOST_SNAPSHOTS == 4096


@given(
    snapshots=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=8), max_size=12),
    prompt=st.lists(st.integers(1, 3), max_size=8),
)
def test_the_length_found_is_the_longest_there_is(snapshots: list[list[int]], prompt: list[int]) -> None:
    index = SnapshotIndex()
    for number, tokens in enumerate(snapshots):
        index.add(f"{number}", head_of(tokens))

    def shared(tokens: list[int]) -> int:
        length = 0
        while length < min(len(tokens), len(prompt)) and tokens[length] == prompt[length]:
            length += 1
        return length

    found = index.find(ALICE, SHARED, prompt)
    assert (found.length if found else 0) == max(map(shared, snapshots), default=0)
