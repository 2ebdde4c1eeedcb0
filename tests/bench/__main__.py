"""`python -m tests.bench` (`make bench`): measure, print one table, write JSON, and on demand the README's
copy.

Never a pass/fail test: a goal that is not reached is a "no" in the table. A server that fails ends the run,
exit 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from provision.bootstrap.steps import BootstrapError
from tests.bench import machine, peers, report
from tests.bench.goals import Row
from tests.bench.load import BenchError
from tests.bench.run import measure_engine, measure_http
from tests.bench.workloads import WORKLOADS
from tests.daemon import STARTER

_ROOT: Final = Path(__file__).resolve().parents[2]
_DEFAULT_ROUNDS: Final = 5


def main() -> int:
    arguments = _parser().parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    if not STARTER.exists():
        print("the starter model is missing; `make run` puts it into place", file=sys.stderr)
        return 1
    started = time.time()
    facts: dict[str, Any] = {
        "machine": machine.describe(),
        "rounds": rounds,
        "when": time.strftime("%Y-%m-%d"),
        "commands": [],
    }
    try:
        rows: list[Row] = []
        for row in _measured(arguments.only, rounds, facts["commands"]):
            rows = sorted([*rows, row], key=lambda one: one.goal.order)
            facts["minutes"] = round((time.time() - started) / 60, 1)
            report.write_json(arguments.json, rows=rows, facts=facts)  # a run that is cut off leaves these
        if arguments.update_readme:
            report.update_readme(_ROOT / "README.md", rows=rows, facts=facts)
    except (BenchError, BootstrapError) as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    print(f"\n{machine.sentence(facts['machine'])}\n\n{report.table(rows)}\n\nwritten to {arguments.json}")
    return 0


def _measured(only: set[str] | None, rounds: int, commands: list[str]) -> Iterator[Row]:
    built = peers.provide()
    with tempfile.TemporaryDirectory(prefix="outpost-bench-") as directory:
        if only is None or "b" in only:
            yield from measure_engine(peers=built, rounds=rounds)
        chosen = [workload for workload in WORKLOADS if only is None or workload.letters & only]
        rows = measure_http(chosen, peers=built, rounds=rounds, directory=Path(directory), commands=commands)
        yield from (row for row in rows if only is None or row.goal.letter in only)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    letters = sorted({"b", *(letter for workload in WORKLOADS for letter in workload.letters)})
    parser.add_argument(
        "--rounds", type=int, default=_DEFAULT_ROUNDS, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument(
        "--only",
        type=_letters(set(letters)),
        metavar="A,B",
        help=f"some of {','.join(letters)} (docs/benchmarks.md)",
    )
    parser.add_argument("--json", type=Path, default=_ROOT / ".bench" / "latest.json", metavar="FILE")
    parser.add_argument("--update-readme", action="store_true", help="write the table into README.md")
    return parser


def _letters(known: set[str]) -> Any:
    def parse(text: str) -> set[str]:
        chosen = set(text.split(","))
        if not chosen <= known:
            raise argparse.ArgumentTypeError(f"no such workload: {', '.join(sorted(chosen - known))}")
        return chosen

    return parse


if __name__ == "__main__":
    sys.exit(main())
