"""The radix tree against the plainest implementation there is: look at every slot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.engine.radix import RadixTree, common_prefix, pack

TOKENS = st.lists(st.integers(0, 2), max_size=8)
SLOTS = st.integers(0, 4)


def common_tokens(left: list[int], right: list[int]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


class RadixMachine(RuleBasedStateMachine):
    """Any history of inserts and removals."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = RadixTree()
        self.held: dict[int, list[int]] = {}

    @rule(slot=SLOTS, tokens=TOKENS)
    def insert(self, slot: int, tokens: list[int]) -> None:
        self.tree.insert(slot, tokens)
        self.held[slot] = tokens

    @rule(slot=SLOTS)
    def remove(self, slot: int) -> None:
        self.tree.remove(slot)
        self.held.pop(slot, None)

    @rule(prompt=TOKENS)
    def match(self, prompt: list[int]) -> None:
        lengths = {slot: common_tokens(tokens, prompt) for slot, tokens in self.held.items()}
        longest = max(lengths.values(), default=0)
        sharers = frozenset(slot for slot, length in lengths.items() if longest and length == longest)
        assert self.tree.match(prompt) == (longest, sharers)

    @invariant()
    def it_counts_its_slots(self) -> None:
        assert len(self.tree) == len(self.held)


TestAnyHistoryMatchesLikeALookAtEverySlot = RadixMachine.TestCase


def test_an_empty_tree_matches_nothing() -> None:
    assert RadixTree().match([1, 2, 3]) == (0, frozenset())


def test_a_prompt_inside_an_edge_is_matched() -> None:
    tree = RadixTree()
    tree.insert(3, [1, 2, 3, 4, 5])
    assert tree.match([1, 2, 3]) == (3, frozenset({3}))


def test_all_slots_below_the_split_share_the_prefix() -> None:
    tree = RadixTree()
    tree.insert(0, [1, 2, 3])
    tree.insert(1, [1, 2, 4])
    assert tree.match([1, 2, 9]) == (2, frozenset({0, 1}))


def test_tokens_whose_bytes_look_alike_are_told_apart() -> None:
    tree = RadixTree()
    tree.insert(0, [0x00010000, 1])
    assert tree.match([0x00010001, 1]) == (0, frozenset())


@given(
    left=st.lists(st.integers(0, 2**31 - 1), max_size=40),
    right=st.lists(st.integers(0, 2**31 - 1), max_size=40),
)
def test_a_common_prefix_is_counted_in_whole_tokens(left: list[int], right: list[int]) -> None:
    assert common_prefix(pack(left), pack(right)) == 4 * common_tokens(left, right)


@given(tokens=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40), at=st.integers(0, 39))
def test_one_changed_token_ends_the_common_prefix(tokens: list[int], at: int) -> None:
    at %= len(tokens)
    changed = [*tokens[:at], tokens[at] ^ 1, *tokens[at + 1 :]]
    assert common_prefix(pack(tokens), pack(changed)) == 4 * at
