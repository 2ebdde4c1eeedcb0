"""Decides whether a grammar is fit to be used. Pure; that llama.cpp takes what passes, and understands the
same, is `tests/integration/test_grammars.py`.

What is refused here is refused early and with its reason. That no grammar can stall the engine does not rest
on it, but on the automaton that reads it and its allowance (`gbnf_automaton.py`). In this order:

 1. size, text that is valid UTF-8 without NUL, nesting, repetition bounds (`gbnf_parse.py`)
 2. no undefined rule, no rule defined twice, a root
 3. no left recursion, also through rules that may be empty
 4. bounded work for a search that walks shared rules again and again, as llama.cpp's for left recursion does
 5. bounded choice: how many places of the grammar the next character may belong to
 6. bounded growth of that number while text is read (`gbnf_probe.py`)
"""

from __future__ import annotations

from typing import Final

from appliance.engine.gbnf_parse import Alternative, Grammar, parse_gbnf
from appliance.engine.gbnf_probe import grows_without_bound
from appliance.errors import InvalidRequest

MAX_RAW_BYTES: Final = 16 * 1024
MAX_GENERATED_BYTES: Final = 1024 * 1024
MAX_ELEMENTS: Final = 200_000
_MAX_SEARCH: Final = 2_000_000
_MAX_CHOICE: Final = 2_000


def check_gbnf(text: str, *, param: str = "grammar", max_bytes: int = MAX_RAW_BYTES) -> None:
    """Raises InvalidRequest with the reason. Takes tens of milliseconds for the largest grammar."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise _refused("it is not valid Unicode", param) from error
    if size_bytes > max_bytes:
        raise _refused(f"it has {size_bytes} bytes, the limit is {max_bytes}", param)
    if "\0" in text:
        raise _refused("it contains a NUL character", param)
    grammar = parse_gbnf(text, param=param, max_elements=MAX_ELEMENTS)
    nullable = _nullable(grammar)
    order = _leftmost_first(grammar, nullable, param)
    _bound_search(grammar, order, param)
    _bound_choice(grammar, order, nullable, param)
    if grows_without_bound(grammar):
        raise _refused("it is ambiguous: text can be read in more and more ways as it grows", param)


def _refused(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(reason=f"the grammar is not usable: {reason}", param=param)


def _nullable(grammar: Grammar) -> list[bool]:
    """Which rules may match nothing: a worklist over "used in" edges, linear in the grammar."""
    nullable = [False] * len(grammar.rules)
    used_in: list[list[int]] = [[] for _ in grammar.rules]
    for number, rule in enumerate(grammar.rules):
        for alternative in rule:
            for element in alternative:
                if isinstance(element, int):
                    used_in[element].append(number)
    todo = list(range(len(grammar.rules)))
    while todo:
        number = todo.pop()
        if nullable[number] or not any(
            _empty(alternative, nullable) for alternative in grammar.rules[number]
        ):
            continue
        nullable[number] = True
        todo.extend(used_in[number])
    return nullable


def _empty(alternative: Alternative, nullable: list[bool]) -> bool:
    return all(isinstance(element, int) and nullable[element] for element in alternative)


def _leading(alternative: Alternative, nullable: list[bool]) -> list[int]:
    """Rules that may begin the alternative."""
    leading: list[int] = []
    for element in alternative:
        if not isinstance(element, int):
            break
        leading.append(element)
        if not nullable[element]:
            break
    return leading


def _leftmost_first(grammar: Grammar, nullable: list[bool], param: str) -> list[int]:
    """All rules, each after the rules that may begin it. Raises on a cycle: left recursion. No Python
    recursion.
    """
    edges = [
        [ref for alternative in rule for ref in _leading(alternative, nullable)] for rule in grammar.rules
    ]
    state = bytearray(len(edges))  # 0 new, 1 on the path, 2 done
    order: list[int] = []
    for start in range(len(edges)):
        if state[start]:
            continue
        state[start] = 1
        path = [(start, iter(edges[start]))]
        while path:
            number, rest = path[-1]
            following = next(rest, None)
            if following is None:
                state[number] = 2
                order.append(number)
                path.pop()
            elif state[following] == 1:
                name = grammar.names[following].partition("_")[0]
                raise _refused(f"rule '{name}' is left-recursive: it may begin with itself", param)
            elif state[following] == 0:
                state[following] = 1
                path.append((following, iter(edges[following])))
    return order


def _bound_search(grammar: Grammar, order: list[int], param: str) -> None:
    """`llama_grammar_detect_left_recursion` does not remember what it has seen below a rule: sum what it will
    walk.

    It takes for empty only a rule with an empty alternative, so this does too.
    """
    has_empty = [any(not alternative for alternative in rule) for rule in grammar.rules]
    work = [0] * len(grammar.rules)
    total = 0
    for number in order:
        rule = grammar.rules[number]
        work[number] = sum(len(alternative) + 1 for alternative in rule) + sum(
            work[ref] for alternative in rule for ref in _leading(alternative, has_empty)
        )
        total += work[number]
        if total > _MAX_SEARCH:
            raise _refused("its rules begin with each other in too many ways", param)


def _bound_choice(grammar: Grammar, order: list[int], nullable: list[bool], param: str) -> None:
    """How many terminals may come next at the start of a rule, and after each of its elements, counted with
    repeats.
    """
    choice = [0] * len(grammar.rules)
    for number in order:
        choice[number] = sum(
            _choice(alternative, choice, nullable)[0] for alternative in grammar.rules[number]
        )
        if choice[number] > _MAX_CHOICE:
            raise _refused(f"more than {_MAX_CHOICE} alternatives begin at one place", param)
    for rule in grammar.rules:
        for alternative in rule:
            if max(_choice(alternative, choice, nullable), default=0) > _MAX_CHOICE:
                raise _refused(f"more than {_MAX_CHOICE} alternatives begin at one place", param)


def _choice(alternative: Alternative, choice: list[int], nullable: list[bool]) -> list[int]:
    """For each position of the alternative, the number of terminals that may come next; never empty."""
    counts = [1]
    for element in reversed(alternative):
        if not isinstance(element, int):
            counts.append(1)
        else:
            counts.append(choice[element] + (counts[-1] if nullable[element] else 0))
    return counts[::-1]
