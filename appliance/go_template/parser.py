"""Tokens → tree. Checks what Go checks when it parses: blocks are closed, variables are known, functions
exist and stand where calls can. Depth is bounded, so everything behind may recurse.
"""

from __future__ import annotations

from typing import Final

from appliance.go_template.expression_parser import KEYWORDS, ExpressionParser
from appliance.go_template.tokens import Kind, Token, invalid, tokens
from appliance.go_template.tree import (
    Body,
    Break,
    Continue,
    Expression,
    If,
    Include,
    Output,
    Range,
    Scope,
    Set,
    Statement,
    Template,
    Text,
    Variable,
    With,
)

MAX_LOOP_DEPTH: Final = 8
"""CPython nests at most 20 loops; an included definition may bring some of its own."""

_ENDS: Final = frozenset({"end", "else"})


def parse(source: str) -> Template:
    """Raises TemplateInvalid with the line."""
    return _Parser(tokens(source)).template()


class _Parser(ExpressionParser):
    """Recursive descent over one list of tokens. Lives inside one call of `parse`."""

    def __init__(self, found: list[Token]) -> None:
        super().__init__(found)
        self._loops = 0
        self._definitions: dict[str, Body] = {}
        self._assigned: set[str] = set()

    def template(self) -> Template:
        body = self._body(None)
        return Template(body, self._definitions, frozenset(self._fields), frozenset(self._assigned))

    # ── blocks ──────────────────────────────────────────────────────────────────────────────

    def _body(self, opened: int | None) -> Body:
        """Statements up to the `{{ end }}` or `{{ else }}` that closes them, which stays to be read; to the
        end of the text where `opened` is None.
        """
        statements: list[Statement] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind is Kind.TEXT:
                self._at += 1
                statements.append(Text(token.value))
                continue
            word = self._keyword()
            if word in _ENDS:
                if opened is None:
                    raise invalid(token.line, f"{{{{ {word} }}}} closes nothing")
                return tuple(statements)
            statements += self._statement(word, token.line)
        if opened is not None:
            raise invalid(opened, "a block is not closed with {{ end }}")
        return tuple(statements)

    def _keyword(self) -> str:
        """The first word of the action that comes; nothing is read."""
        token = self._tokens[self._at + 1]
        if token.kind is Kind.SPACE:
            token = self._tokens[self._at + 2]
        return token.value if token.kind is Kind.WORD and token.value in KEYWORDS else ""

    def _open(self, *, word: bool = True) -> None:
        self._expect(Kind.OPEN)
        self._skip()
        if word:
            self._at += 1
            self._skip()

    def _statement(self, word: str, line: int) -> list[Statement]:
        if word == "define":
            self._define(line)
            return []
        self._open(word=bool(word))
        if word in {"break", "continue"}:
            self._expect(Kind.CLOSE)
            if not self._loops:
                raise invalid(line, f"{word} stands outside of range")
            return [Break(line) if word == "break" else Continue(line)]
        if word in {"template", "block"}:
            return [self._include(line, is_block=word == "block")]
        if word:
            return [self._nested(word, line)]
        return [self._action(line)]

    def _nested(self, word: str, line: int) -> Statement:
        self._enter(line)
        self._known.append(set(self._known[-1]))
        statement = {"if": self._if, "with": self._with, "range": self._range}[word](line)
        self._known.pop()
        self._depth -= 1
        return statement

    def _scoped(self, line: int) -> Body:
        self._known.append(set(self._known[-1]))
        body = self._body(line)
        self._known.pop()
        return body

    def _if(self, line: int) -> Statement:
        name, value = self._head()
        branches = [(Variable(name, line) if name else value, self._scoped(line))]
        orelse: Body = ()
        while self._closes() == "else":
            next_line = self._line
            word = self._else()
            if word == "if" and self._declares():
                orelse = (self._nested("if", next_line),)
                break
            if word == "if":
                branches.append((self._head()[1], self._scoped(line)))
            elif word:
                raise invalid(next_line, f"else {word} cannot follow if")
            else:
                orelse = self._scoped(line)
                self._close("else")
                break
        else:
            self._close("end")
        found = If(tuple(branches), orelse, line)
        return Scope((Set(name, value, is_new=True, line=line), found)) if name else found

    def _with(self, line: int) -> Statement:
        name, value = self._head()
        body = self._scoped(line)
        return With(value, name, body, self._orelse(line, "with"), line)

    def _range(self, line: int) -> Statement:
        names, value = self._range_head()
        self._loops += 1
        if self._loops > MAX_LOOP_DEPTH:
            raise invalid(line, f"more than {MAX_LOOP_DEPTH} ranges stand in one another")
        body = self._scoped(line)
        self._loops -= 1
        index, element = names if len(names) == 2 else (None, *names) if names else (None, None)
        return Range(value, index, element, body, self._orelse(line, "range"), line)

    def _orelse(self, line: int, of: str) -> Body:
        if self._closes() == "end":
            self._close("end")
            return ()
        next_line = self._line
        if word := self._else():
            if word != of:
                raise invalid(next_line, f"else {word} cannot follow {of}")
            return (self._nested("with", next_line),)
        orelse = self._scoped(line)
        self._close("else")
        return orelse

    def _closes(self) -> str:
        return self._keyword()

    def _close(self, after: str) -> None:
        """Read `{{ end }}`."""
        if self._keyword() != "end":
            raise invalid(self._line, f"{{{{ end }}}} was expected, not a second {{{{ {after} }}}}")
        self._open()
        self._expect(Kind.CLOSE)

    def _else(self) -> str:
        """Read `{{ else`, and what follows it up to the head: `if`, `with` or "" (then its `}}` too)."""
        self._open()
        token = self._peek()
        if token.kind is Kind.WORD and token.value in {"if", "with"}:
            self._at += 1
            self._skip()
            return token.value
        self._expect(Kind.CLOSE)
        return ""

    def _define(self, line: int) -> None:
        if self._depth:
            raise invalid(line, "define stands inside of another block")
        self._open()
        name = self._name()
        self._expect(Kind.CLOSE)
        self._definition(name, line)

    def _definition(self, name: str, line: int) -> None:
        self._enter(line)
        known, loops, self._known, self._loops = self._known, self._loops, [set()], 0
        self._definitions[name] = self._body(line)
        self._known, self._loops = known, loops
        self._depth -= 1
        self._close("else")

    def _include(self, line: int, *, is_block: bool) -> Include:
        name = self._name()
        value = None if self._peek().kind is Kind.CLOSE else self._pipeline()
        self._expect(Kind.CLOSE)
        if is_block:
            self._definition(name, line)
        return Include(name, value, line)

    def _name(self) -> str:
        token = self._expect(Kind.STRING)
        self._skip()
        return token.value

    # ── heads and actions ───────────────────────────────────────────────────────────────────

    def _declares(self) -> bool:
        following = [
            token.kind for token in self._tokens[self._at : self._at + 3] if token.kind is not Kind.SPACE
        ]
        return following[:2] == [Kind.VARIABLE, Kind.DECLARE]

    def _head(self) -> tuple[str | None, Expression]:
        """`[$name :=] pipeline }}`."""
        name = self._peek().value if self._declares() else None
        if name:
            self._pass_sign()
        value = self._pipeline()
        self._expect(Kind.CLOSE)
        if name:
            self._known[-1].add(name)
        return name, value

    def _range_head(self) -> tuple[list[str], Expression]:
        names: list[str] = []
        start = self._at
        while self._peek().kind is Kind.VARIABLE and len(names) < 2:
            names.append(self._peek().value)
            self._at += 1
            self._skip()
            if self._peek().kind is not Kind.COMMA:
                break
            self._at += 1
            self._skip()
        if names and self._peek().kind is Kind.ASSIGN:
            raise invalid(self._line, "range into variables that exist already is not supported")
        if names and self._peek().kind is Kind.DECLARE:
            self._at += 1
            self._skip()
        else:
            self._at, names = start, []
        value = self._pipeline()
        self._expect(Kind.CLOSE)
        self._known[-1].update(names)
        return names, value

    def _action(self, line: int) -> Statement:
        kinds = [
            token.kind for token in self._tokens[self._at : self._at + 3] if token.kind is not Kind.SPACE
        ]
        if kinds[:1] == [Kind.VARIABLE] and kinds[1:2] in ([Kind.DECLARE], [Kind.ASSIGN]):
            name = self._peek().value
            is_new = kinds[1] is Kind.DECLARE
            self._pass_sign()
            value = self._pipeline()
            if is_new:
                self._known[-1].add(name)
            elif name not in self._known[-1]:
                raise invalid(line, f"undefined variable {name}")
            else:
                self._assigned.add(name)
            self._expect(Kind.CLOSE)
            return Set(name, value, is_new, line)
        value = self._pipeline()
        self._expect(Kind.CLOSE)
        return Output(value, line)

    def _pass_sign(self) -> None:
        """Over `$name :=` or `$name =`."""
        if self._peek().value == "$":
            raise invalid(self._line, "$ cannot be set")
        self._at += 1
        self._skip()
        self._at += 1
        self._skip()
