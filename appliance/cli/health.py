"""`outpost health`: is the daemon ready to answer. Verdict and reasons are `/readyz`'s; `--json` adds the
whole report (`/healthz`).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from appliance.cli.connect import client_of
from appliance.cli.cooling import cooling_line
from appliance.cli.exits import Exit
from appliance.cli.terminal import printable


def main(arguments: argparse.Namespace) -> int:
    """Returns 0 when ready, 69 when the daemon answers but is not; one that does not answer is a Failure with
    69 too.
    """
    client = client_of(arguments)
    # An unready daemon answers 503 with its reasons: that is an answer here and no failure.
    answer = client.get("/readyz", accept=(200, 503))
    is_ready, why = answer.status == 200, reasons(answer.body)
    if arguments.json:
        report = client.get("/healthz", accept=(200, 503)).body
        print(json.dumps({**report, "ready": is_ready, "reasons": why, "url": client.target.url}))
    else:
        print(f"{client.target.url}: {'ready' if is_ready else 'not ready'}")
        for reason in [*why, *reasons(answer.body, "degraded")]:
            print(f"  {printable(reason)}")
        for warning in reasons(answer.body, "warnings"):
            print(f"  warning: {printable(warning)}")
        if isinstance(details := answer.body.get("details"), str):
            print(f"  details {printable(details)}")
        if (line := cooling_line(answer.body)) is not None:
            print(f"  {line}")
    return Exit.OK if is_ready else Exit.UNAVAILABLE


def reasons(told: dict[str, Any], key: str = "reasons") -> list[str]:
    """Why it is not ready, or what it does worse than it should; other servers may not say."""
    listed = told.get(key)
    return [str(reason) for reason in listed] if isinstance(listed, list) else []
