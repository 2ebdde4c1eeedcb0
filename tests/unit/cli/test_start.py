"""What `outpost list` and `outpost fit` load before they can answer: that is most of their time.

Each import that comes to a list here costs every command of its kind its milliseconds: a class or a pattern
is made when its module is loaded, and so is what the module loads in turn.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.parser import build, parse
from appliance.cli.terminal import columns

ROOT = Path(__file__).parents[3]
START = ("appliance.__main__", "appliance.cli.main", "appliance.cli.listing")
FIT = ("appliance.__main__", "appliance.cli.main", "appliance.cli.fit")
SLOW = {
    "asyncio", "concurrent", "dataclasses", "email", "http", "inspect", "logging", "shutil", "ssl",
    "subprocess", "tempfile", "textwrap", "threading", "traceback", "uuid",
}  # fmt: skip
"""Of the standard library: milliseconds each, most of them for what they load in turn."""


def test_a_list_of_a_daemon_loads_only_these() -> None:
    ours, others = _loaded(*START, "appliance.cli.connect")
    assert ours == {
        "appliance",
        "appliance.__main__",
        "appliance.cli",
        "appliance.cli.account_commands",
        "appliance.cli.address",
        "appliance.cli.client",
        "appliance.cli.connect",
        "appliance.cli.declaring",
        "appliance.cli.device_commands",
        "appliance.cli.exits",
        "appliance.cli.http_reply",
        "appliance.cli.layouts",
        "appliance.cli.listing",
        "appliance.cli.main",
        "appliance.cli.key_commands",
        "appliance.cli.memory_commands",
        "appliance.cli.parser",
        "appliance.cli.request_commands",
        "appliance.cli.store_commands",
        "appliance.cli.store_door",
        "appliance.cli.terminal",
        "appliance.cli.trust",
    }
    assert others - sys.stdlib_module_names == set()
    assert others & SLOW == set()


def test_a_list_without_a_daemon_loads_no_http_and_of_the_store_what_reads_it() -> None:
    ours, others = _loaded(*START, "appliance.cli.own_list")
    assert others - sys.stdlib_module_names == {"msgspec"}
    assert others & (SLOW - {"dataclasses", "threading"}) == set()
    assert {name.split(".")[1] for name in ours if "." in name} == {"__main__", "cli", "errors", "store"}
    written = {
        "adopt",
        "content",
        "copy",
        "ingest",
        "layout",
        "model",
        "rebuild",
        "show",
        "transfer",
        "verbs",
    }
    assert ours & {f"appliance.store.{name}" for name in written} == set()


def test_a_fit_of_a_file_loads_the_planner_and_neither_sockets_nor_the_store() -> None:
    ours, others = _loaded(*FIT, "appliance.cli.own_fit")
    assert others - sys.stdlib_module_names == {"msgspec"}
    assert others & (SLOW - {"dataclasses"} | {"hashlib", "selectors", "socket", "tomllib"}) == set()
    below = {
        "__main__",
        "cli",
        "daemon",
        "errors",
        "gguf",
        "hardware",
        "planner",
        "supervisor",
        "units",
        "wire",
    }
    assert {name.split(".")[1] for name in ours if "." in name} == below
    assert {name for name in ours if name.startswith(("appliance.daemon.", "appliance.supervisor."))} == {
        "appliance.daemon.accelerators",
        "appliance.daemon.own_wishes",
        "appliance.supervisor.device",
    }
    assert ours & {f"appliance.wire.{name}" for name in ("channel", "messages", "requests")} == set()


def test_values_that_a_plan_is_made_of_are_cheap_to_make() -> None:
    """A dataclass takes half a millisecond to make, and there were forty; a struct takes a thirtieth."""
    ours, _ = _loaded(*FIT, "appliance.cli.own_fit")
    planning = {name for name in ours if name.startswith(("appliance.gguf.", "appliance.planner."))}
    made = {name for name in planning if "dataclass" in _names(_file(name))}
    assert made == {"appliance.planner.facts"}


def test_a_fit_of_a_name_loads_of_the_store_what_reads_it() -> None:
    ours, _ = _loaded("appliance.store.model_settings", "appliance.store.reader", "appliance.store.reading")
    assert {name for name in ours if name.startswith("appliance.go_template")} == set()
    unwanted = ("adopt", "derived", "layout", "serving", "template", "transfer")
    assert ours & {f"appliance.store.{name}" for name in unwanted} == set()


def test_a_command_is_declared_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import ArgumentParser, Namespace

    made: list[str] = []
    real = ArgumentParser.__init__

    def noted(self: ArgumentParser, *args: object, **settings: object) -> None:
        real(self, *args, **settings)  # type: ignore[arg-type]
        made.append(self.prog)

    monkeypatch.setattr(ArgumentParser, "__init__", noted)
    parse(["list"], Namespace())
    assert [name for name in made if name.startswith("outpost ")] == ["outpost list"]


def test_each_command_is_declared_under_its_name() -> None:
    assert [parser.prog for parser in build()[1].values()] == [f"outpost {name}" for name in build()[1]]


@pytest.mark.parametrize(
    ("told", "expected"), [("100", 100), ("0", None), ("-3", None), ("wide", None), ("", None)]
)
def test_columns_are_those_of_the_environment_else_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, told: str, expected: int | None
) -> None:
    import shutil

    monkeypatch.setenv("COLUMNS", told)
    assert columns() == shutil.get_terminal_size().columns
    assert expected is None or columns() == expected


def _loaded(*modules: str) -> tuple[set[str], set[str]]:
    """Modules of ours that these load with them, and the roots of all others that those name."""
    ours: set[str] = set()
    others: set[str] = set()
    left = list(modules)
    while left:
        module = left.pop()
        if module in ours:
            continue
        ours.add(module)
        above = module.rpartition(".")[0]
        for name in (above, *_imports(_file(module))):
            if _is_ours(name):
                left.append(name)
            elif name:
                others.add(name.split(".")[0])
    return ours, others - {"appliance", "__future__"}


def _imports(path: Path) -> Iterator[str]:
    """What stands at the top of a module; not what a function loads, nor what only types need."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (name for alias in node.names if _is_ours(name := f"{node.module}.{alias.name}"))


def _names(path: Path) -> set[str]:
    """What a module takes from others."""
    tree = ast.walk(ast.parse(path.read_bytes()))
    return {alias.name for node in tree if isinstance(node, ast.ImportFrom) for alias in node.names}


def _file(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == "appliance" and _file(name).is_file()
