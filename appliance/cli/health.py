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
        for reason in [] if is_ready else reasons(ready.body):
            print(f"  {printable(reason)}")
    return Exit.OK if is_ready else Exit.UNAVAILABLE


def reasons(report: dict[str, Any]) -> list[str]:
    """Why it is not ready: each model that is not, with its state and reason."""
    models = report.get("models")
    listed = [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    if not listed:
        return ["it serves no model; start it with --model NAME=FILE.gguf"]
    return [
        f"{model.get('name')}: {model.get('state')}" + (f", {model['reason']}" if model.get("reason") else "")
        for model in listed
    ]
