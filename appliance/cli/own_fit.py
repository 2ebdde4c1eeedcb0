"""What `outpost fit` answers where no daemon is asked: from headers, manifests and formulas, for this machine
or another board.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

from appliance.cli.exits import Exit, Failure, adding
from appliance.cli.fit_model import Wish, subject_of
from appliance.cli.fit_settings import FitSettings, fit_settings
from appliance.cli.local_failures import failures
from appliance.daemon.accelerators import accelerator_of, board_gpu, gpu_plan, llama_libraries
from appliance.errors import InvalidRequest
from appliance.hardware import memory
from appliance.hardware.features import read_features
from appliance.hardware.root import Root
from appliance.planner.budget import Reading, budget
from appliance.planner.fit import Machine, fit
from appliance.planner.fit_answer import FitAnswer, fit_object

CODE: Final = "insufficient_memory"
_BY_ITS_FILE: Final = "one that a daemon was given as a file (--model NAME=FILE) goes by its file here"


def own_fit(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raises Failure, ConfigError."""
    began = time.perf_counter()
    if arguments.config is not None and not arguments.config.exists():
        raise Failure(Exit.NO_INPUT, f"--config {arguments.config}: no such file", code="no_such_file")
    settings = fit_settings(arguments.config)
    configured_s = time.perf_counter() - began
    with adding(_BY_ITS_FILE, to="model_not_found"), failures():
        machine = machine_of(arguments.board, settings)
        wish = Wish(n_ctx=arguments.ctx, n_parallel=arguments.parallel)
        subject = subject_of(arguments.model, data=arguments.data, settings=settings, wish=wish)
        answer = fit(subject, machine, policy=settings.policy, min_ctx=arguments.min_ctx)
    return fit_object(answer, _error(answer), took_s=time.perf_counter() - began - configured_s)


def _error(answer: FitAnswer) -> dict[str, Any] | None:
    """In the form of the API's."""
    refusal = answer.refusal
    if refusal is None:
        return None
    return {"message": refusal.message, "type": "server_error", "param": refusal.param, "code": CODE}


def machine_of(board: str | None, settings: FitSettings, sysroot: Path = Path("/")) -> Machine:
    """Raises InvalidRequest."""
    reserve = settings.reserve_bytes
    if board is not None:
        from appliance.planner import boards  # noqa: PLC0415 - with the reader of TOML

        facts = boards.find(board)
        return Machine(
            name=facts.name,
            budget=budget(facts.reading, reserve_bytes=reserve),
            accelerator=facts.accelerator,
            cpu=facts.cpu_features,
            bandwidth_bytes_per_s=facts.bandwidth_bytes_per_s,
        )
    seen = memory.read(Root(sysroot))
    if seen.total_bytes is None or seen.available_bytes is None:
        raise InvalidRequest(reason="this machine does not tell its memory; name one", param="--board")
    limit = seen.limit
    reading = Reading(
        total_bytes=seen.total_bytes,
        available_bytes=seen.available_bytes,
        cgroup_limit_bytes=None if limit is None else limit.limit_bytes,
        cgroup_usage_bytes=None if limit is None else limit.limit_bytes - limit.room_bytes,
    )
    known = accelerator_of(board_gpu(Root(sysroot)), llama_libraries())
    return Machine(
        name=None,
        budget=budget(reading, reserve_bytes=reserve),
        accelerator=gpu_plan(settings.device, known),
        cpu=read_features(sysroot),
    )
