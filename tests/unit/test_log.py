from __future__ import annotations

import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from appliance import log

pytestmark = pytest.mark.usefixtures("put_back_logging")


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str = "info", form: str = "json") -> io.StringIO:
    stream = io.StringIO()
    log.configure(level=level, form=form, stream=stream)
    return stream


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def isatty(self) -> bool:
        raise OSError


def test_a_stream_that_is_gone_does_not_reach_the_thread_that_logs() -> None:
    log.configure(form="auto", stream=Gone())
    log.logger("api").info("x")
    logging.getLogger("waitress").error("x")


def test_a_closed_stream_does_not_reach_the_thread_that_logs() -> None:
    stream = configured()
    log.logger("api").info("x")
    stream.close()
    log.logger("api").info("y")
    log.configure(form="auto", stream=stream)
    log.logger("api").info("z")


def test_a_process_without_stderr_logs_into_the_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    log.configure()
    log.logger("api").info("x")


def test_the_log_goes_to_stderr_and_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    log.logger("api").info("x")
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err)["event"] == "x"


def test_an_event_is_one_json_line_with_part_level_and_time() -> None:
    stream = configured()
    log.logger("api").info("request_done", total_ms=3)
    (line,) = lines_of(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "request_done", "level": "info", "part": "api", "total_ms": 3}


def test_what_is_not_a_terminal_gets_json_unasked() -> None:
    stream = configured(form="auto")
    log.logger("api").info("x")
    assert lines_of(stream)[0]["event"] == "x"


def test_the_console_form_is_for_people() -> None:
    stream = configured(form="console")
    log.logger("api").info("request_done", total_ms=3)
    assert "request_done" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_events_below_the_level_are_not_told() -> None:
    stream = configured(level="warning")
    log.logger("api").info("quiet")
    log.logger("api").warning("loud")
    assert [line["event"] for line in lines_of(stream)] == ["loud"]


def test_context_is_told_with_every_event_until_it_ends() -> None:
    stream = configured()
    log.bind(request_id="r1")
    with log.bound(model="m"):
        log.logger("api").info("a")
    log.clear()
    log.logger("api").info("b")
    inside, outside = lines_of(stream)
    assert (inside["request_id"], inside["model"]) == ("r1", "m")
    assert "request_id" not in outside
    assert "model" not in outside


def test_hostile_text_stays_inside_its_line() -> None:
    stream = configured()
    log.logger("api").info("x", text='a\nb\x1b[31m\ud800"}')
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().isascii()
    assert lines_of(stream)[0]["text"] == 'a\nb\x1b[31m\ud800"}'


def test_a_value_that_json_does_not_know_is_told_as_text() -> None:
    stream = configured()
    log.logger("api").info("x", error=ValueError("bad"))
    assert lines_of(stream)[0]["error"] == "bad"


def test_an_exception_is_told_with_its_traceback() -> None:
    stream = configured()
    try:
        raise ValueError("bad")
    except ValueError:
        log.logger("api").exception("failed")
    assert "ValueError: bad" in lines_of(stream)[0]["exception"]


def test_complaints_of_libraries_come_through_the_same_door() -> None:
    stream = configured()
    logging.getLogger("waitress").warning("task queue depth is %d", 3)
    logging.getLogger("waitress").info("serving")
    (line,) = lines_of(stream)
    assert (line["event"], line["part"], line["level"]) == ("library_message", "waitress", "warning")
    assert line["message"] == "task queue depth is 3"


def test_an_exception_in_a_library_is_told_with_its_traceback() -> None:
    stream = configured()
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("waitress").exception("oops")
    assert "ValueError: bad" in lines_of(stream)[0]["exception"]


def test_warnings_come_through_the_same_door() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert lines_of(stream)[0]["part"] == "py.warnings"


# ── the file of requests
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_file(path: Path, *, max_bytes: int = 4000) -> log.Logger:
    requests = log.RequestFile(path, max_bytes=max_bytes)
    log.configure(form="json", stream=io.StringIO(), requests=requests)
    return log.logger("api")


def test_the_line_of_a_request_is_in_the_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    api = with_file(path)
    api.info("daemon_ready")
    api.info(log.REQUEST, request_id="r\ud8001", model="m")
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (line["event"], line["model"], line["part"]) == ("request", "m", "api")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_of_requests_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    api = with_file(path)
    for number in range(200):
        api.info(log.REQUEST, number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["requests.jsonl", "requests.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= 4000
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 199


def test_a_directory_that_is_gone_does_not_reach_the_thread_that_logs(tmp_path: Path) -> None:
    with_file(tmp_path / "gone" / "requests.jsonl").info(log.REQUEST)
