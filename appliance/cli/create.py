"""`outpost create`: a model from a Modelfile."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from appliance.cli.exits import Exit, Failure
from appliance.cli.store_door import Door, opened, shown
from appliance.store.operations import MAX_MODELFILE_CHARS, Create


def main(arguments: argparse.Namespace) -> int:
    text, directory = read_modelfile(arguments.file)
    with opened(arguments) as door:
        operation = Create(
            name=arguments.name,
            modelfile=text,
            base_dir=_base_dir(door, directory),
            quantize=arguments.quantize,
        )
        shown(door, operation, as_json=arguments.json)
    return Exit.OK


def _base_dir(door: Door, directory: Path) -> str | None:
    """Where its paths begin; another machine is told none, and refuses a Modelfile that has any."""
    return str(directory.expanduser().absolute()) if door.takes_paths else None


def read_modelfile(path: Path) -> tuple[str, Path]:
    """The text (`-`: standard input) and the directory it stands in. Raises Failure."""
    try:
        data = sys.stdin.buffer.read(_LIMIT + 1) if str(path) == "-" else _read(path)
    except OSError as error:
        raise Failure(
            Exit.NO_INPUT,
            f"cannot read {path}: {error.strerror}; name the Modelfile with -f",
            code="no_such_file",
        ) from error
    if len(data) > _LIMIT:
        raise Failure(Exit.DATA, f"{path} has more than {_LIMIT} bytes: that is no Modelfile")
    directory = Path() if str(path) == "-" else path.parent
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding), directory
    except UnicodeDecodeError as error:
        raise Failure(Exit.DATA, f"{path} is neither UTF-8 nor UTF-16 text: byte {error.start}") from error


def _read(path: Path) -> bytes:
    with path.expanduser().open("rb") as file:
        return file.read(_LIMIT + 1)


_LIMIT = MAX_MODELFILE_CHARS
