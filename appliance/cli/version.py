"""`outpost version`: of this program, and of a daemon that is named."""

from __future__ import annotations

import argparse
import json
import platform

from appliance import __version__
from appliance.cli.exits import Exit


def main(arguments: argparse.Namespace) -> int:
    daemon = _of_daemon(arguments) if arguments.host is not None or arguments.data is not None else None
    if arguments.json:
        told = {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
        print(json.dumps(told if daemon is None else {**told, "daemon": daemon}))
    else:
        print(f"outpost {__version__}")
        if daemon is not None:
            print(f"{daemon['url']}: {daemon['version'] or 'it does not say'}")
    return Exit.OK


def _of_daemon(arguments: argparse.Namespace) -> dict[str, str | None]:
    from appliance.cli.connect import client_of  # noqa: PLC0415 - HTTP, only where a daemon is asked
    from appliance.cli.terminal import printable  # noqa: PLC0415 - as that

    client = client_of(arguments)
    version = client.get("/healthz", accept=(200, 503)).body.get("version")
    told = printable(version[:64]) if isinstance(version, str) else None
    return {"url": client.target.url, "version": told}
