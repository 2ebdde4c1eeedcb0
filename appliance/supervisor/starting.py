"""From a desk's wish to a process that loads its model: on the main thread, which alone may spawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

from appliance.errors import OutpostError, RunnerStartFailed, ShuttingDown
from appliance.log import logger
from appliance.supervisor.client import Runner
from appliance.supervisor.desk import Desk
from appliance.supervisor.launch import launch
from appliance.supervisor.placement_alarm import placement_alarm
from appliance.supervisor.policy import ModelSpec, RunnerPolicy
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.speed_watch import SpeedWatch
from appliance.wire.messages import Ready

_log = logger("supervisor")

Post = Callable[[Callable[[float], None]], None]
"""Run on the loop thread."""
Loaded = Callable[[Ready], None]
"""Called on the runner's reader thread."""
Gone = Callable[[Runner, Union[OutpostError, None], float], None]
"""Called on the loop thread, in the place of `desk.gone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One start, and who hears of it."""

    desk: Desk[Runner]
    spec: ModelSpec
    loaded: Loaded
    gone: Gone


class Starting:
    """`submit` from the loop thread. All else runs on the main thread, and on the readers of runners."""

    def __init__(
        self,
        *,
        spawner: Spawner,
        policy: RunnerPolicy,
        command: Sequence[str],
        post: Post,
        greet: Callable[[Runner], None],
        speeds: SpeedWatch,
    ) -> None:
        """`greet`: called on the loop thread with a runner that is ready, before anybody is granted it."""
        self._spawner = spawner
        self._policy = policy
        self._command = tuple(command)
        self._post = post
        self._greet = greet
        self._speeds = speeds

    def submit(
        self,
        desk: Desk[Runner],
        spec: ModelSpec,
        *,
        loaded: Loaded = lambda _: None,
        gone: Gone | None = None,
    ) -> None:
        """Answered on the loop thread by `started`, then `ready` or `gone`; or by `desk.gone` without a
        runner.
        """
        order = _Order(desk=desk, spec=spec, loaded=loaded, gone=gone or desk.gone)
        self._spawner.submit(lambda is_open: self._spawn(order, is_open=is_open))

    def _spawn(self, order: _Order, *, is_open: bool) -> None:
        fault: OutpostError
        try:
            runner = self._launch(order, is_open=is_open)
        except OutpostError as error:
            fault = error
        except Exception as error:  # noqa: BLE001  # top of a job: the desk must get its answer
            fault = RunnerStartFailed(model=order.spec.name, reason=f"{type(error).__name__}: {error}")
        else:
            self._post(lambda _: order.desk.started(runner))
            runner.start()
            return
        self._post(lambda now_s: order.desk.gone(None, fault, now_s))

    def _launch(self, order: _Order, *, is_open: bool) -> Runner:
        """The callbacks come on the runner's reader thread."""
        if not is_open:
            raise ShuttingDown

        def on_ready(runner: Runner, ready: Ready) -> None:
            self._post(lambda now_s: self._ready(order, runner, ready, now_s))
            order.loaded(ready)

        def on_gone(runner: Runner, fault: OutpostError | None) -> None:
            self._post(lambda now_s: order.gone(runner, fault, now_s))

        runner = launch(
            order.spec,
            policy=self._policy,
            command=self._command,
            on_ready=on_ready,
            on_gone=on_gone,
            speeds=self._speeds,
        )
        _log.info("runner_started", runner=order.spec.name, pid=runner.pid)
        return runner

    def _ready(self, order: _Order, runner: Runner, ready: Ready, now_s: float) -> None:
        """The loop thread."""
        spec = order.spec
        alarm = placement_alarm(spec.device, ready.facts, planned=spec.placement, gpu=self._policy.gpu)
        if alarm is not None:
            _log.error("placement_alarm", runner=spec.name, pid=runner.pid, reason=alarm)
        runner.alarm = alarm
        self._greet(runner)
        order.desk.ready(runner, ready.facts, now_s)
