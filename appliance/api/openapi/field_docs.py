"""What stands below the fields of a class in its source. Read when the document is made: a daemon whom nobody
asks for it keeps none of these texts (pydantic's `use_attribute_docstrings` would keep the files, too).
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

Docs = dict[str, str | None]
"""Field → its words; None: it has none."""


class FieldDocs:
    """Of many classes: each module is read once. Owned by who makes the document."""

    def __init__(self, package: str = __name__.partition(".")[0]) -> None:
        """Of classes outside `package` nothing is told."""
        self._package = package
        self._modules: dict[str, dict[str, Docs]] = {}

    def of(self, kind: type) -> dict[str, str]:
        """Also those of inherited fields, but for such as are declared anew without words."""
        found: Docs = {}
        for base in reversed(kind.__mro__):
            found |= self._classes(base.__module__).get(base.__qualname__, {})
        return {name: words for name, words in found.items() if words is not None}

    def _classes(self, module: str) -> dict[str, Docs]:
        if module not in self._modules:
            is_ours = module.partition(".")[0] == self._package
            self._modules[module] = dict(_read(module)) if is_ours else {}
        return self._modules[module]


def _read(module: str) -> Iterator[tuple[str, Docs]]:
    """The classes at the top of the module; none, where its source is not there."""
    path = Path(sys.modules[module].__file__ or "")
    if path.is_file():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield node.name, dict(_fields(node.body))


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, str | None]]:
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, _words(below)


def _words(statement: ast.stmt | None) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
        case _:
            return None
