"""Tokens → expressions: pipelines, calls, operands. The lower half of the parser; blocks are `parser.py`."""

from __future__ import annotations

from typing import Final

from appliance.errors import TemplateInvalid
from appliance.go_template.functions import FUNCTIONS, GO_ONLY
from appliance.go_template.tokens import Kind, Token, invalid
from appliance.go_template.tree import Access, Call, Constant, Dot, Expression, Variable

MAX_DEPTH: Final = 24
"""Blocks in blocks, and parentheses in parentheses. CPython compiles at most 100 levels of indentation, and
Jinja makes Python of it.
"""
_MAX_TERMS: Final = 150
"""Operands, fields and pipes in one action: what stands behind walks them recursively."""
KEYWORDS: Final = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"}
)
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
_END: Final = Token(Kind.TEXT, "", 0)


class ExpressionParser:
    """Recursive descent over one list of tokens. Lives inside one call of `parse`."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self._terms = 0
        self._known: list[set[str]] = [set()]
        """Variables, scope by scope."""
        self._fields: set[str] = set()

    def _pipeline(self) -> Expression:
        value = self._command(None)
        while self._peek().kind is Kind.PIPE:
            self._count()
            self._at += 1
            self._skip()
            value = self._command(value)
        return value

    def _command(self, piped: Expression | None) -> Expression:
        token = self._peek()
        if token.kind is Kind.WORD and token.value not in _CONSTANTS:
            self._at += 1
            arguments = [*self._arguments(), *([piped] if piped is not None else [])]
            return self._call(token, arguments)
        first = self._operand()
        if self._arguments():
            raise invalid(token.line, "only functions take arguments")
        if piped is not None:
            raise invalid(token.line, "only a function can stand behind |")
        return first

    def _call(self, token: Token, arguments: list[Expression]) -> Expression:
        name = token.value
        if name in KEYWORDS:
            raise invalid(token.line, f"{name} cannot stand here")
        if name in GO_ONLY:
            raise invalid(token.line, f"the function {name} is not supported")
        if name not in FUNCTIONS:
            raise invalid(token.line, f"function {name[:80]!r} not defined")
        return Call(name, tuple(arguments), token.line)

    def _arguments(self) -> list[Expression]:
        found: list[Expression] = []
        while self._peek().kind is Kind.SPACE:
            self._skip()
            if self._peek().kind in {
                Kind.CLOSE,
                Kind.PIPE,
                Kind.RIGHT,
                Kind.DECLARE,
                Kind.ASSIGN,
                Kind.COMMA,
            }:
                break
            found.append(self._operand())
        return found

    def _operand(self) -> Expression:
        token = self._peek()
        self._count()
        self._at += 1
        operand = self._term(token)
        while self._peek().kind is Kind.FIELD:
            field = self._peek()
            self._count()
            if isinstance(operand, Constant):
                raise invalid(token.line, "a constant has no fields")
            self._at += 1
            self._fields.add(field.value.lower())
            operand = Access(operand, field.value, field.line)
        return operand

    def _term(self, token: Token) -> Expression:  # noqa: PLR0911  # one line for each kind of term
        if token.kind is Kind.DOT:
            return Dot(token.line)
        if token.kind is Kind.FIELD:
            self._fields.add(token.value.lower())
            return Access(Dot(token.line), token.value, token.line)
        if token.kind is Kind.VARIABLE:
            if token.value != "$" and token.value not in self._known[-1]:
                raise invalid(token.line, f"undefined variable {token.value[:80]}")
            return Variable(token.value, token.line)
        if token.kind is Kind.STRING:
            return Constant(token.value, token.line)
        if token.kind is Kind.NUMBER:
            return Constant(token.number, token.line)
        if token.kind is Kind.WORD and token.value in _CONSTANTS:
            return Constant(_CONSTANTS[token.value], token.line)
        if token.kind is Kind.WORD:
            return self._call(token, [])
        if token.kind is Kind.LEFT:
            return self._parenthesised(token)
        raise invalid(token.line, f"{token.value or token.kind.value!r} cannot stand here")

    def _parenthesised(self, token: Token) -> Expression:
        self._enter(token.line)
        self._skip()
        value = self._pipeline()
        self._skip()
        if self._peek().kind is not Kind.RIGHT:
            raise invalid(token.line, "a parenthesis is not closed")
        self._at += 1
        self._depth -= 1
        return value

    def _count(self) -> None:
        self._terms += 1
        if self._terms > _MAX_TERMS:
            raise invalid(self._line, f"an action has more than {_MAX_TERMS} terms")

    def _enter(self, line: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise invalid(line, f"more than {MAX_DEPTH} blocks or parentheses stand in one another")

    # ── tokens ──────────────────────────────────────────────────────────────────────────────

    @property
    def _line(self) -> int:
        return self._peek().line

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _skip(self) -> None:
        while self._peek().kind is Kind.SPACE:
            self._at += 1

    def _expect(self, kind: Kind) -> Token:
        self._skip()
        token = self._peek()
        if token.kind is not kind:
            raise self._misplaced(token, kind)
        if kind is Kind.OPEN:
            self._terms = 0
        self._at += 1
        return token

    @staticmethod
    def _misplaced(token: Token, expected: Kind) -> TemplateInvalid:
        found = token.value or token.kind.value
        return invalid(token.line, f"{expected.value} was expected, not {found[:80]!r}")
