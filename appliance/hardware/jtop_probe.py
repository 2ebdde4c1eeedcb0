"""Asks jetson-stats, as a process of its own: `python -I -m appliance.hardware.jtop_probe`. One line of JSON.

Never imported by the daemon: jetson-stats is AGPL and optional, sets how all processes are started when it is
imported, and waits for ever for a service that accepts and does not answer. `jetson_stats` is the other end.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_HARDWARE = ("Module", "SoC", "L4T", "Jetpack")
"""Of the board's facts; never its serial number."""


def told(jetson: Any) -> dict[str, Any]:
    """What is wanted of a started client."""
    hardware = jetson.board["hardware"]
    return {
        "hardware": {name: hardware.get(name) for name in _HARDWARE},
        "nvpmodel": str(jetson.nvpmodel),
        "jetson_clocks": bool(jetson.jetson_clocks),
        "total_milliwatts": jetson.power.get("tot", {}).get("power"),
        "largest_free_blocks": jetson.memory["RAM"].get("lfb"),
    }


def main() -> int:
    """Always says something; the exit code tells whether it is an answer."""
    try:
        import jtop  # noqa: PLC0415 - may fail in ways of its own

        with jtop.jtop(interval=0.5) as jetson:
            if not jetson.ok():
                raise RuntimeError("the service tells nothing")  # noqa: TRY301
            answer = {"version": str(getattr(jtop, "__version__", "")), **told(jetson)}
    except Exception as error:  # noqa: BLE001 - process top: whatever it is, its words are the answer
        sys.stdout.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        return 1
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
