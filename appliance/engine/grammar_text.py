"""Builds GBNF text: literals, bounded repetition, rules that are written once. Pure.

Bodies handed to `GrammarText.rule` are GBNF; names come back. Equal bodies share a rule.
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 64
"""Long repetitions count in blocks: llama.cpp writes a rule per optional repetition, and takes at most 2,000.
"""

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HEX: Final = "[0-9a-fA-F]"

# A lone surrogate cannot be written, raw or escaped; characters past the BMP are written raw.
_CHAR: Final = (
    r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" '
    rf"([0-9a-cA-CefEF] {_HEX} {_HEX} {_HEX} | [dD] [0-7] {_HEX} {_HEX}))"
)
_FIXED: Final = {
    "ws": '" "?',
    "char": _CHAR,
    "string": r'"\"" char* "\""',
    "integral": '"0" | [1-9] [0-9]{0,17}',
    "integer": '"-"? integral',
    "fraction": '"." [0-9]{1,17}',
    "number": '"-"? integral fraction? ([eE] [-+]? [0-9]{1,2})?',
    "member": 'string ":" ws value',
    "object": '"{" (member ("," ws member)*)? "}"',
    "array": '"[" (value ("," ws value)*)? "]"',
    "value": 'object | array | string | number | "true" | "false" | "null"',
}
_USES: Final = {
    "string": ("char",),
    "integer": ("integral",),
    "number": ("integral", "fraction"),
    "member": ("string", "ws", "value"),
    "object": ("member", "ws"),
    "array": ("value", "ws"),
    "value": ("object", "array", "string", "number"),
}


def literal(text: str) -> str:
    """The GBNF literal that matches `text`."""
    return '"' + "".join(_ESCAPES.get(char) or _printable(char) for char in text) + '"'


def _printable(char: str) -> str:
    return char if char >= " " and char != "\x7f" else f"\\x{ord(char):02X}"


class GrammarText:
    """A grammar under construction. Owned by the thread that compiles."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._fixed: set[str] = set()
        self._defined: dict[str, str] = {}

    def fixed(self, name: str) -> str:
        """The name of one of JSON's own rules, which is then part of the grammar."""
        if name not in self._fixed:
            self._fixed.add(name)
            for used in _USES.get(name, ()):
                self.fixed(used)
        return name

    def rule(self, body: str) -> str:
        return self._names.setdefault(body, f"r{len(self._names)}")

    def define(self, name: str, body: str) -> None:
        """A rule that needs its name beforehand, because it refers to itself."""
        self._defined[name] = body

    def repeat(self, item: str, low: int, high: int | None) -> str:
        """`item` (a rule's name) from `low` to `high` times; None: without end."""
        fixed = self._exactly(item, low)
        if high is None:
            return f"{fixed} {item}*".strip()
        return f"{fixed} {self._up_to(item, high - low)}".strip()

    def _exactly(self, item: str, times: int) -> str:
        blocks, rest = divmod(times, BLOCK)
        parts = [f"{self.rule(f'{item}{{{BLOCK}}}')}{{{blocks}}}"] if blocks else []
        return " ".join([*parts, *([f"{item}{{{rest}}}"] if rest else [])])

    def _up_to(self, item: str, times: int) -> str:
        blocks, rest = divmod(times, BLOCK)
        if not blocks:
            return f"{item}{{0,{rest}}}" if rest else ""
        block = self.rule(f"{item}{{{BLOCK}}}")
        fewer = (
            f"{block}{{0,{blocks - 1}}} {item}{{0,{BLOCK - 1}}}" if blocks > 1 else f"{item}{{0,{BLOCK - 1}}}"
        )
        full = f"{block}{{{blocks}}}" + (f" {item}{{0,{rest}}}" if rest else "")
        return f"({fewer} | {full})"

    def text(self, root: str) -> str:
        """The whole grammar, its `root` being this body."""
        lines = [f"root ::= {root}"]
        lines += [f"{name} ::= {_FIXED[name]}" for name in sorted(self._fixed)]
        lines += [f"{name} ::= {body}" for name, body in self._defined.items()]
        lines += [f"{name} ::= {body}" for body, name in self._names.items()]
        return "\n".join(lines) + "\n"
