"""`outpost health`: is the daemon ready to answer. The report is the daemon's own (`/healthz`); the verdict
is `/readyz`.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from appliance.cli.connect import client_of
from appliance.cli.exits import Exit
from appliance.cli.terminal import printable


def main(arguments: argparse.Namespace) -> int:
    """Returns 0 when ready, 69 when the daemon answers but is not; one that does not answer is a Failure with
    69 too.
    """
    client = client_of(arguments)
    # An unready daemon answers 503 with its reasons: that is an answer here and no failure.
    ready = client.get("/readyz", accept=(200, 503))
    report = client.get("/healthz", accept=(200, 503)).body
    is_ready = ready.status == 200
    if arguments.json:
        print(json.dumps({**report, "ready": is_ready, "url": client.target.url}))
    else:
        print(f"{client.target.url}: {'ready' if is_ready else 'not ready'}")
        for reason in reasons(report, is_ready=is_ready):
            print(f"  {printable(reason)}")
    return Exit.OK if is_ready else Exit.UNAVAILABLE


def reasons(report: dict[str, Any], *, is_ready: bool) -> list[str]:
    """What is wrong, as the report tells; an unready daemon that tells nothing serves no model."""
    listed = report.get("reasons")
    told = [str(reason) for reason in listed] if isinstance(listed, list) else []
    models = report.get("models")
    for model in models if isinstance(models, list) and not told and not is_ready else []:
        reason = f", {model['reason']}" if model.get("reason") else ""
        told.append(f"{model.get('name')} is {model.get('state')}{reason}")
    if not told and not is_ready:
        return ["it serves no model; start it with --model NAME=FILE.gguf"]
    return told
