"""One scenario as a program: `python -m tests.crash.play SCENARIO ROOT [BUG]`."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.errors import OutpostError
from tests.crash.bugs import BUGS
from tests.crash.scenarios import SCENARIOS

EX_REFUSED = 3


def main(name: str, root: str, bug: str = "") -> int:
    try:
        SCENARIOS[name].act(Path(root), BUGS[bug]())
    except OutpostError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EX_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
