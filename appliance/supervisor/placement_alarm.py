"""Does a model run where it was to run? Pure. What may not be is refused by `client`; what is a pity is an
alarm, told from the moment the runner is ready.
"""

from __future__ import annotations

from appliance.supervisor.device import Device
from appliance.wire.messages import ModelFacts, Placement

_ALL_LAYERS = -1


def placement_alarm(device: Device, facts: ModelFacts, *, planned: Placement, gpu: str | None) -> str | None:
    """1. On the CPU because that was wished for, or because there is no GPU: all is well.
    2. On the CPU of a board with a GPU (`gpu`, for people), or against the plan: an alarm.
    3. Partly on the GPU, where all layers were planned for it: an alarm.
    """
    if device is Device.CPU:  # 1
        return None
    is_planned = planned.n_gpu_layers != 0
    if facts.device == "cpu":
        if gpu is None and not is_planned:  # 1
            return None
        wanted = gpu or "a GPU"
        why = "was planned for it" if is_planned else "has a llama.cpp that was built without it"
        return f"runs on the CPU, not on {wanted}: it {why}; see `outpost hardware`"  # 2
    if planned.n_gpu_layers == _ALL_LAYERS and 0 < facts.n_gpu_layers < facts.n_layers:  # 3
        return f"runs with {facts.n_gpu_layers} of {facts.n_layers} layers on {facts.device}, not with all"
    return None
