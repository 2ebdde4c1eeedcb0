"""`python -m tests.fakes.many_commands`: the real `outpost`, many times in one process.

Standard input: JSON, a list of argument lists. Standard output: JSON, the exit code of each. What the
commands print is left out, but of those that end in a bug of ours (70) it is put on standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from appliance.cli.exits import Exit
from appliance.cli.main import main


def run(argv: list[str]) -> int:
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(argv)
    if code == Exit.INTERNAL:
        said.seek(0)
        print(f"{argv!a}\n{said.read()}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.stdout.write(json.dumps([run(argv) for argv in json.load(sys.stdin)]))
