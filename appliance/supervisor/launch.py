"""From a model's spec to a process that loads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.errors import OutpostError, RunnerStartFailed
from appliance.supervisor import preflight
from appliance.supervisor.client import Runner
from appliance.supervisor.device import Device
from appliance.supervisor.policy import ModelSpec, RunnerPolicy
from appliance.supervisor.process import RunnerProcess
from appliance.supervisor.speed_watch import SpeedWatch
from appliance.wire.messages import PROTOCOL, Hibernation, Load, Ready


def launch(
    spec: ModelSpec,
    *,
    policy: RunnerPolicy,
    command: Sequence[str],
    on_ready: Callable[[Runner, Ready], None],
    on_gone: Callable[[Runner, OutpostError | None], None],
    speeds: SpeedWatch | None = None,
    memory_bytes: int | None = None,
) -> Runner:
    """Spawn; the caller starts it to listen. On the thread with whose end the runner is to end.

    `speeds`: whom its speed is told; None: nobody compares it. `memory_bytes` bounds what it may allocate,
    and makes it the first that a kernel out of memory takes.

    Raises ModelInvalid for a file that is none, RunnerStartFailed where the system starts no process.
    """
    for path in spec.files:
        preflight.check(spec.name, path)
    load = _load(spec, policy.hibernation(spec))
    try:
        process = RunnerProcess(name=spec.name, sandbox=policy.sandbox, command=command)
    except OSError as error:
        raise RunnerStartFailed(model=spec.name, reason=f"no process: {error.strerror}") from error
    if memory_bytes is not None:
        process.bound_memory(memory_bytes)
        process.offer_to_kernel()
    return Runner(
        load=load,
        process=process,
        policy=policy,
        speeds=speeds or SpeedWatch(),
        on_ready=on_ready,
        on_gone=on_gone,
    )


def _load(spec: ModelSpec, hibernation: Hibernation | None) -> Load:
    return Load(
        protocol=PROTOCOL,
        model=spec.name,
        path=spec.path,
        placement=spec.placement,
        settings=spec.settings,
        draft_path=spec.draft_path,
        adapters=list(spec.adapters),
        paths=list(spec.paths),
        chat_template=spec.chat_template,
        hibernation=hibernation,
        requires_gpu=spec.device is Device.REQUIRE_GPU,
    )
