"""The canonical line of a load."""

from __future__ import annotations

from appliance.log import logger
from appliance.wire.messages import Ready

_log = logger("supervisor")


def log_ready(ready: Ready, *, model: str, pid: int) -> None:
    """What a runner has told of itself."""
    facts, sandbox = ready.facts, ready.sandbox
    _log.info(
        "runner_ready",
        runner=model,
        pid=pid,
        load_s=round(ready.load_s, 3),
        measured_bytes=ready.measured_bytes,
        device=facts.device,
        gpu_layers=facts.n_gpu_layers,
        kernels=facts.kernels,
        kernels_missing=facts.kernels_missing,
        hibernates=facts.hibernates,
        hibernation_missing=facts.hibernation_missing,
        sandbox=sandbox.level,
        sandbox_missing=sandbox.missing,
    )
