"""The composition of the daemon: builds all parts from the configuration, starts them in order, stops them
in reverse.

    main thread   spawns runners, takes signals, feeds systemd's watchdog (`supervisor.spawner`)
    supervisor    the loop that decides; one reader and one stderr thread per runner
    http-*        waitress: one loop, workers on demand; verbs on stored models run on these
    upkeep        scrubs the store and collects what no model needs
    keys          writes down now and then when keys were used
    accounts      writes what keys use, a batch a second while there is something
    thermal       reads the sensors and tells the supervisor how fast models may compute

Start: lock of the data directory → keys → store → supervisor → door → upkeep → `daemon.json` → `on_ready` →
READY=1.
Stop (SIGTERM, SIGINT): STOPPING=1, no more spawns, pulls and probes end, drain while the door still answers,
door, supervisor, upkeep, store, keys, `daemon.json`. A second signal ends the drain at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from appliance import __version__, log, systemd
from appliance.access.attempts import KEY, Attempts
from appliance.api.accounting import Accounting
from appliance.api.app import App, create_app
from appliance.api.parts import Credentials, Device, Kept, Metrics, Parts, Stored
from appliance.api.resuming.kept_streams import KeptStreams
from appliance.api.server import Server, ServerLimits, serve
from appliance.config import Config
from appliance.daemon.accelerators import board_gpu
from appliance.daemon.access import Access
from appliance.daemon.account_policy import accounts_policy
from appliance.daemon.accounts import Accounts, access_counts
from appliance.daemon.audit_log import audit_of, note_start
from appliance.daemon.calibration_parts import BoardCalibration
from appliance.daemon.directory import lock_of, write_record
from appliance.daemon.door_policy import door_limits, network_of, response_limits, resume_limits
from appliance.daemon.heat import Heat
from appliance.daemon.hibernation import Den, hibernation_policy
from appliance.daemon.memory import BoardMemory
from appliance.daemon.model_store import Children, make_store
from appliance.daemon.policies import queue_policy, residency_policy, runner_policy, upkeep_policy
from appliance.daemon.snapshots import Snapshots
from appliance.daemon.speeds import BoardSpeeds
from appliance.daemon.store_health import store_health
from appliance.daemon.stored_models import Pins, all_specs, require_known
from appliance.daemon.tracing import tracer_of
from appliance.daemon.upkeep import Upkeep
from appliance.errors import StoreFault
from appliance.hardware.report import sample
from appliance.hardware.root import Root
from appliance.health import report
from appliance.store.content import unreported
from appliance.supervisor.policy import ModelSpec
from appliance.supervisor.spawner import Spawner
from appliance.supervisor.supervisor import Supervisor
from appliance.telemetry.access_metrics import access_samples
from appliance.telemetry.engine_metrics import engine_samples
from appliance.telemetry.hardware_metrics import hardware_samples
from appliance.telemetry.heat_metrics import heat_samples
from appliance.telemetry.observers import Observers
from appliance.telemetry.prometheus import Prometheus
from appliance.telemetry.queue_metrics import queue_samples
from appliance.telemetry.recent import Recent
from appliance.telemetry.store_metrics import store_samples
from appliance.telemetry.stream_metrics import stream_samples

_log = log.logger("daemon")

_BEAT_TIMEOUT_S = 1.0
_STORE_AGE_S = 15.0
"""A scrape lists the store no more often, unless it has changed: a list reads every manifest."""


def main(
    config: Config,
    *,
    preload: Sequence[str] = (),
    on_ready: Callable[[str], None] | None = None,
    sysroot: Path = Path("/"),
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Main thread only.

    `preload`: models to start with the daemon; the others start with their first request. `on_ready` is
    called once with the URL, when the door accepts and `daemon.json` says so. `sysroot`: whose memory the
    store's choices are made for, and whose sensors are watched. Raises ConfigError, AddressInUse,
    DataDirInUse.
    """
    log.configure(level=config.log.level, form=config.log.format, requests=_request_file(config))
    with lock_of(config.data.dir):
        Daemon(config, preload=preload, sysroot=sysroot).run(on_ready)
    return 0


class Daemon:
    """All parts. Owned by the main thread."""

    def __init__(self, config: Config, *, preload: Sequence[str] = (), sysroot: Path = Path("/")) -> None:
        self._config = config
        self._started_s = time.monotonic()
        self._is_stopping = False
        self._preload = tuple(preload)
        self._access = Access(config)
        self._spawner = Spawner()
        self._tracer = tracer_of(config.tracing)
        self._children = Children(config, busy=self._is_busy, sysroot=sysroot)
        self._calibration = BoardCalibration(
            config,
            stored=lambda: self._store.serve_specs(),
            standing=self._children.standing,
            busy=self._is_busy,
            on_change=self._tell_models,
            sysroot=sysroot,
        )
        self._store = make_store(
            config,
            self._children,
            calibrating=self._calibration.calibrator,
            on_change=self._tell_models,
            in_use=self._files_in_use,
            sysroot=sysroot,
        )
        self._stored = Recent(lambda: store_health(self._store), max_age_s=_STORE_AGE_S)
        self._den = Den(hibernation_policy(config))
        self._telling = threading.Lock()
        self._pins = Pins()
        self._memory = BoardMemory(config, sysroot=sysroot, prices=self._calibration.prices)
        self._speeds = BoardSpeeds(config, standing=self._children.standing, sysroot=sysroot)
        self._supervisor = Supervisor(
            self._first_specs(),
            queue=queue_policy(config),
            runners=replace(runner_policy(config), hibernation=self._den.of, gpu=board_gpu(Root(sysroot))),
            spawner=self._spawner,
            resolve=self._pins.key,
            on_released=lambda: self._upkeep.released(),
            plans=self._memory.plans,
            residency=residency_policy(config),
            speeds=self._speeds.watch,
        )
        self._upkeep = Upkeep(
            self._store,
            upkeep_policy(config),
            begin=self._tell_models,
            on_broken=self._tell_models,
            optimize=self._optimize_next if config.optimize.policy == "auto" else None,
            settle=self._speeds.keep,
        )
        self._heat = Heat(config, self._supervisor, sysroot=sysroot)
        self._accounts = Accounts(accounts_policy(config), joules=self._joules)
        self._wrong_keys = Attempts(KEY)
        self._audit = audit_of(config)
        if self._audit is not None:
            self._access.audited(self._audit)
        self._streams = KeptStreams(resume_limits(config))
        self._app = self._make_app(Root(sysroot))

    def _make_app(self, root: Root) -> App:
        """The door, with all that it shows and asks."""
        config = self._config
        prometheus = Prometheus(
            self._supervisor,
            sources=[
                lambda: engine_samples(self._supervisor.status()),
                lambda: queue_samples(self._supervisor.queue_counts()),
                lambda: store_samples(self._stored()),
                lambda: heat_samples(self._heat.health()),
                lambda: hardware_samples(sample(root)),
                lambda: stream_samples(**asdict(self._streams.held())),
                lambda: access_samples(access_counts(self._accounts, self._wrong_keys, self._audit)),
            ],
        )
        observer = Observers([prometheus, self._tracer]) if self._tracer else prometheus
        return create_app(
            Parts(
                inference=self._supervisor,
                report=self.health,
                limits=door_limits(config),
                network=network_of(config),
                credentials=self._credentials(),
                stored=Stored(store=self._store, layout=self._store.layout, audit=self._audit),
                metrics=Metrics(observer=observer, render_metrics=prometheus.render),
                device=Device(
                    board=lambda: sample(root, data_dir=config.data.dir),
                    snapshots=Snapshots(config.data.dir),
                ),
                kept=Kept(responses=response_limits(config), streams=self._streams),
            )
        )

    def _credentials(self) -> Credentials:
        accounts = self._accounts
        return Credentials(
            key_store=self._access.keys,
            claims=self._access.claims,
            accounting=Accounting(
                quotas=accounts.quotas,
                ledger=accounts,
                wrong_keys=self._wrong_keys,
                report=accounts.report,
            ),
        )

    def _joules(self) -> dict[str, float]:
        cooling = self._heat.health()
        return {} if cooling is None else {model.model: model.joules for model in cooling.energy}

    def _files_in_use(self) -> frozenset[str]:
        return self._supervisor.paths_in_use()

    def _is_busy(self) -> bool:
        """Somebody waits for an answer."""
        return any(model.running or model.waiting for model in self._supervisor.status())

    def _optimize_next(self) -> bool:
        """On the thread of the upkeep; whether there was one."""
        done = self._store.optimize_next(unreported)
        if done is not None:
            _log.info("model_optimized", model=done.name, kept=done.record.kept, told=done.record.sentence)
            if self._audit is not None and done.record.kept:
                self._audit.note("model_optimize", "daemon", asked=[done.name], names=[done.name])
        return done is not None

    def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Until a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._access.start()
        if self._audit is not None:
            note_start(self._audit, self._config)
        self._accounts.start()
        self._den.start()
        self._calibration.start()
        self._supervisor.start()
        self._memory.start(self._supervisor.relieve)
        try:
            server = serve(
                self._app,
                listen=(self._config.server.host, self._config.server.port),
                limits=self._server_limits,
                proxy_socket=self._config.server.proxy_path,
            )
        except BaseException:
            self._stop_supervisor(drain_s=0.0)
            self._accounts.stop()
            self._store.close()
            self._access.stop()
            raise
        self._upkeep.start()
        self._heat.start()
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
        self._store.halt()
        self._children.close()
        self._calibration.close()
        self._stop_supervisor(drain_s=self._config.server.drain_s)
        server.close(grace_s=1.0)
        self._accounts.stop()
        self._streams.close()
        self._heat.stop()
        self._upkeep.stop()
        self._speeds.keep()
        self._den.stop()
        if self._tracer is not None:
            self._tracer.close()
        self._store.close()
        self._access.stop()
        self._record.unlink(missing_ok=True)
        _log.info("daemon_stopped", uptime_s=round(time.monotonic() - self._started_s, 1))

    def _stop_supervisor(self, *, drain_s: float) -> None:
        self._spawner.close()
        self._memory.close()
        if not self._supervisor.drain(drain_s):
            _log.error("runners_left_behind")  # PDEATHSIG ends them with us
        self._supervisor.close()

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._is_stopping:
            self._supervisor.halt()
        self._spawner.stop()

    # ── models of the store ────────────────────────────────────────────────────────────────────────────────

    def _first_specs(self) -> list[ModelSpec]:
        try:
            specs = self._specs(only_known=True)
            require_known(self._preload, specs)
        except StoreFault as fault:  # the models of the configuration are served all the same
            _log.error("store_unusable", reason=fault.message)
            return all_specs(self._config, (), preload=self._preload, calibrated=self._calibration.applied)
        except BaseException:
            self._store.close()
            self._access.stop()
            raise
        return specs

    def _specs(self, *, only_known: bool = False) -> list[ModelSpec]:
        stored = self._store.serve_specs(only_known=only_known)
        self._pins.learn(self._config, stored)
        return all_specs(self._config, stored, preload=self._preload, calibrated=self._calibration.applied)

    def _tell_models(self) -> None:
        """Any thread. When it returns, requests meet the store's models as they are now."""
        with self._telling:
            self._supervisor.set_models(self._specs())
            self._supervisor.beat(_BEAT_TIMEOUT_S)
        self._stored.forget()
        self._upkeep.released()

    # ── telling ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _record(self) -> Path:
        """Where the command line finds us."""
        return self._config.data.dir / "daemon.json"

    def _announce(self, server: Server, on_ready: Callable[[str], None] | None) -> None:
        address = server.url.removeprefix("http://")
        write_record(self._record, {"address": address, "pid": os.getpid(), "version": __version__})
        if on_ready is not None:
            on_ready(server.url)
        self._access.announce()
        systemd.notify("READY=1", f"STATUS=serving on {address}")
        _log.info(
            "daemon_ready",
            url=server.url,
            models=[card.name for card in self._supervisor.models()],
            data=str(self._config.data.dir),
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
            store=store_health(self._store),
            cooling=self._heat.health(),
            access=self._access.health(),
        )

    @property
    def _server_limits(self) -> ServerLimits:
        return ServerLimits(
            max_body_bytes=self._config.server.max_body_bytes,
            max_concurrent=self._config.queue.max_concurrent,
        )


def _request_file(config: Config) -> log.RequestFile | None:
    path, max_bytes = config.data.dir / "requests.jsonl", config.log.requests_bytes
    return log.RequestFile(path, max_bytes=max_bytes) if max_bytes else None
