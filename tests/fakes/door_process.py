"""A door in a process of its own, over a fake Inference: `python -m tests.fakes.door_process SOCKET`.

The address of its TCP port is the first line of its standard output; each request that reaches it is one line
of `METHOD ROUTE STATUS` behind it. It ends with its standard input. A prompt of `endless` is answered without
an end, any other in four pieces.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from appliance import log
from appliance.api.app import create_app
from appliance.api.exchange import Exchange
from appliance.api.server import serve
from appliance.wire.messages import Delta, Generate
from tests.fakes.door_parts import parts_of
from tests.fakes.fake_inference import FakeInference, Line, Silence, text_of

_PIECES = 1500
_PAUSE_S = 0.02


class _Told:
    """An observer that prints."""

    def exchange_ended(self, exchange: Exchange) -> None:
        sys.stdout.write(f"{exchange.method} {exchange.route} {exchange.status}\n")
        sys.stdout.flush()

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()


def script(request: Generate) -> list[Line]:
    if "endless" not in str(request):
        return text_of("one ", "two ", "three ", "four")
    lines: list[Line] = []
    for number in range(_PIECES):
        lines += [Delta(id=1, choice=0, text=f" {number} " + "x" * 200, tokens=1), Silence(_PAUSE_S)]
    return lines


def main() -> None:
    log.configure(level="error", form="json")
    inference = FakeInference(script=script, capacity=600)
    app = create_app(parts_of(inference, observer=_Told()))
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with serve(app, listen=("127.0.0.1", 0), proxy_socket=path) as server:
        print(json.dumps(server.address), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
