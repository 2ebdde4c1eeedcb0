"""Loads files with llama.cpp, each in a process forked for it: `python -m
tests.fakes.gguf_corpus.fork_server`.

The libraries are imported once, so a case costs some 20 ms. A line of JSON comes in, one goes out:

    {"path": "…", "kind": "model" | "adapter" | "projector", "base": "… of an adapter"}
    {"outcome": "loaded" | "refused" | "died", "detail": "…"}

A projector is given to the loader of models, as nothing of ours loads one as what it is.

`refused` is a clean error of the engine; `died` is a signal, a time-out (SIGALRM) or anything else that no
runner may do. Set GGML_NO_BACKTRACE=1: ggml forks a debugger at an abort otherwise.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from appliance.engine.llama.library import initialise
from appliance.errors import OutpostError
from appliance.wire.messages import Adapter, AdapterScale, Embed
from tests.integration.llama_desk import Desk

_TIME_LIMIT_S = 20
_ADDRESS_SPACE_BYTES = 8 * 2**30
_LOADED, _REFUSED, _FAILED = 0, 3, 4
_TEXT = "Hello, wörld! 12\n"
_CONTEXT = 64


def main() -> None:
    initialise()
    for line in sys.stdin:
        answer = _outcome(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _outcome(case: dict[str, Any]) -> dict[str, str]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(case, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        detail = told.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"outcome": "died", "detail": signal.Signals(os.WTERMSIG(status)).name}
    code = os.WEXITSTATUS(status)
    outcome = {_LOADED: "loaded", _REFUSED: "refused"}.get(code, "died")
    return {"outcome": outcome, "detail": detail}


def _run(case: dict[str, Any], telling: int) -> None:
    """The child: never returns."""
    code = _FAILED
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
        signal.alarm(_TIME_LIMIT_S)
        _use(case)
        code = _LOADED
    except OutpostError as error:
        os.write(telling, str(error).encode()[:500])
        code = _REFUSED
    except BaseException:  # noqa: BLE001
        os.write(telling, traceback.format_exc().encode()[-2000:])
    finally:
        os._exit(code)


def _use(case: dict[str, Any]) -> None:
    if case["kind"] == "adapter":
        adapters = [Adapter(name="one", path=case["path"])]
        with Desk(Path(case["base"]), n_ctx_seq=_CONTEXT, n_seq_max=1, adapters=adapters) as desk:
            desk.ask(_TEXT, max_tokens=1, adapters=[AdapterScale(name="one", scale=1.0)])
            _raise_failures(desk)
        return
    with Desk(Path(case["path"]), n_ctx_seq=_CONTEXT, n_seq_max=1) as desk:
        if desk.engine.facts.generates:
            desk.ask(_TEXT, max_tokens=1, top_logprobs=None)
        else:
            desk.call(Embed(id=desk.next_id(), inputs=[_TEXT]))
        _raise_failures(desk)


def _raise_failures(desk: Desk) -> None:
    for failure in desk.failures.values():
        raise failure


if __name__ == "__main__":
    main()
