from __future__ import annotations

from appliance.engine.meter import BoardView, Meter
from tests.fakes.fake_backend import FakeClock


class Bench:
    """A meter over clocks that the test moves."""

    def __init__(self, *, n_threads: int = 2, adapt: bool = True) -> None:
        self.clock, self.cpu, self.idle = FakeClock(), FakeClock(), FakeClock()
        self.meter = Meter(
            n_threads=n_threads,
            adapt=adapt,
            board=BoardView(
                idle_s=self.idle,
                rss_bytes=lambda: 4096,
                others_running=self._running,
                n_cores=2,
            ),
            clock=self.clock,
            cpu_clock=self.cpu,
            sleep=self._sleep,
        )
        self.others: list[int] = []
        """What the next glances see; none left: nobody."""
        self.slept_s = 0.0

    def _running(self) -> int:
        return self.others.pop(0) if self.others else 0

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def step(self, seconds: float, *, cores: float, idle: float = 0.0) -> float:
        """A step of `seconds` in which we got `cores` and `idle` cores did nothing."""
        begun = self.meter.begin()
        self.clock.now_s += seconds
        self.cpu.now_s += seconds * cores
        self.idle.now_s += seconds * idle
        return self.meter.end(begun)


def stats_of(meter: Meter) -> tuple[float, float]:
    stats = meter.stats(running=0, waiting=0, steps=0, kv_cells_used=0, kv_cells=0, prefixes=0)
    return round(stats.step_s_p50, 6), round(stats.step_s_max, 6)


def test_a_step_takes_as_long_as_the_clock_says() -> None:
    assert round(Bench().step(0.125, cores=2), 6) == 0.125


def test_median_and_longest_step_are_reported() -> None:
    bench = Bench()
    for seconds in (0.01, 0.02, 0.5):
        bench.step(seconds, cores=2)
    assert stats_of(bench.meter) == (0.02, 0.5)


def test_old_steps_fade_from_the_report() -> None:
    bench = Bench()
    bench.step(9.0, cores=2)
    for _ in range(128):
        bench.step(0.01, cores=2)
    assert stats_of(bench.meter) == (0.01, 0.01)


def test_before_the_first_step_times_are_zero() -> None:
    assert stats_of(Bench().meter) == (0.0, 0.0)


def test_contention_lowers_the_threads_of_the_next_step() -> None:
    bench = Bench()
    for _ in range(40):
        bench.step(0.05, cores=1.2)
    assert bench.meter.threads() == 1


def test_idle_cores_bring_the_threads_back() -> None:
    bench = Bench()
    for _ in range(40):
        bench.step(0.05, cores=1.2)
    for _ in range(200):
        threads = bench.meter.threads()
        bench.step(0.05, cores=threads, idle=2 - threads)
    assert bench.meter.threads() == 2


def test_threads_that_are_not_to_adapt_stay() -> None:
    bench = Bench(adapt=False)
    for _ in range(40):
        bench.step(0.05, cores=1.0)
    assert bench.meter.threads() == 2


def test_counters_and_gauges_stand_in_the_stats() -> None:
    meter = Bench(n_threads=3).meter
    meter.prompt_tokens, meter.cached_tokens, meter.generated_tokens = 5, 6, 7
    meter.draft_tokens, meter.draft_accepted_tokens = 8, 4
    stats = meter.stats(running=1, waiting=2, steps=3, kv_cells_used=10, kv_cells=20, prefixes=4)
    assert (stats.running, stats.waiting, stats.steps, stats.prefixes) == (1, 2, 3, 4)
    assert (stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens) == (5, 6, 7)
    assert (stats.draft_tokens, stats.draft_accepted_tokens) == (8, 4)
    assert (stats.kv_cells_used, stats.kv_cells, stats.n_threads, stats.rss_bytes) == (10, 20, 3, 4096)


def test_a_neighbour_that_computes_is_seen_before_the_first_step() -> None:
    bench = Bench()
    bench.clock.now_s = 10.0
    bench.others = [1] * 20
    bench.meter.begin()
    assert bench.meter.threads() == 1
    assert bench.slept_s < 0.02


def test_a_client_that_just_asked_is_no_neighbour() -> None:
    bench = Bench()
    bench.clock.now_s = 10.0
    bench.others = [3, 1, 0, 1, 1]
    bench.meter.begin()
    assert bench.meter.threads() == 2


def test_a_quiet_board_is_not_waited_for() -> None:
    bench = Bench()
    bench.clock.now_s = 10.0
    bench.meter.begin()
    assert bench.slept_s == 0


def test_between_steps_nobody_is_looked_for() -> None:
    bench = Bench()
    bench.step(0.01, cores=2)
    bench.others = [1] * 20
    bench.step(0.01, cores=2)
    assert len(bench.others) == 20


def test_a_start_on_a_quiet_board_uses_it_whole() -> None:
    bench = Bench()
    for _ in range(40):
        bench.step(0.05, cores=1.2)
    assert bench.meter.threads() == 1
    bench.clock.now_s += 1.0
    bench.meter.begin()
    assert bench.meter.threads() == 2


def test_a_glance_before_a_step_is_no_part_of_the_step() -> None:
    """A paced engine glances before each step; its costs must not learn that."""
    bench = Bench()
    bench.others = [1, 1, 1, 1, 1, 1, 1, 1]
    bench.clock.now_s += 1.0
    began_s = bench.clock.now_s
    bench.meter._sleep = lambda seconds: setattr(bench.clock, "now_s", bench.clock.now_s + seconds)
    took_s = bench.step(0.1, cores=1)
    assert round(took_s, 6) == 0.1
    assert bench.clock.now_s - began_s > 0.11
