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
    OutpostError,
    RunnerDied,
    RunnerHung,
    RunnerStartFailed,
)
from appliance.log import logger
from appliance.supervisor.faults import believed, fresh
from appliance.supervisor.mailbox import Mailbox
from appliance.supervisor.policy import RunnerPolicy
from appliance.supervisor.process import RunnerProcess
from appliance.supervisor.throughput import Throughput
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
_MAX_IDLE_FRAMES_PER_S = 500
"""Frames that carry nothing for a request (heartbeats, load progress, empty steps): more is a flood."""
_MOST_QUIET_S = 600.0
"""A runner may ask for so much more time between two heartbeats, and no more."""
_MAX_OPEN = 4096
"""Requests a runner may leave without an end; those of live callers are far fewer
(`QueuePolicy.max_running`)."""


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
        self._load = load
        self._load_deadline_s = time.monotonic() + policy.load_timeout_s
        self._process = process
        self._policy = policy
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._channel = daemon_end(process.socket)
        self._channel.set_send_timeout(policy.heartbeat_timeout_s)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        """Guards the entering of mailboxes against the end; the reader's lookups need no lock."""
        self._mailboxes: dict[int, Mailbox] = {}
        self._fault: OutpostError | None = None
        self._stop_error: OutpostError | None = None
        self._is_stopping = False
        self._idle_frames = 0
        self._idle_since_s = 0.0
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
        mailbox = Mailbox(numbered, n_ctx_seq=limit)
        with self._lock:
            if self._fault is not None:
                raise fresh(self._fault)
            if len(self._mailboxes) >= _MAX_OPEN:
                self._process.kill()
            self._mailboxes[mailbox.id] = mailbox
        try:
            self._channel.send(numbered)
        except ValueError as error:
            self._forget(mailbox)
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
        if mailbox.id not in self._mailboxes:
            return
        try:
            self._channel.send(Cancel(id=mailbox.id))
        except OSError:
            self._channel.shut()

    def set_limits(self, limits: SetLimits) -> None:
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
        """Ready, and silent for half of the time after which it is killed."""
        patience_s = self._policy.heartbeat_timeout_s / 2 + self._quiet_s
        return self.ready is not None and self.silent_s(now_s) > patience_s

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
        except _LoadRefused as refusal:
            return refusal.error
        except OSError:
            pass  # the channel was shut under us, or the runner died while it was written to
        return None if self._is_stopping else self._died(self._process.reap(_EOF_GRACE_S))

    def _deliver(self, step: Step) -> None:
        """PERF: once per engine step; per delta one lookup and one put."""
        if self.ready is None:
            raise ProtocolError("a step before Ready")
        mailboxes = self._mailboxes
        for delta in step.deltas:
            mailbox = mailboxes.get(delta.id)
            if mailbox is None:
                raise ProtocolError(f"a delta for the unknown request {delta.id}")
            if mailbox.put_delta(delta):
                self._forget(mailbox)
        for progress in step.progress:
            self._mailbox(progress.id).put_progress(progress)
        if step.deltas:
            self.last_token_at_s = self.heard_at_s = time.monotonic()
        else:
            self._count_idle_frame()

    def _take(self, message: RunnerMessage) -> None:
        match message:
            case Heartbeat():
                self.stats = message.stats
                self._count_idle_frame()
                self._await_heartbeat(message.quiet_s)
                self.throughput.observe(message.stats.generated_tokens, self.heard_at_s)
            case Accepted():
                self._mailbox(message.id).put_accepted(message)
            case Refused() | Failed():
                mailbox = self._mailbox(message.id)
                self._forget(mailbox)
                mailbox.put_error(believed(message.error))
            case Result():
                mailbox = self._mailbox(message.id)
                mailbox.put_result(message)
                self._forget(mailbox)
            case Loading():
                self.loading_progress = message.progress
                self._count_idle_frame()
                self._expect_load()
            case Ready():
                self._become_ready(message)
            case LoadFailed():
                raise _LoadRefused(self._load_error(message.error))

    def _become_ready(self, ready: Ready) -> None:
        if self.ready is not None:
            raise ProtocolError("Ready twice")
        self.ready = ready
        self.ready_at_s = self.heard_at_s = time.monotonic()
        self.throughput.observe(0, self.ready_at_s)
        self.loading_progress = 1.0
        self._channel.set_receive_timeout(self._policy.heartbeat_timeout_s)
        self._log_ready(ready)
        self._on_ready(self, ready)

    def _await_heartbeat(self, quiet_s: float) -> None:
        """As long as the policy says, and as the runner asks for: a hostile one not without end."""
        if quiet_s > 0 or self._quiet_s > 0:
            self._quiet_s = min(quiet_s, _MOST_QUIET_S)
            self._channel.set_receive_timeout(self._policy.heartbeat_timeout_s + self._quiet_s)

    def _log_ready(self, ready: Ready) -> None:
        """The canonical line of a load."""
        _log.info(
            "runner_ready",
            runner=self.model,
            pid=self.pid,
            load_s=round(ready.load_s, 3),
            measured_bytes=ready.measured_bytes,
            device=ready.facts.device,
            kernels=ready.facts.kernels,
            kernels_missing=ready.facts.kernels_missing,
            hibernates=ready.facts.hibernates,
            hibernation_missing=ready.facts.hibernation_missing,
            sandbox=ready.sandbox.level,
            sandbox_missing=ready.sandbox.missing,
        )

    def _expect_load(self) -> None:
        if self.ready is not None:
            raise ProtocolError("Loading after Ready")
        remaining_s = self._load_deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self._channel.set_receive_timeout(remaining_s)

    def _mailbox(self, request_id: int) -> Mailbox:
        mailbox = self._mailboxes.get(request_id)
        if mailbox is None:
            raise ProtocolError(f"news of the unknown request {request_id}")
        return mailbox

    def _forget(self, mailbox: Mailbox) -> None:
        self._mailboxes.pop(mailbox.id, None)

    def _count_idle_frame(self) -> None:
        now = self.heard_at_s = time.monotonic()
        if now - self._idle_since_s > 1.0:
            self._idle_since_s, self._idle_frames = now, 0
        self._idle_frames += 1
        if self._idle_frames > _MAX_IDLE_FRAMES_PER_S:
            raise ProtocolError(f"a flood of more than {_MAX_IDLE_FRAMES_PER_S} empty frames in a second")

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
            self._fail_requests(self._stop_error or RunnerDied(model=self.model, cause="it was stopped"))
            self._process.reap(self._policy.stop_timeout_s)
            _log.info("runner_stopped", runner=self.model, pid=self.pid)
            self._on_gone(self, None)
        else:
            self._process.reap(_EOF_GRACE_S)
            _log.error("runner_failed", runner=self.model, pid=self.pid, error=fault.message)
            self._on_gone(self, fault)
            self._fail_requests(fault)
        self._channel.close()

    def _fail_requests(self, error: OutpostError) -> None:
        with self._lock:
            self._fault = error
            orphans = list(self._mailboxes.values())
            self._mailboxes.clear()
        for mailbox in orphans:
            mailbox.put_error(error)


class _LoadRefused(Exception):
    """LoadFailed came: the end of `_listen`."""

    def __init__(self, error: OutpostError) -> None:
        super().__init__(error.message)
        self.error = error
