"""`outpost fit`: whether a model fits into a board's memory, and what it would give up; nothing is loaded."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from appliance.cli import fit_text
from appliance.cli.exits import Exit, Failure, adding
from appliance.cli.fit_model import Wish, subject_of
from appliance.cli.local_failures import failures
from appliance.cli.terminal import printable
from appliance.config import Config, load
from appliance.daemon.accelerators import accelerator_of, board_gpu, gpu_plan, llama_libraries
from appliance.errors import InsufficientMemory, InvalidRequest
from appliance.hardware import memory
from appliance.hardware.features import read_features
from appliance.hardware.root import Root
from appliance.planner import boards
from appliance.planner.budget import Reading, budget
from appliance.planner.fit import Fit, Machine, Policy, Subject, fit
from appliance.supervisor.policy import Device

DOES_NOT_FIT: Final = Exit.UNAVAILABLE
_BY_ITS_FILE: Final = "one that a daemon was given as a file (--model NAME=FILE) goes by its file here"
CODE: Final = "insufficient_memory"


def main(arguments: argparse.Namespace) -> int:
    """0: it fits, perhaps with concessions; 69: it does not."""
    began = time.perf_counter()
    if arguments.config is not None and not arguments.config.exists():
        raise Failure(Exit.NO_INPUT, f"--config {arguments.config}: no such file", code="no_such_file")
    config = load(arguments.config)
    configured_s = time.perf_counter() - began
    with adding(_BY_ITS_FILE, to="model_not_found"), failures():
        machine = machine_of(arguments.board, config)
        wish = Wish(n_ctx=arguments.ctx, n_parallel=arguments.parallel)
        subject = subject_of(arguments.model, data=arguments.data, config=config, wish=wish)
        answer = fit(subject, machine, policy=policy_of(config), min_ctx=arguments.min_ctx)
    took_s = time.perf_counter() - began - configured_s
    if arguments.json:
        print(json.dumps(as_json(subject, machine, answer, took_s=took_s), ensure_ascii=False))
    else:
        print(printable(fit_text.shown(subject, machine, answer, took_s=took_s)))
    if answer.refusal is None:
        return Exit.OK
    sys.stdout.flush()
    print(f"outpost: {printable(answer.refusal.message)}", file=sys.stderr)
    return DOES_NOT_FIT


def policy_of(config: Config) -> Policy:
    told = config.memory
    return Policy(
        min_ctx=told.min_ctx, comfortable=told.comfortable_slots, parallel_share=told.parallel_share
    )


def machine_of(board: str | None, config: Config, sysroot: Path = Path("/")) -> Machine:
    """Raises InvalidRequest."""
    reserve = config.memory.reserve_bytes
    if board is not None:
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
        accelerator=gpu_plan(Device(config.engine.device), known),
        cpu=read_features(sysroot),
    )


def as_json(subject: Subject, machine: Machine, answer: Fit, *, took_s: float) -> dict[str, Any]:
    told = {
        "model": subject.name,
        "board": machine.name,
        "fits": answer.rung is not None,
        "origin": subject.origin,
        "is_guess": subject.is_guess,
        "min_ctx": answer.ladder.min_ctx,
        "budget": fit_text.plain(machine.budget),
        "plan": None if answer.rung is None else fit_text.rung_object(answer.rung),
        "least": fit_text.rung_object(answer.least),
        "tokens_per_s_bound": answer.tokens_per_s,
        "notes": list(subject.notes),
        "took_s": round(took_s, 4),
    }
    return told if answer.refusal is None else told | {"error": _error(answer.refusal)}


def _error(refusal: InsufficientMemory) -> dict[str, Any]:
    return {"message": refusal.message, "code": CODE, "exit": int(DOES_NOT_FIT), **refusal.fields}
