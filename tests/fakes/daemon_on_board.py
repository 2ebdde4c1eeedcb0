"""The daemon as a program, on a board whose /proc is that of a directory: SYSROOT CONFIG DATA."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.config import load
from appliance.daemon import composition


def main(sysroot: Path, config: Path, data: Path) -> int:
    overrides = {"data.dir": data, "server.listen": "127.0.0.1:0"}
    return composition.main(load(config, overrides=overrides), sysroot=sysroot)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
