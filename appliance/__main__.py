"""`python -m appliance` and the `outpost` command: the door of L1. All work is in `appliance.cli`."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """What a program loads is no garbage, and what it leaves goes with its process: to look for any while it
    starts and when it ends would take a tenth of a short command's time. Others look again: `cli/main.py`.
    """
    gc.disable()
    from appliance.cli.main import main as command  # noqa: PLC0415 - after that

    try:
        return command()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
