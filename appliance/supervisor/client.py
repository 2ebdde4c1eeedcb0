"""One runner as the daemon sees it: frames out from any thread, frames in on one thread, and how it ended.

Every way to die ends in the same place, `_end`: EOF, silence, nonsense, refusal to load or our own wish. It
reaps the process, fails all open requests with one typed error and tells the supervisor.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import msgspec

from appliance.errors import (
    BodyTooLarge,
    EngineFault,
    GpuUnavailable,
    OutpostError,
    RunnerDied,
    RunnerHung,
    RunnerStartFailed,
)
from appliance.log import logger
from appliance.supervisor.allocation import RefusedBy, refused_by
from appliance.supervisor.faults import believed
from appliance.supervisor.idle_frames import IdleFrames
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.open_requests import OpenRequests
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess
from appliance.supervisor.ready_line import log_ready
from appliance.supervisor.speed_watch import SpeedWatch
from appliance.supervisor.tempo import Tempo
from appliance.supervisor.throughput import Throughput
from appliance.supervisor.vigil import Vigil, canary
from appliance.wire.channel import ProtocolError, daemon_end
from appliance.wire.messages import (
    MAX_FRAME_BYTES,
    Accepted,
    Cancel,
    EngineStats,
    Failed,
    Heartbeat,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Refused,
    Request,
    Result,
    RunnerMessage,
    SetLimits,
    Step,
    WireError,
)

_log = logger("supervisor")

_EOF_GRACE_S = 0.3
"""A runner whose channel is closed is gone, or is killed after this."""
_MOST_QUIET_S = 600.0
"""A runner may ask for so much more time between two heartbeats, and no more."""


class Runner:
    """`open`, `cancel`, `stop`, `set_limits` from any thread; all the rest belongs to the thread
    `runner-NAME`.
    """

    def __init__(
        self,
        *,
        load: Load,
        process: RunnerProcess,
        policy: RunnerPolicy,
        speeds: SpeedWatch,
        on_ready: Callable[[Runner, Ready], None],
        on_gone: Callable[[Runner, OutpostError | None], None],
    ) -> None:
        """The callbacks come from the reader thread and must not block. `on_gone` comes exactly once, and
        last.
        """
        self.model = load.model
        self.pid = process.pid
        self.ready: Ready | None = None
        self.loading_progress = 0.0
        self.stats = EngineStats()
        self.last_token_at_s: float | None = None
        self.ready_at_s: float | None = None
        self.heard_at_s = time.monotonic()
        """When the last step or heartbeat came."""
        self.throughput = Throughput()
        self.death: str | None = None
        """How its process ended when nobody had asked it to, in words."""
        self.alarm: str | None = None
        """Why its placement is not what it was to be; set by the loop thread before it is granted."""
        self.refused_by: RefusedBy | None = None
        """Who refused it memory while it loaded, as far as its last words tell."""
        self._load = load
        self._load_deadline_s = time.monotonic() + policy.load_timeout_s
        self._process = process
        self._policy = policy
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._channel = daemon_end(process.socket)
        self._channel.set_send_timeout(policy.heartbeat_timeout_s)
        self._vigil = Vigil(
            stall_timeout_s=policy.stall_timeout_s,
            canary_interval_s=policy.canary_interval_s,
            now_s=self.heard_at_s,
        )
        self._tempo = Tempo()
        self._speeds = speeds
        self._canary: Mailbox | None = None
        """The last one that was asked."""
        self._ids = itertools.count(1)
        self._open = OpenRequests()
        self._stop_error: OutpostError | None = None
        self._is_stopping = False
        self._idle_frames = IdleFrames()
        self._quiet_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"runner-{load.model}", daemon=True)

    # ── any thread ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to listen; the first act of the thread is to send `Load`."""
        self._thread.start()

    def open(self, request: Request) -> Mailbox:
        """Give `request` an id, send it, and return where its answers come.

        Raises the runner's fault when it has ended, BodyTooLarge when the frame would be.
        """
        numbered = msgspec.structs.replace(request, id=next(self._ids))
        limit = self.ready.facts.n_ctx_seq if self.ready else 0
        mailbox = Mailbox(numbered, n_ctx_seq=limit, now_s=time.monotonic())
        if not self._open.enter(mailbox):
            self._process.kill()
        try:
            self._channel.send(numbered)
        except ValueError as error:
            self._open.leave(mailbox)
            raise BodyTooLarge(size_bytes=None, limit_bytes=MAX_FRAME_BYTES) from error
        except OSError:
            # Unsent or half sent: the channel is of no use any more. The reader finds out why and fills the
            # mailbox.
            self._channel.shut()
        return mailbox

    def cancel(self, mailbox: Mailbox) -> None:
        """The asker is not interested any more. Never raises; waits at most for the kernel to take 20
        bytes.
        """
        mailbox.is_closed = True
        if mailbox not in self._open:
            return
        try:
            self._channel.send(Cancel(id=mailbox.id))
        except OSError:
            self._channel.shut()

    def set_limits(self, limits: SetLimits) -> None:
        self._tempo.limit(limits, time.monotonic())
        try:
            self._channel.send(limits)
        except OSError:
            self._channel.shut()

    def stop(self, error: OutpostError | None = None) -> None:
        """Tell it to end by closing the channel; open requests fail with `error`. SIGKILL follows after
        `stop_timeout_s`.
        """
        self._stop_error = error
        self._is_stopping = True
        self._channel.shut()

    def silent_s(self, now_s: float) -> float:
        """Since its last step or heartbeat."""
        return max(0.0, now_s - self.heard_at_s)

    def is_hung(self, now_s: float) -> bool:
        """Ready, and silent (or computing nothing of what it is asked) for half of the time after which it is
        killed.
        """
        if self.ready is None:
            return False
        patience_s = self._policy.heartbeat_timeout_s / 2 + self._quiet_s
        return self.silent_s(now_s) > patience_s or self._vigil.is_stalled(
            self.stalled_s(now_s), quiet_s=self._quiet_s, share=0.5
        )

    @property
    def degraded(self) -> str | None:
        """Why it is much slower than it usually is; None: it is not, as far as is known."""
        return self._speeds.degraded(self._speed_key)

    @property
    def _speed_key(self) -> tuple[str, ...]:
        facts = self.ready.facts if self.ready is not None else None
        placed = () if facts is None else (facts.device, str(facts.n_gpu_layers), facts.kernels, facts.type_k)
        return (self._load.path, *placed)

    def stalled_s(self, now_s: float) -> float:
        """For how long it has computed nothing of what it is asked, though it beats."""
        return self._vigil.stalled_s(self._open.listed(), now_s)

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout_s: float) -> bool:
        """True when the process is reaped and the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ── the reader thread ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        fault: OutpostError | None
        try:
            fault = self._listen()
        except Exception as error:  # noqa: BLE001  # thread top: must end in `_end`
            _log.exception("runner_reader_fault", runner=self.model, pid=self.pid)
            fault = self._died(f"the daemon could not follow it: {error!r}")
        self._end(fault)

    def _listen(self) -> OutpostError | None:
        """Until the end; returns the fault, or None when the end was our wish."""
        try:
            self._channel.send(self._load)
            self._expect_load()
            while (message := self._channel.receive()) is not None:
                if type(message) is Step:
                    self._deliver(message)
                else:
                    self._take(message)
        except TimeoutError:
            return None if self._is_stopping else self._hung()
        except ProtocolError as error:
            self._process.kill()
            return None if self._is_stopping else self._died(f"killed: it broke the protocol: {error}")
        except _Ended as end:
            return None if self._is_stopping else end.error
        except OSError:
            pass  # the channel was shut under us, or the runner died while it was written to
        return None if self._is_stopping else self._died(self._process.reap(_EOF_GRACE_S))

    def _deliver(self, step: Step) -> None:
        """PERF: once per engine step; per delta one lookup and one put."""
        if self.ready is None:
            raise ProtocolError("a step before Ready")
        for delta in step.deltas:
            mailbox = self._open.get(delta.id)
            if mailbox.put_delta(delta):
                self._open.leave(mailbox)
        for progress in step.progress:
            self._open.get(progress.id).put_progress(progress)
        now_s = time.monotonic()
        if ended := self._tempo.step(step, now_s):
            self._speeds.observe(self._speed_key, ended, runner=self.model)
        if step.deltas:
            self.last_token_at_s = self.heard_at_s = now_s
            if any(delta.tokens for delta in step.deltas):
                self._vigil.saw_token(self.heard_at_s)
        else:
            self._count_idle_frame()

    def _take(self, message: RunnerMessage) -> None:
        match message:
            case Heartbeat():
                self.stats = message.stats
                self._count_idle_frame()
                self._await_heartbeat(message.quiet_s)
                self.throughput.observe(message.stats.generated_tokens, self.heard_at_s)
                self._keep_vigil(message.stats)
            case Accepted():
                self._open.get(message.id).put_accepted(message)
                self._tempo.accept(message.id, time.monotonic())
            case Refused() | Failed():
                mailbox = self._open.get(message.id)
                self._open.leave(mailbox)
                self._tempo.forget(message.id)
                mailbox.put_error(error := believed(message.error))
                if mailbox is self._canary:
                    self._canary_ended(error, is_refused=type(message) is Refused)
            case Result():
                mailbox = self._open.get(message.id)
                mailbox.put_result(message)
                self._open.leave(mailbox)
            case Loading():
                self.loading_progress = message.progress
                self._count_idle_frame()
                self._expect_load()
            case Ready():
                self._become_ready(message)
            case LoadFailed():
                raise _Ended(self._load_error(message.error))

    def _keep_vigil(self, stats: EngineStats) -> None:
        """With each heartbeat."""
        now_s = self.heard_at_s
        self._vigil.observe(stats, now_s)
        stalled_s = self.stalled_s(now_s)
        if self.ready is not None and self._vigil.is_stalled(stalled_s, quiet_s=self._quiet_s):
            self._process.kill()
            raise _Ended(RunnerHung(model=self.model, silent_s=stalled_s, beats=True))
        if self.ready is not None and self._vigil.is_canary_due(is_idle=not len(self._open), now_s=now_s):
            self._canary = self.open(canary(self.ready.facts))

    def _canary_ended(self, error: OutpostError, *, is_refused: bool) -> None:
        """Refused: this model takes no such request, and that is no fault. Failed: it does not compute."""
        if not is_refused:
            self._process.kill()
            raise _Ended(self._died(f"killed: it could not compute one token: {error.message}"))
        self._vigil.end_canaries()
        _log.warning("canary_refused", runner=self.model, pid=self.pid, reason=error.message)

    def _become_ready(self, ready: Ready) -> None:
        if self.ready is not None:
            raise ProtocolError("Ready twice")
        if self._load.requires_gpu and ready.facts.device == "cpu":
            raise _Ended(GpuUnavailable(model=self.model, reason="it was loaded on the CPU"))
        self.ready = ready
        self.ready_at_s = self.heard_at_s = time.monotonic()
        self.throughput.observe(0, self.ready_at_s)
        self.loading_progress = 1.0
        self._channel.set_receive_timeout(self._policy.heartbeat_timeout_s)
        log_ready(ready, model=self.model, pid=self.pid)
        self._on_ready(self, ready)

    def _await_heartbeat(self, quiet_s: float) -> None:
        """As long as the policy says, and as the runner asks for: a hostile one not without end."""
        if quiet_s > 0 or self._quiet_s > 0:
            self._quiet_s = min(quiet_s, _MOST_QUIET_S)
            self._channel.set_receive_timeout(self._policy.heartbeat_timeout_s + self._quiet_s)

    def _expect_load(self) -> None:
        if self.ready is not None:
            raise ProtocolError("Loading after Ready")
        remaining_s = self._load_deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self._channel.set_receive_timeout(remaining_s)

    def _count_idle_frame(self) -> None:
        self.heard_at_s = time.monotonic()
        self._idle_frames.count(self.heard_at_s)

    # ── the end, on the reader thread ──────────────────────────────────────────────────────────────────────

    def _hung(self) -> OutpostError:
        self._process.kill()
        if self.ready is None:
            reason = f"it did not load within {self._policy.load_timeout_s:.0f} s"
            return RunnerStartFailed(model=self.model, reason=reason)
        return RunnerHung(model=self.model, silent_s=self._policy.heartbeat_timeout_s + self._quiet_s)

    def _died(self, cause: str) -> OutpostError:
        self.death = cause
        if self.ready is None:
            return RunnerStartFailed(model=self.model, reason=cause)
        return RunnerDied(model=self.model, cause=cause)

    def _load_error(self, wire: WireError) -> OutpostError:
        error = believed(wire)
        return (
            RunnerStartFailed(model=self.model, reason=error.message)
            if isinstance(error, EngineFault)
            else error
        )

    def _end(self, fault: OutpostError | None) -> None:
        """A fault: the supervisor hears of it before the requests do, so that a retry can not meet this
        runner again.
        A wish of ours: the requests fail at once, and the supervisor hears of the end when it has come.
        """
        self._channel.shut()
        if fault is None:
            self._open.fail(self._stop_error or RunnerDied(model=self.model, cause="it was stopped"))
            self._process.reap(self._policy.stop_timeout_s)
            _log.info("runner_stopped", runner=self.model, pid=self.pid)
            self._on_gone(self, None)
        else:
            self._process.reap(_EOF_GRACE_S)
            if self.ready is None:
                self.refused_by = refused_by([*self._process.last_lines(), fault.message])
            _log.error("runner_failed", runner=self.model, pid=self.pid, error=fault.message)
            self._on_gone(self, fault)
            self._open.fail(fault)
        self._channel.close()


class _Ended(Exception):
    """The end of `_listen`, with its fault."""

    def __init__(self, error: OutpostError) -> None:
        super().__init__(error.message)
        self.error = error
