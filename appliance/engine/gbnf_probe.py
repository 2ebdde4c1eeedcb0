"""Tries a grammar on the text that confuses it most. Pure; the last step of `gbnf_check.py`.

A grammar is read with one stack of positions per way in which the text so far can be understood. A grammar
such as `s ::= "x" s "y" | "x" s "z" | "w"` doubles them with each character, and no bound on its size shows
that. This probe runs the stack machine and greedily feeds the character after which most stacks stand, from
every rule in reach that contains itself. It is a search with a budget, not a proof, and only there to refuse
such a grammar early: what it misses costs its own request its `Allowance` (`gbnf_automaton.py`), and no more.
"""

from __future__ import annotations

from typing import Final

from appliance.engine.gbnf_parse import Element, Grammar, Terminal

_MAX_STACKS: Final = 1_000
_STEPS: Final = 1_000
_PATIENCE: Final = 40
"""Steps without growth before a start is given up: honest grammars end here."""
_BUDGET: Final = 60_000
"""Stack operations in all, 0.1 to 0.2 s."""
_MAX_CHARS: Final = 24
"""Characters tried per step."""
_ANY_TOKEN: Final = -1

_Stack = tuple[int, ...]


def grows_without_bound(grammar: Grammar) -> bool:
    """Whether some text was found that can be read in more than a thousand ways."""
    machine = Machine(grammar, budget=0)
    starts = [grammar.root, *_self_embedding(grammar)]
    left = _BUDGET
    for tried, start in enumerate(starts):
        # What one does not use up is the others'.
        budget = left // (len(starts) - tried)
        if _grows(machine, start, budget):
            return True
        left -= budget - max(0, machine.budget)
    return False


def _grows(machine: Machine, start: int, budget: int) -> bool:
    machine.budget = budget
    stacks = machine.begin(start)
    most, grew_at = len(stacks), 0
    for step in range(_STEPS):
        best: set[_Stack] = set()
        for char in machine.candidates(stacks):
            grown = machine.read(stacks, char)
            if len(grown) > _MAX_STACKS:
                return True
            if len(grown) > len(best):
                best = grown
            if machine.budget < 0:
                return False
        if len(best) > most:
            most, grew_at = len(best), step
        if not best or step - grew_at > _PATIENCE:
            return False
        stacks = best
    return False


class Machine:
    """The stack machine of `llama_grammar_advance_stack`. Owned by the caller's thread.

    Positions are numbered over the whole grammar: `elements[p]` is what stands at p, None after an
    alternative's last element.
    """

    def __init__(self, grammar: Grammar, *, budget: int) -> None:
        self._elements: list[Element | None] = []
        self._starts: list[list[int]] = []
        for rule in grammar.rules:
            starts = []
            for alternative in rule:
                starts.append(len(self._elements))
                self._elements.extend((*alternative, None))
            self._starts.append(starts)
        self.budget = budget

    def begin(self, rule: int) -> set[_Stack]:
        stacks: set[_Stack] = set()
        for start in self._starts[rule]:
            self._advance(self._pushed((), start), stacks)
        return stacks

    def read(self, stacks: set[_Stack], char: int) -> set[_Stack]:
        """Where `char` leads; less than all of it once the budget is used up."""
        grown: set[_Stack] = set()
        self.budget -= len(stacks) // 2
        for stack in stacks:
            if self.budget < 0:
                break
            if stack and _takes(self.terminal(stack), char):
                self._advance(self._pushed(stack[:-1], stack[-1] + 1), grown)
        return grown

    def candidates(self, stacks: set[_Stack]) -> list[int]:
        """The starts of the ranges in reach, most wanted first."""
        wanted: dict[int, int] = {}
        for stack in stacks:
            for char in _firsts(self.terminal(stack)) if stack else ():
                wanted[char] = wanted.get(char, 0) + 1
        return sorted(wanted, key=lambda char: (-wanted[char], char))[:_MAX_CHARS]

    def terminal(self, stack: _Stack) -> Terminal:
        element = self._elements[stack[-1]]
        assert isinstance(element, Terminal)
        return element

    def _pushed(self, stack: _Stack, position: int) -> _Stack:
        return stack if self._elements[position] is None else (*stack, position)

    def _advance(self, stack: _Stack, into: set[_Stack]) -> None:
        """Expand rules until every stack ends at a terminal, or is empty."""
        todo = [stack]
        seen: set[_Stack] = set()
        while todo and len(into) <= _MAX_STACKS:
            self.budget -= 1
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            element = self._elements[current[-1]] if current else None
            if not isinstance(element, int):
                into.add(current)
                continue
            rest = self._pushed(current[:-1], current[-1] + 1)
            todo.extend(self._pushed(rest, start) for start in self._starts[element])


def _takes(terminal: Terminal, char: int) -> bool:
    if not terminal.ranges:
        return char == _ANY_TOKEN
    return any(low <= char <= high for low, high in terminal.ranges)


def _firsts(terminal: Terminal) -> list[int]:
    return [low for low, _ in terminal.ranges] or [_ANY_TOKEN]


def _self_embedding(grammar: Grammar) -> list[int]:
    """Rules that contain themselves other than as their last element; only they stack up without bound."""
    component = _components(grammar)
    found: set[int] = set()
    for number in _reachable(grammar):
        for alternative in grammar.rules[number]:
            for element in alternative[:-1]:
                if isinstance(element, int) and component[element] == component[number]:
                    found.add(element)
    return sorted(found)


def _reachable(grammar: Grammar) -> set[int]:
    reached, todo = {grammar.root}, [grammar.root]
    while todo:
        for alternative in grammar.rules[todo.pop()]:
            for element in alternative:
                if isinstance(element, int) and element not in reached:
                    reached.add(element)
                    todo.append(element)
    return reached


def _components(grammar: Grammar) -> list[int]:
    """The strongly connected component of each rule (Tarjan, without recursion)."""
    edges = [
        sorted({e for alternative in rule for e in alternative if isinstance(e, int)})
        for rule in grammar.rules
    ]
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    component = [-1] * len(edges)
    open_rules: list[int] = []
    for start in range(len(edges)):
        if start in index:
            continue
        path = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        open_rules.append(start)
        while path:
            number, rest = path[-1]
            for following in rest:
                if following not in index:
                    index[following] = low[following] = len(index)
                    open_rules.append(following)
                    path.append((following, iter(edges[following])))
                    break
                if component[following] < 0:
                    low[number] = min(low[number], index[following])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[number])
                if low[number] == index[number]:
                    while component[number] < 0:
                        component[open_rules.pop()] = number
    return component
