"""`outpost bench`: measure a running server from outside, as its clients feel it."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

from appliance.cli import terminal
from appliance.cli.bench_figures import Figures, Stream, figures_of, medians, prompt_of
from appliance.cli.chat import Piece
from appliance.cli.client import Client
from appliance.cli.connect import client_of, model_of
from appliance.cli.exits import Exit, Failure
from appliance.cli.spinner import Spinner

HEADER: Final = ("CLIENTS", "TOK/S", "TTFT P50", "TTFT P99", "GAP P50", "GAP P99", "TOKENS", "ERRORS")


def main(arguments: argparse.Namespace) -> int:
    client = client_of(arguments)
    model = model_of(client, arguments.model)
    bench = Bench(client, model, tokens=arguments.tokens, prompt_words=arguments.prompt_words)
    rows: list[Figures] = []
    with Spinner("warming up") as spinner:
        bench.warm_up()
        for clients in arguments.clients:
            runs = []
            for repeat in range(arguments.repeats):
                spinner.label = f"{clients} clients, run {repeat + 1} of {arguments.repeats}"
                runs.append(bench.run(clients))
            rows.append(medians(runs))
    report(rows, client=client, model=model, arguments=arguments)
    if bench.fault is not None:
        warning = f"some requests failed, the first with: {bench.fault.message}"
        print(f"outpost: warning: {terminal.printable(warning)}", file=sys.stderr)
    return Exit.OK


def report(rows: list[Figures], *, client: Client, model: str, arguments: argparse.Namespace) -> None:
    if arguments.json:
        facts = {
            "url": client.target.url,
            "model": model,
            "max_tokens": arguments.tokens,
            "prompt_words": arguments.prompt_words,
            "repeats": arguments.repeats,
            "runs": [row.as_json() for row in rows],
        }
        print(json.dumps(facts))
        return
    cells = [
        (
            str(row.clients),
            f"{row.tokens_per_s:.1f}",
            terminal.duration(row.ttft_p50_s),
            terminal.duration(row.ttft_p99_s),
            terminal.duration(row.gap_p50_s),
            terminal.duration(row.gap_p99_s),
            f"{row.tokens:.0f}",
            f"{row.errors:.0f}",
        )
        for row in rows
    ]
    print(terminal.table(HEADER, cells))


class Bench:
    """Owned by the main thread; each run's client threads only append to lists, which the main thread reads
    after joining.
    """

    def __init__(self, client: Client, model: str, *, tokens: int, prompt_words: int) -> None:
        self._client = client
        self._model = model
        self._tokens = tokens
        self._prompt_words = prompt_words
        self._session = f"{time.time_ns()}"
        self._requests = 0
        self._extras: dict[str, Any] = {"ignore_eos": True}
        """Full-length answers make runs comparable; dropped for a server that refuses the field."""
        self.fault: Failure | None = None
        """The first failure of a measured request."""

    def warm_up(self) -> None:
        """One request, unmeasured: it loads the model. Its failure is the command's."""
        try:
            self._stream(self._prompt())
        except Failure as failure:
            if failure.exit_code is not Exit.DATA or not self._extras:
                raise
            self._extras = {}
            self._stream(self._prompt())

    def run(self, clients: int) -> Figures:
        """All at once. Raises Failure when not one of them got an answer."""
        streams: list[Stream] = []
        failures: list[Failure] = []
        gate = threading.Barrier(clients + 1)

        def work(prompt: str) -> None:
            gate.wait(timeout=30.0)
            try:
                streams.append(self._stream(prompt))
            except Failure as failure:
                failures.append(failure)

        threads = [
            threading.Thread(target=work, args=(self._prompt(),), name=f"bench-{index}", daemon=True)
            for index in range(clients)
        ]
        for thread in threads:
            thread.start()
        gate.wait(timeout=30.0)
        began_s = time.perf_counter()
        for thread in threads:
            thread.join()  # each ends at its own time-out
        wall_s = time.perf_counter() - began_s
        if not streams:
            raise failures[0]
        self.fault = self.fault or next(iter(failures), None)
        return figures_of(streams, clients=clients, wall_s=wall_s)

    def _prompt(self) -> str:
        self._requests += 1
        return prompt_of(f"{self._session}/{self._requests}", self._prompt_words)

    def _stream(self, prompt: str) -> Stream:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self._tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._extras,
        }
        began_s = time.perf_counter()
        times: list[float] = []
        tokens: int | None = None
        with closing(self._client.chat(body)) as parts:
            for part in parts:
                if not isinstance(part, Piece):
                    continue
                if part.has_output:
                    times.append(time.perf_counter())
                if part.usage is not None:
                    tokens = part.usage.completion_tokens
        if not times:
            raise Failure(
                Exit.PROTOCOL, "the server sent an answer without any token; nothing can be measured"
            )
        return Stream(
            first_token_s=times[0] - began_s,
            gaps_s=tuple(after - before for before, after in pairwise(times)),
            total_s=times[-1] - began_s,
            # A server that sends no usage sends one token per event.
            tokens=tokens if tokens is not None else len(times),
        )
