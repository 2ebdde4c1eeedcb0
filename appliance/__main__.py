"""`python -m appliance` and the `outpost` command: the door of L1. All work is in `appliance.cli`."""

from __future__ import annotations

import sys

from appliance.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
