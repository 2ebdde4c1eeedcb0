"""The composition of the daemon: builds all parts from the configuration, starts them in order, stops them
in reverse.

    main thread   spawns runners, takes signals, feeds systemd's watchdog (`supervisor.spawner`)
    supervisor    the loop that decides; one reader and one stderr thread per runner
    http-*        waitress: one loop, workers on demand

Start: lock of the data directory → supervisor → door → `daemon.json` → `on_ready` → READY=1. Stop (SIGTERM,
SIGINT): STOPPING=1, no more spawns, drain while the door still answers, door, supervisor, `daemon.json`. A
second signal ends the drain at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from appliance import __version__, log, systemd
from appliance.access.keys import KeyRing
from appliance.api.app import create_app
from appliance.api.calls import Limits
from appliance.api.server import Server, ServerLimits, serve
from appliance.config import Config, ModelSettings
from appliance.errors import ConfigError, DataDirInUse
from appliance.health import report
from appliance.supervisor.policy import ModelSpec, QueuePolicy, RunnerPolicy
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.supervisor import Supervisor
from appliance.telemetry.engine_metrics import engine_samples
from appliance.telemetry.prometheus import Prometheus
from appliance.wire.messages import Adapter, EngineSettings, Placement

_log = log.logger("daemon")

_BEAT_TIMEOUT_S = 1.0
_MAX_BACKOFF_S = 30.0


def main(
    config: Config, *, preload: Sequence[str] = (), on_ready: Callable[[str], None] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread only.

    `preload`: models to start with the daemon; the others start with their first request. `on_ready` is
    called once with the URL, when the door accepts and `daemon.json` says so. Raises ConfigError,
    AddressInUse, DataDirInUse.
    """
    log.configure(level=config.log.level, form=config.log.format)
    with _lock_of(config.data.dir):
        Daemon(config, preload=preload).run(on_ready)
    return 0


class Daemon:
    """All parts. Owned by the main thread."""

    def __init__(self, config: Config, *, preload: Sequence[str] = ()) -> None:
        self._config = config
        self._started_s = time.monotonic()
        self._is_stopping = False
        self._spawner = Spawner()
        self._supervisor = Supervisor(
            model_specs(config, preload=preload),
            queue=queue_policy(config),
            runners=runner_policy(config),
            spawner=self._spawner,
        )
        prometheus = Prometheus(self._supervisor, sources=[lambda: engine_samples(self._supervisor.status())])
        self._app = create_app(
            inference=self._supervisor,
            report=self.health,
            limits=_door_limits(config),
            keys=KeyRing(config.access.keys),
            host_names=config.server.names,
            allowed_origins=config.server.origins,
            observer=prometheus,
            render_metrics=prometheus.render,
        )

    def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Until a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._supervisor.start()
        try:
            server = serve(
                self._app,
                listen=(self._config.server.host, self._config.server.port),
                limits=self._server_limits,
            )
        except BaseException:
            self._stop_supervisor(drain_s=0.0)
            raise
        try:
            self._announce(server, on_ready)
            interval_s = systemd.watchdog_interval_s()
            self._spawner.run(beat=self._beat if interval_s else None, every_s=interval_s)
        finally:
            self._stop(server)

    # ── stopping, in reverse ───────────────────────────────────────────────────────────────────────────────

    def _stop(self, server: Server) -> None:
        self._is_stopping = True
        systemd.notify("STOPPING=1")
        _log.info("daemon_stopping")
        self._stop_supervisor(drain_s=self._config.server.drain_s)
        server.close(grace_s=1.0)
        self._record.unlink(missing_ok=True)
        _log.info("daemon_stopped", uptime_s=round(time.monotonic() - self._started_s, 1))

    def _stop_supervisor(self, *, drain_s: float) -> None:
        self._spawner.close()
        if not self._supervisor.drain(drain_s):
            _log.error("runners_left_behind")  # PDEATHSIG ends them with us
        self._supervisor.close()

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._is_stopping:
            self._supervisor.halt()
        self._spawner.stop()

    # ── telling ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _record(self) -> Path:
        """Where the command line finds us."""
        return self._config.data.dir / "daemon.json"

    def _announce(self, server: Server, on_ready: Callable[[str], None] | None) -> None:
        address = server.url.removeprefix("http://")
        _write(self._record, {"address": address, "pid": os.getpid(), "version": __version__})
        if on_ready is not None:
            on_ready(server.url)
        systemd.notify("READY=1", f"STATUS=serving on {address}")
        _log.info(
            "daemon_ready", url=server.url, models=list(self._config.models), data=str(self._config.data.dir)
        )

    def _beat(self) -> None:
        """The watchdog hears of us only while the loop that decides is alive."""
        if self._supervisor.beat(_BEAT_TIMEOUT_S):
            systemd.notify("WATCHDOG=1")

    def health(self) -> report.HealthReport:
        """Any thread; waits for the supervisor up to a second."""
        return report.collect(
            version=__version__,
            uptime_s=time.monotonic() - self._started_s,
            is_supervisor_alive=self._supervisor.beat(_BEAT_TIMEOUT_S),
            is_stopping=self._is_stopping,
            models=self._supervisor.status(),
        )

    @property
    def _server_limits(self) -> ServerLimits:
        queue = self._config.queue
        return ServerLimits(
            max_body_bytes=self._config.server.max_body_bytes,
            max_concurrent=queue.max_running + queue.max_waiting,
        )


# ── configuration to policies ──────────────────────────────────────────────────────────────────────────────


def queue_policy(config: Config) -> QueuePolicy:
    queue = config.queue
    return QueuePolicy(
        max_running=queue.max_running, max_waiting=queue.max_waiting, patience_s=queue.patience_s
    )


def runner_policy(config: Config) -> RunnerPolicy:
    runner = config.runner
    return RunnerPolicy(
        heartbeat_timeout_s=runner.heartbeat_timeout_s,
        load_timeout_s=runner.load_timeout_s,
        stop_timeout_s=runner.stop_timeout_s,
        max_crashes=runner.max_crashes,
        backoff_s=runner.backoff_s,
        max_backoff_s=_MAX_BACKOFF_S,
        quarantine_s=runner.quarantine_s,
        sandbox=runner.sandbox,
    )


def model_specs(config: Config, *, preload: Sequence[str] = ()) -> list[ModelSpec]:
    return [_spec(config, name, model, preload=name in preload) for name, model in config.models.items()]


def _spec(config: Config, name: str, model: ModelSettings, *, preload: bool) -> ModelSpec:
    engine = config.engine
    return ModelSpec(
        name=name,
        path=str(model.path),
        placement=Placement(
            n_ctx_seq=engine.n_ctx_seq if model.n_ctx_seq is None else model.n_ctx_seq,
            n_seq_max=engine.n_seq_max,
            kv_cells=engine.kv_cells,
            n_ubatch=engine.n_ubatch,
            type_k=engine.type_k,
            type_v=engine.type_v,
            n_threads=engine.n_threads,
            pooling=model.pooling,
        ),
        settings=EngineSettings(
            step_bound_s=engine.step_bound_s,
            heartbeat_s=min(1.0, config.runner.heartbeat_timeout_s / 4),
            speculation=engine.speculation,
            prefix_reuse=engine.prefix_reuse,
        ),
        draft_path=None if model.draft is None else str(model.draft),
        adapters=tuple(Adapter(name=adapter, path=str(path)) for adapter, path in model.adapters.items()),
        preload=preload,
    )


def _door_limits(config: Config) -> Limits:
    return Limits(
        max_body_bytes=config.server.max_body_bytes,
        heartbeat_s=config.server.heartbeat_s,
        request_timeout_s=config.server.request_timeout_s,
        raw_grammar=config.engine.raw_grammar,
    )


@contextlib.contextmanager
def _lock_of(directory: Path) -> Iterator[None]:
    """Everything the daemon writes is in one directory, and only one daemon writes there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "daemon.lock").open("w")
    except OSError as error:
        raise _unusable(directory, f"a directory to write in ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirInUse(directory=str(directory)) from error
        except OSError as error:
            raise _unusable(directory, f"a directory that can be locked ({error.strerror})") from error
        yield


def _write(record: Path, told: Mapping[str, object]) -> None:
    """Aside, synced, renamed, the directory synced: whoever reads it, also after a power loss, reads the
    whole of it. Raises ConfigError where nothing can be written.
    """
    aside = record.with_suffix(".tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(told))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(record)
        directory = os.open(record.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _unusable(record.parent, f"a directory to write in ({error.strerror})") from error


def _unusable(directory: Path, expected: str) -> ConfigError:
    return ConfigError(source="data", key="data.dir", value=str(directory), expected=expected)
