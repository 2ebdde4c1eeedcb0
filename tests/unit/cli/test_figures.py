"""What is computed to be shown or passed on: benchmark figures, summaries, rows, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.answer import cut_note, summary
from appliance.cli.bench_figures import Stream, figures_of, medians, percentile, prompt_of
from appliance.cli.chat import Json, Piece, Reply, Settings, Timings, Usage
from appliance.cli.exits import Exit, Failure
from appliance.cli.health import reasons
from appliance.cli.ps import cells, rows
from appliance.cli.run import read_format
from appliance.cli.serve import check_files, overrides_of
from tests.unit.cli.test_parser import parsed


def stream(first_token_s: float, *gaps_s: float) -> Stream:
    return Stream(
        first_token_s=first_token_s,
        gaps_s=gaps_s,
        total_s=first_token_s + sum(gaps_s),
        tokens=1 + len(gaps_s),
    )


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert percentile([], 0.5) == 0.0


def test_a_run_is_counted_over_all_clients() -> None:
    figures = figures_of([stream(0.1, 0.01, 0.03), stream(0.3, 0.02)], clients=3, wall_s=0.5)
    assert figures.tokens_per_s == 10.0
    assert (figures.ttft_p50_s, figures.ttft_p99_s) == (0.1, 0.3)
    assert (figures.gap_p50_s, figures.gap_p99_s) == (0.02, 0.03)
    assert (figures.tokens, figures.errors) == (5, 1)


def test_repeats_give_medians_and_the_worst_count_of_errors() -> None:
    runs = [
        figures_of([stream(first, 0.1)], clients=1 + missing, wall_s=1.0)
        for first, missing in ((1, 0), (9, 1), (2, 0))
    ]
    figures = medians(runs)
    assert (figures.ttft_p50_s, figures.tokens_per_s, figures.errors) == (2, 2.0, 1)


def test_prompts_differ_from_their_first_words_and_have_the_length_asked_for() -> None:
    prompts = [prompt_of(f"s/{index}", 24) for index in range(20)]
    assert all(len(prompt.split()) == 24 for prompt in prompts)
    assert len({" ".join(prompt.split()[:4]) for prompt in prompts}) == 20
    assert prompt_of("s/1", 24) == prompts[1]


def test_the_summary_has_ollamas_labels_and_columns() -> None:
    reply = Reply("m")
    reply.add(Piece(usage=Usage(prompt_tokens=30, completion_tokens=11, cached_tokens=10)))
    reply.timings = Timings(total_s=4.0, load_s=1.0, first_token_s=2.0)
    assert summary(reply).splitlines() == [
        "total duration:       4.00s",
        "load duration:        1.00s",
        "time to first token:  2.00s",
        "prompt eval count:    30 token(s) (10 cached)",
        "prompt eval rate:     10.00 tokens/s",
        "eval count:           11 token(s)",
        "eval rate:            10.00 tokens/s",
    ]
    assert summary(Reply("m")) == ""


def test_a_cut_answer_is_told_unless_it_was_wished() -> None:
    reply = Reply("m")
    reply.add(Piece(finish_reason="length"))
    assert "context is full" in (cut_note(reply, Settings(model="m")) or "")
    assert cut_note(reply, Settings(model="m", parameters={"max_tokens": 1})) is None
    assert cut_note(Reply("m"), Settings(model="m")) is None


def cut(*, prompt: int, answer: int) -> Reply:
    reply = Reply("m")
    reply.add(Piece(finish_reason="length", usage=Usage(prompt_tokens=prompt, completion_tokens=answer)))
    return reply


def test_an_answer_that_filled_the_context_says_so_with_the_numbers() -> None:
    assert cut_note(cut(prompt=3000, answer=1096), Settings(model="m"), lambda: 4096) == (
        "the answer was cut after 1096 tokens: with the 3000 of the prompt the context is full (4096); "
        "serve the model with a larger --ctx, or ask for less"
    )


def test_an_answer_that_the_models_own_length_ended_is_not_blamed_on_the_context() -> None:
    note = cut_note(cut(prompt=30, answer=16), Settings(model="m"), lambda: 4096)
    assert note == (
        "the answer was cut after 16 tokens, the length set for the model (num_predict); "
        "the context holds 4050 more: ask for them with --max-tokens N (-1: as many as fit)"
    )
    assert "--ctx" not in note


def test_a_limit_that_was_asked_for_and_not_reached_did_not_end_the_answer() -> None:
    asked = Settings(model="m", parameters={"max_tokens": 5000})
    assert "the context is full (4096)" in (cut_note(cut(prompt=4000, answer=96), asked, lambda: 4096) or "")
    assert cut_note(cut(prompt=30, answer=5000), asked, lambda: 8192) is None
    endless = Settings(model="m", parameters={"max_tokens": -1})
    assert "context is full" in (cut_note(cut(prompt=4000, answer=96), endless, lambda: 4096) or "")


def test_where_the_server_does_not_tell_its_context_both_limits_are_named() -> None:
    note = cut_note(cut(prompt=30, answer=16), Settings(model="m")) or ""
    assert "--max-tokens" in note
    assert "--ctx" in note


def test_ps_joins_the_list_and_the_report() -> None:
    models: list[Json] = [
        {"id": "a", "state": "ready", "meta": {"size": 91_700_000, "n_ctx": 4096}},
        {"id": "b", "state": "starting", "reason": "crashed", "meta": {"size": 10}},
        {"id": "c"},
    ]
    runner = {
        "model": "a",
        "running": 2,
        "waiting": 5,
        "waiting_background": 2,
        "n_seq_max": 64,
        "rss_bytes": 212_000_000,
        "tokens_per_s": 78.24,
        "uptime_s": 5.0,
        "device": "cpu",
        "sandbox_level": "full",
    }
    report = {"runners": [runner, {"model": "b", "running": 0, "loading_progress": 0.42}, "nonsense"]}
    assert [cells(row) for row in rows(models, report)] == [
        ("a", "ready", "92 MB", "212 MB", "2/64 +3+2bg", "4096", "78.2", "-", "5.00s", "cpu", "full"),
        ("b", "starting 42%", "10 B", "-", "0", "-", "-", "-", "-", "-", "-"),
        ("c", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"),
    ]
    assert rows(models, {})[1].reason == "crashed"


def test_reasons_are_the_daemons_and_a_server_of_another_make_may_have_none() -> None:
    assert reasons({"reasons": ["b is slow", "a is starting"]}) == ["b is slow", "a is starting"]
    assert reasons({}) == []
    assert reasons({"reasons": "nonsense"}) == []


def test_flags_become_overrides_of_the_configuration(tmp_path: Path) -> None:
    arguments = parsed(
        *(
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(tmp_path),
            "--model",
            "a=a.gguf",
            "--ctx",
            "2048",
        ),
        *("--parallel", "8", "--threads", "2", "--log-level", "debug", "--log-format", "json"),
    )
    assert overrides_of(arguments) == {
        "server.listen": "127.0.0.1:0",
        "data.dir": tmp_path,
        "models": {"a": Path("a.gguf")},
        "engine.n_ctx_seq": 2048,
        "engine.n_seq_max": 8,
        "engine.n_threads": 2,
        "log.level": "debug",
        "log.format": "json",
    }
    assert overrides_of(parsed("serve")) == {}


def test_files_that_are_missing_are_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    check_files(parsed("serve", "--model", f"a={tmp_path}/a.gguf"))
    with pytest.raises(Failure, match=r"--model b=.*: no such file") as missing:
        check_files(parsed("serve", "--model", f"b={tmp_path}/b.gguf"))
    assert missing.value.exit_code is Exit.NO_INPUT
    with pytest.raises(Failure, match=r"--config .*: no such file"):
        check_files(parsed("serve", "--config", str(tmp_path / "missing.toml")))
    with pytest.raises(Failure, match="more than once"):
        check_files(parsed("serve", "--model", f"a={tmp_path}/a.gguf", "--model", f"a={tmp_path}/a.gguf"))


def test_a_format_is_json_or_a_schema_file(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text('{"type": "object"}')
    (tmp_path / "list.json").write_text("[]")
    assert read_format(None) is None
    assert read_format("json") == {"type": "json_object"}
    assert read_format(str(tmp_path / "person.json")) == {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": {"type": "object"}, "strict": True},
    }
    with pytest.raises(Failure, match="holds no JSON schema"):
        read_format(str(tmp_path / "list.json"))
