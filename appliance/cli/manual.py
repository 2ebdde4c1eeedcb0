"""The help in `docs/cli.md`, generated from the parser.

`python -m appliance.cli.manual docs/cli.md` rewrites what stands between the marks

    <!-- help: outpost run -->        and        <!-- end -->

and leaves the prose alone. A test compares the file with what this would write.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from appliance.cli.parser import build

_BLOCK: Final = re.compile(r"(<!-- help: (outpost(?: [a-z]+)?) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str) -> str:
    """`text` with every block of help as the parser gives it now. Raises KeyError for an unknown command."""
    helps = help_texts()
    return _BLOCK.sub(lambda block: f"{block[1]}```text\n{helps[block[2]]}```\n{block[3]}", text)


def help_texts() -> dict[str, str]:
    """By command line: `outpost`, `outpost run` … As wide as on a terminal of 100 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        parser, commands = build()
        return {"outpost": parser.format_help()} | {
            f"outpost {name}": command.format_help() for name, command in commands.items()
        }
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def main() -> int:
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
